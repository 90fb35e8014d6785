"""`make tokens`: the table of deploy/hsm/README.md, by `signerd token probe` over the laboratory's tokens.

Rates are those of one machine at one time: of software, and of no token that anybody could buy. What does not
depend on the machine, keys, mechanisms and what is sealed, is held by a test
(tests/integration/deploy/test_token_table.py).
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from harness.process import REPOSITORY
from harness.token_laboratory import LABORATORY, Report, probe

PAGE = REPOSITORY / "deploy" / "hsm" / "README.md"
HEAD = "\n## What the laboratory's tokens do\n"
_SECONDS = 2.0


def _version(package: str) -> str:
    asked = ["dpkg-query", "--show", "--showformat=${Version}", package]
    done = subprocess.run(asked, capture_output=True, text=True, check=False)
    return f"{package} {done.stdout or 'of unknown version'}"


def _rate(per_second: float) -> str:
    return f"{per_second:.0f}" if per_second >= 10 else f"{per_second:.1f}"


def table(reports: dict[str, Report]) -> str:
    """The section's text."""
    machine = f"{os.cpu_count()} cores of {platform.machine()}, {platform.system()}"
    lines = [
        f"{HEAD}\nBy `make tokens` on {datetime.now(UTC):%Y-%m-%d}: {machine}. Software: a chip is slower.",
        "",
        "| token | key | mechanism | a second | median |",
        "|---|---|---|---|---|",
    ]
    for row in [row for report in reports.values() for row in report.rows]:
        rate, median = _rate(row.per_second), f"{row.median_ms:.2g} ms"
        lines.append(f"| {row.token} | {row.key} | `{row.mechanism}` | {rate} | {median} |")
    lines += ["", "| token | sealed to it | run with |", "|---|---|---|"]
    for name, report in reports.items():
        token = LABORATORY[name]
        sealed = ", ".join(report.sealed) or "nothing"
        versions = ", ".join(_version(package) for package in token.packages)
        lines.append(f"| [{name}]({token.page}) | {sealed} | {versions} |")
    return "\n".join(lines) + "\n"


def _put(page: str, section: str) -> str:
    before, _, after = page.partition(HEAD)
    following = after.find("\n## ")
    return before + section + (after[following:] if following >= 0 else "")


def main(names: Sequence[str]) -> int:
    """Writes the section. Exit code 1: one of the tokens is not here."""
    reports: dict[str, Report] = {}
    with tempfile.TemporaryDirectory() as folder:
        for number, name in enumerate(names):
            if (reason := LABORATORY[name].missing()) is not None:
                print(reason, file=sys.stderr)
                return 1
            print(f"{name} …", file=sys.stderr)
            reports[name] = probe(name, Path(folder) / str(number), seconds=_SECONDS)
    PAGE.write_text(_put(PAGE.read_text("utf-8"), table(reports)), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(list(LABORATORY)))
