"""Commands whose output goes nowhere: they say so in a sentence, with an exit code of the table."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.installation import Installation
from harness.process import COMMANDS

pytestmark = pytest.mark.check

FULL = Path("/dev/full")
SAID = "the output could not be written: No space left on device"


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    with Installation(tmp_path_factory.mktemp("output") / "line") as installation:
        installation.start_signerd()
        yield installation


def run(*command: str | Path, into: int) -> tuple[int, str]:
    done = subprocess.run(
        [COMMANDS / command[0], *command[1:]],
        stdin=subprocess.DEVNULL,
        stdout=into,
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stderr


@pytest.mark.skipif(not FULL.exists(), reason="no /dev/full here")
@pytest.mark.parametrize(
    ("program", "code"), [("signerd", 1), ("birthmark-agent", 1), ("birthmark-auditor", 3)]
)
def test_a_full_disk_is_said(program: str, code: int) -> None:
    with FULL.open("w") as full:
        found, said = run(program, "--help", into=full.fileno())
    assert (found, said.splitlines()[0].startswith(f"{program}: {SAID}"), "Traceback" in said) == (
        code,
        True,
        False,
    )


@pytest.mark.skipif(not FULL.exists(), reason="no /dev/full here")
@pytest.mark.parametrize("words", [("ca", "list"), ("ca", "list", "--json"), ("check-config", "--json")])
def test_a_command_that_prints_a_result_says_so(installation: Installation, words: tuple[str, ...]) -> None:
    with FULL.open("w") as full:
        code, said = run("signerd", *words, "--config", installation.config, into=full.fileno())
    assert (code, said.rstrip()) == (1, f"signerd: {SAID}. What it did before that holds")


@pytest.mark.parametrize("words", [("ca", "list"), ("check-config", "--json")])
def test_a_reader_that_has_gone_is_no_fault(installation: Installation, words: tuple[str, ...]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        code, said = run("signerd", *words, "--config", installation.config, into=writing)
    finally:
        os.close(writing)
    assert (code, said) == (1, "")


def test_what_was_done_stands(installation: Installation) -> None:
    """The entry was made and is in force; only its announcement was lost."""
    station = installation.add_station("plant1", "pc1")
    with FULL.open("w") as full:
        code, said = run(
            "signerd", "station", "revoke", station.uri, "--config", installation.config, into=full.fileno()
        )
    assert (code, SAID in said) == (1, True)
    assert "revoked" in installation.admin("station", "list")
