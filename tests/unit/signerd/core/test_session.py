from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signerd.core.session import MAX_SESSION_BYTES, Session, SessionSealer
from signerd.errors import Unavailable

KEY = bytes(range(32))
DAY = 20_777  # 2026-11-20
KEYS = {DAY: KEY}
SESSION = Session(
    "birthmark://acme/station/plant1/pc1",
    "WO-1",
    "chip:1",
    bytes(32),
    datetime(2026, 11, 20, 12, 0, tzinfo=UTC),
)
SEALED = SessionSealer(KEYS).seal(SESSION)


def test_opens_what_it_sealed() -> None:
    assert SessionSealer(KEYS).open(SEALED) == SESSION


def test_another_key_opens_nothing() -> None:
    assert SessionSealer({DAY: bytes(32)}).open(SEALED) is None
    assert SessionSealer({}).open(SEALED) is None


def test_the_days_around_it_are_no_matter() -> None:
    around = {DAY - 1: bytes(32), **KEYS, DAY + 1: b"\x01" * 32}
    assert SessionSealer(around).open(SEALED) == SESSION
    assert SessionSealer(around).seal(SESSION) == SEALED


def test_without_its_days_key_nothing_is_sealed_and_later_nothing_opens() -> None:
    sealer = SessionSealer(KEYS)
    sealer.use({DAY + 1: KEY, DAY + 2: KEY})
    with pytest.raises(Unavailable, match="not at hand"):
        sealer.seal(SESSION)
    sealer.use({DAY + 2: bytes(32)})
    assert sealer.open(SEALED) is None


def test_every_changed_byte_closes_it() -> None:
    for position in range(len(SEALED)):
        changed = bytearray(SEALED)
        changed[position] ^= 1
        assert SessionSealer(KEYS).open(bytes(changed)) is None


@given(st.binary(max_size=600))
def test_any_bytes_are_no_session(data: bytes) -> None:
    assert SessionSealer(KEYS).open(data) is None


def test_the_longest_names_fit() -> None:
    uri = f"birthmark://{'d' * 64}/station/{'s' * 64}/{'n' * 64}"
    longest = Session(uri, "w" * 64, "c" * 64, bytes(32), SESSION.expires_at)
    assert len(SessionSealer(KEYS).seal(longest)) <= MAX_SESSION_BYTES
