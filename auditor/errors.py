"""What can go wrong in the auditor, in three kinds.

`CheckFailed` is the log's doing: something is off, and becomes a finding. `Unreachable` says that
nothing could be checked. `ConfigError` is ours. Parsers of foreign bytes raise `Malformed` alone.
"""

from __future__ import annotations

from auditor.core.codes import Code


class Malformed(Exception):  # noqa: N818 (named for what the bytes are)
    """Bytes are not of the form that docs/formats.md or a standard says."""


class CheckFailed(Exception):  # noqa: N818 (an outcome of checking, not an error of ours)
    """One check did not hold."""

    def __init__(self, code: Code, detail: str, *, expected: str = "", found: str = "") -> None:
        super().__init__(f"{code.value}: {detail}")
        self.code = code
        self.detail = detail
        self.expected = expected
        self.found = found


class NotFound(Exception):  # noqa: N818 (an answer)
    """signerd, or the kept state, has nothing under this key."""


class Unreachable(Exception):  # noqa: N818 (a state of the line)
    """signerd does not answer, or does not let us in. The text names the reason."""


class ConfigError(Exception):
    """The configuration or the state directory is wrong. The text names the remedy."""


class WorkerEnded(ConfigError):  # noqa: N818 (what happened)
    """A process of this auditor ended before its time. The text names the remedy."""
