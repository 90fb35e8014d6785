"""Dates of certificates that a key holder's service alone has: what it shows beside its socket, and how
signerd reads it. What signerd does with it: tests/e2e/test_key_holder_service.py."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from signerd.adapters.ends import key_holder_ends
from signerd.adapters.keyholder.service.shown_ends import MAX_FILE, file_beside, read_ends, show_ends
from signerd.config import Config, HsmSettings
from signerd.core.ends import End, What
from signerd.errors import ConfigError

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
OWN = End(What.SUB_CA, "main", NOW + timedelta(days=400))
ROOT = End(What.ROOT, "CN=root", NOW + timedelta(days=4000))


def config(socket: Path) -> Config:
    """As far as its key holders go."""
    return Config.model_construct(hsm=HsmSettings(service=socket), issuers=())


def test_what_signerd_has_too_is_said_once_and_another_copy_by_whom(tmp_path: Path) -> None:
    socket = tmp_path / "socket"
    earlier = End(What.ISSUER, "CN=bought", NOW + timedelta(days=30))
    show_ends(socket, [OWN, earlier, ROOT, earlier])
    assert file_beside(socket).stat().st_mode & 0o777 == 0o644
    (shown,) = key_holder_ends(config(socket), [OWN, ROOT])
    assert (shown.what, shown.at) == (earlier.what, earlier.at)
    assert shown.name == "CN=bought, as the key holder has it"


def test_a_retired_issuer_that_ended_is_left_out_here_too(tmp_path: Path) -> None:
    socket = tmp_path / "socket"
    gone = End(What.SUB_CA, "gone", NOW - timedelta(days=1))
    show_ends(socket, [OWN, gone])
    assert key_holder_ends(config(socket), [OWN], {"gone"}) == []
    assert len(key_holder_ends(config(socket), [OWN])) == 1


def test_while_the_service_is_away_there_is_nothing_to_say(tmp_path: Path) -> None:
    assert read_ends(tmp_path / "socket") == []


def shown(**changes: object) -> bytes:
    honest = {"which": "sub_ca", "name": "main", "not_after": "2027-01-01T00:00:00Z"}
    return json.dumps([{**honest, **changes}]).encode()


def test_the_honest_twin_is_read(tmp_path: Path) -> None:
    file_beside(tmp_path / "socket").write_bytes(shown())
    assert read_ends(tmp_path / "socket") == [End(What.SUB_CA, "main", datetime(2027, 1, 1, tzinfo=UTC))]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff",
        b"{}",
        b"[1]",
        b"[" * MAX_FILE,
        b"[" + b" " * MAX_FILE + b"]",
        shown(which="server"),
        shown(which="peer", name="birthmark://example/station/plant1/pc1"),
        shown(which=["sub_ca"]),
        shown(name=1),
        shown(name="x" * 513),
        shown(not_after="2027-01-01"),
        shown(not_after=None),
    ],
    ids=lambda data: repr(data[:40]),
)
def test_what_is_not_of_its_form_is_refused(tmp_path: Path, data: bytes) -> None:
    file_beside(tmp_path / "socket").write_bytes(data)
    with pytest.raises(ConfigError, match="not what a key holder's service writes"):
        read_ends(tmp_path / "socket")


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: path.symlink_to("/dev/zero")])
def test_what_is_no_file_is_refused_at_once(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(file_beside(tmp_path / "socket"))
    with pytest.raises(ConfigError):
        read_ends(tmp_path / "socket")


def test_a_terminal_gets_no_control_characters(tmp_path: Path) -> None:
    file_beside(tmp_path / "socket").write_bytes(shown(name="main\x1b[2J\n\u202e"))
    assert [end.name for end in read_ends(tmp_path / "socket")] == ["main?[2J??"]
