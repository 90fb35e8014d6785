"""Where a PIN may come from, and what is refused, one change each."""

from __future__ import annotations

import getpass
import io
import os
import sys
from pathlib import Path

import pytest

from signerd.adapters.pin import read_pin
from signerd.errors import ConfigError

PIN = b"s3cret PIN"


@pytest.fixture
def pin_file(tmp_path: Path) -> Path:
    path = tmp_path / "hsm.pin"
    path.write_bytes(PIN + b"\n")
    path.chmod(0o400)
    return path


def test_from_a_file(pin_file: Path) -> None:
    assert read_pin("file:hsm.pin", pin_file.parent) == PIN
    assert read_pin(f"file:{pin_file}", Path("/nowhere")) == PIN


@pytest.mark.parametrize("mode", [0o600, 0o440, 0o404, 0o500, 0o000])
def test_a_file_of_another_mode_is_refused(pin_file: Path, mode: int) -> None:
    pin_file.chmod(mode)
    with pytest.raises(ConfigError, match="0400"):
        read_pin("file:hsm.pin", pin_file.parent)


def test_a_link_is_refused(pin_file: Path) -> None:
    link = pin_file.with_name("link")
    link.symlink_to(pin_file)
    with pytest.raises(ConfigError, match="no link"):
        read_pin("file:link", pin_file.parent)


def test_a_fifo_and_a_directory_are_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo", 0o400)
    (tmp_path / "directory").mkdir(0o400)
    for name in ("fifo", "directory"):
        with pytest.raises(ConfigError, match="regular file"):
            read_pin(f"file:{name}", tmp_path)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_another_users_file_is_refused(pin_file: Path) -> None:
    os.chown(pin_file, 12_345, -1)
    with pytest.raises(ConfigError, match="another user"):
        read_pin("file:hsm.pin", pin_file.parent)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"hsm\.pin"):
        read_pin("file:hsm.pin", tmp_path)


@pytest.mark.parametrize("content", [b"", b"\n", b"x" * 256, b"a\x00b", b"\xff\xfe"])
def test_what_is_no_pin_is_refused_and_not_repeated(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "hsm.pin"
    path.write_bytes(content)
    path.chmod(0o400)
    with pytest.raises(ConfigError) as refusal:
        read_pin("file:hsm.pin", tmp_path)
    assert "xxx" not in str(refusal.value)
    assert refusal.value.__context__ is None or refusal.value.__suppress_context__


def test_from_a_descriptor_which_is_closed_afterwards(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.write(writing, PIN)
    os.close(writing)
    assert read_pin(f"fd:{reading}", tmp_path) == PIN
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(reading)


def test_a_descriptor_that_is_not_open_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="descriptor 987"):
        read_pin("fd:987", tmp_path)


def test_from_a_systemd_credential(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pin").write_bytes(PIN)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert read_pin("credential:pin", Path("/nowhere")) == PIN
    with pytest.raises(ConfigError, match="no-such"):
        read_pin("credential:no-such", Path("/nowhere"))
    with pytest.raises(ConfigError, match="LoadCredential"):
        read_pin("credential:../pin", Path("/nowhere"))
    monkeypatch.delenv("CREDENTIALS_DIRECTORY")
    with pytest.raises(ConfigError, match="LoadCredential"):
        read_pin("credential:pin", Path("/nowhere"))


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_from_a_prompt_on_a_terminal_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(getpass, "getpass", lambda prompt: PIN.decode() if "PIN" in prompt else "")
    monkeypatch.setattr(sys, "stdin", Terminal())
    assert read_pin("prompt", tmp_path) == PIN
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    with pytest.raises(ConfigError, match="needs a terminal"):
        read_pin("prompt", tmp_path)


@pytest.mark.parametrize(
    "source", ["", "1234", "env:PIN", "file:", "fd:x", "fd:", "prompt:1234", "credential:"]
)
def test_no_other_source_exists(tmp_path: Path, source: str) -> None:
    with pytest.raises(ConfigError, match="a PIN source is"):
        read_pin(source, tmp_path)
