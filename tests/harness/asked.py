"""The auditor's questions, asked as commands within this process, of a state that paper entries made."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from auditor.cli.app import app
from harness.many_boards import keep
from harness.paper_log import DEPLOYMENT, PaperLog

_TOML = f"""\
deployment = "{DEPLOYMENT}"
state = "state"

[signerd]
endpoint = "127.0.0.1:1"
operations_ca = "none.pem"

[identity]
certificate = "none.pem"
key = "none.key"

[trust]
log_vkey = "none.vkey"
device_root = "none.pem"
"""


@dataclass(frozen=True)
class Asked:
    """A directory with settings, which name no file that is there, and a state."""

    directory: Path
    log: PaperLog

    @property
    def config(self) -> Path:
        """Of the auditor."""
        return self.directory / "auditor.toml"

    def verify(self) -> None:
        """Keeps the log's new entries."""
        keep(self.log, self.directory / "state")
        self.config.write_text(_TOML, encoding="utf-8")

    def run(self, *words: str) -> str:
        """Standard output of a question that is answered."""
        done = CliRunner().invoke(app, [*words, "-c", str(self.config)], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.stdout

    def lines(self, *words: str) -> list[dict[str, Any]]:
        """Its JSON lines, without the first, which says what they rest on."""
        first, *found = [json.loads(line) for line in self.run(*words, "--json").splitlines()]
        assert (first["event"], first["entries"]) == ("as_of", len(self.log.entries))
        return found

    def table(self, *words: str) -> list[dict[str, str]]:
        """Its CSV."""
        return list(csv.DictReader(io.StringIO(self.run(*words, "--csv"))))
