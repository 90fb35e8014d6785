"""The file that keeps what signerd's clocks were apart: a damaged one costs a comparison, and no start."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from signerd.adapters.clock import ClockGuard, ReferenceFile
from signerd.core.clock import ClockState

BOOT = "a start of the machine"
NUMBERS = ["NaN", "Infinity", "-Infinity", "1e308", "-1e308", "1e12", "9" * 400, '"NaN"', "null", "[]"]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "checkpoint.clock"


def test_what_was_kept_is_there(path: Path) -> None:
    ReferenceFile(path, BOOT).save(1.7e9)
    assert ReferenceFile(path, BOOT).load() == 1.7e9
    assert ReferenceFile(path, "another start").load() is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        "\x00" * 64,
        *(f'{{"v": 1, "boot": {json.dumps(BOOT)}, "boot_s": {number}}}' for number in NUMBERS),
    ],
)
def test_a_damaged_file_is_none(path: Path, text: str) -> None:
    path.write_text(text, encoding="ascii")
    file = ReferenceFile(path, BOOT)
    assert file.load() is None
    assert ClockGuard(lambda: None, file=file).look().state is ClockState.RIGHT
