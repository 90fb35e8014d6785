from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from signerd.core.session import MAX_SESSION_BYTES, Session, SessionSealer

KEY = bytes(range(32))
SESSION = Session(
    "birthmark://acme/station/plant1/pc1",
    "WO-1",
    "chip:1",
    bytes(32),
    datetime(2026, 11, 20, 12, 0, tzinfo=UTC),
)
SEALED = SessionSealer(KEY).seal(SESSION)


def test_opens_what_it_sealed() -> None:
    assert SessionSealer(KEY).open(SEALED) == SESSION


def test_another_process_key_opens_nothing() -> None:
    assert SessionSealer(bytes(32)).open(SEALED) is None


def test_every_changed_byte_closes_it() -> None:
    for position in range(len(SEALED)):
        changed = bytearray(SEALED)
        changed[position] ^= 1
        assert SessionSealer(KEY).open(bytes(changed)) is None


@given(st.binary(max_size=600))
def test_any_bytes_are_no_session(data: bytes) -> None:
    assert SessionSealer(KEY).open(data) is None


def test_the_longest_names_fit() -> None:
    uri = f"birthmark://{'d' * 64}/station/{'s' * 64}/{'n' * 64}"
    longest = Session(uri, "w" * 64, "c" * 64, bytes(32), SESSION.expires_at)
    assert len(SessionSealer(KEY).seal(longest)) <= MAX_SESSION_BYTES
