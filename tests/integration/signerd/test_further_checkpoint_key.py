"""The files of `signerd checkpoint-key add`: what a crash cuts short at any write goes on when given
again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness.installation import Installation
from signerd.adapters import durable_files
from signerd.adapters.installation import further_checkpoint_key, layout
from signerd.config import CheckpointKeySettings, load
from signerd.core.note import VerifierKey
from signerd.errors import ConfigError

pytestmark = pytest.mark.check


class Crash(BaseException):
    """The power goes."""


class Desk:
    """An installation whose signerd does not run, and the ledger, as far as a command sees it."""

    def __init__(self, installation: Installation) -> None:
        self.config = installation.config
        self.base = installation.home
        self.announced: list[VerifierKey] = []

    def wanted(self, label: str, place: str) -> CheckpointKeySettings:
        hsm = load(self.config).hsm
        values = {"module": hsm.module, "token": hsm.token, "pin": hsm.pin, "environment": hsm.environment}
        sealed = "next" if place == "sealed" else None
        return CheckpointKeySettings.model_validate(
            {**values, "key": label, "key_in": place, "vkey": "next", "sealed": sealed}
        )

    def add(self, label: str, place: str) -> VerifierKey:
        """As the command does it."""
        config = load(self.config)
        made = further_checkpoint_key.begun(self.base)
        if made is None:
            made = further_checkpoint_key.make(config, self.base, self.wanted(label, place), [])
        if made.verifier not in self.announced:
            self.announced.append(made.verifier)
        further_checkpoint_key.finish(self.config, made, None, self.base / "keyholder.toml")
        return made.verifier


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    with Installation(tmp_path_factory.mktemp("keys")) as installation:
        yield Desk(installation)


def crashing(monkeypatch: pytest.MonkeyPatch, number: int) -> Callable[[], bool]:
    """The power goes before the write of this number, from 0; whether it did."""
    writes = 0

    def counted(write: Callable[..., object]) -> Callable[..., object]:
        def writing(*arguments: object, **named: object) -> object:
            nonlocal writes
            writes += 1
            if writes == number + 1:
                raise Crash
            return write(*arguments, **named)

        return writing

    monkeypatch.setattr(further_checkpoint_key, "write_new", counted(layout.write_new))
    monkeypatch.setattr(durable_files, "replace", counted(durable_files.replace))
    monkeypatch.setattr(Path, "unlink", counted(Path.unlink))
    return lambda: writes > number


@pytest.mark.parametrize(
    ("place", "number"),
    [("token", 0), ("token", 1), ("token", 2), ("token", 3), ("sealed", 1), ("sealed", 3), ("sealed", 4)],
)
def test_a_crash_at_each_write(desk: Desk, monkeypatch: pytest.MonkeyPatch, place: str, number: int) -> None:
    label, before = f"{place}-{number}", len(load(desk.config).checkpoint_keys)
    with monkeypatch.context() as context:
        crashed = crashing(context, number)
        with pytest.raises(Crash):
            desk.add(label, place)
        assert crashed()
    if place == "token" and number < 2:  # nothing says what the key is for: it takes another name
        with pytest.raises(ConfigError, match="holds an object labelled"):
            desk.add(label, place)
        label += "-again"
    verifier = desk.add(label, place)
    settings = load(desk.config).checkpoint_keys
    assert len(settings) == before + 1
    assert settings[-1].vkey.read_text("ascii") == verifier.text() + "\n"
    assert desk.announced.count(verifier) == 1
    assert not (desk.base / "checkpoint-keys" / "next.toml").exists()
