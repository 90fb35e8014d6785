"""A token whose signatures are damaged when a test says so: in the real key holder, with the real module.

token = DamagingToken(installation)      # before signerd starts
token.damage("checkpoints", 1)
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

from harness.installation import Installation

CODE = Path(__file__).parent / "damaged_token"
Kind = Literal["certificates", "checkpoints"]


class DamagingToken:
    """Set up in the configuration of an installation."""

    def __init__(self, installation: Installation) -> None:
        self._asked = installation.directory / "damaged"
        self._asked.mkdir()
        text = installation.config.read_text(encoding="utf-8")
        lines = f"PYTHONPATH = {json.dumps(str(CODE))}\nDAMAGED_TOKEN = {json.dumps(str(self._asked))}\n"
        head = "[hsm.environment]\n"
        assert head in text
        installation.config.write_text(text.replace(head, head + lines), encoding="utf-8")

    def damage(self, kind: Kind, times: int | Literal["always"]) -> None:
        """From now on so many signatures of this kind; 0 for none."""
        new = self._asked / f"{kind}.new"
        new.write_text(str(times), encoding="ascii")
        new.replace(self._asked / kind)
