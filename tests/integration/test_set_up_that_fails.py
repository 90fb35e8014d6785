"""What the harness started for a set-up that fails is ended: no `with` statement would do it any more."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import psutil
import pytest

from harness import commanded_farm, factory
from harness.board_farm import BoardFarm
from harness.esp32_line import Esp32Line
from harness.factory import Factory
from harness.held_factory import HeldFactory
from harness.installation import Installation
from harness.process import Program


class SetUpError(Exception):
    """What was meant to go wrong."""


class Sleeping(Installation):
    """Its daemon is a process that does nothing; its products cannot be added."""

    def _make(self) -> None:
        self.home.mkdir()
        self.config.write_text("")

    def start_signerd(self, environment: Mapping[str, str] | None = None) -> Program:
        self._signerd = self.start(["sleep", "3600"], "signerd", environment)
        return self._signerd

    def add_product(self, toml: str) -> None:
        raise SetUpError(toml)


class Handed(HeldFactory):
    """Its line is there, and its keys cannot be handed over."""

    def _fill(self) -> None:
        self.station = self.auditor = None  # type: ignore[assignment]

    def take_over(self, *_options: object, **_more: object) -> str:
        self.installation.start_signerd()  # as far as it came
        raise SetUpError


def children() -> set[int]:
    return {child.pid for child in psutil.Process().children(recursive=True)}


@pytest.mark.parametrize(
    "set_up",
    [
        Factory,
        Handed,
        lambda folder: Esp32Line(folder, "esp32s3", None, make=Sleeping),
    ],
    ids=["a factory", "a factory with a service", "a line of ESP32"],
)
def test_the_daemon_of_a_line_is_ended(
    set_up: Callable[[Path], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(factory, "Installation", Sleeping)
    before = children()
    with pytest.raises(SetUpError):
        set_up(tmp_path)
    assert children() <= before
    assert list(tmp_path.rglob("signerd.out"))  # it was started


def test_boards_that_are_never_ready_are_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object, program: Program, **_more: object) -> None:
        assert program.running()
        raise SetUpError

    monkeypatch.setattr(commanded_farm, "wait_until", never)
    before = children()
    with pytest.raises(SetUpError):
        BoardFarm(None, trust=tmp_path / "trust.json", log=tmp_path / "boards", options={})
    assert children() <= before
