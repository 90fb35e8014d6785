"""What to do about a file that was refused: where it is no TOML, its reader knows better than its kind."""

from __future__ import annotations

from agent.core.toml_text import TomlError


def toml_remedy(refused: Exception, otherwise: str) -> str:
    """The remedy of the TomlError that caused it, and `otherwise` where something else did."""
    cause = refused.__cause__
    return cause.mend if isinstance(cause, TomlError) else otherwise
