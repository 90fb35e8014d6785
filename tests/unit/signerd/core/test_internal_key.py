"""Keys of sessions: the same for the same day and log, and another one for anything else."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone

from signerd.core.chip_key import derive_chip_key
from signerd.core.internal_key import day_of, internal_key, session_key
from signerd.core.names import MacKey


def mac_with(secret: bytes) -> Callable[[bytes], bytes]:
    return lambda message: hmac.digest(secret, message, "sha256")


def test_each_differs_by_secret_log_day_and_era() -> None:
    first, second = (mac_with(secret) for secret in (bytes(32), b"\x01" * 32))
    keys = {
        session_key(internal_key(mac, origin), day, era)
        for mac in (first, second)
        for origin in ("a/log", "b/log")
        for day in (20_777, 20_778)
        for era in (0, 7)
    }
    assert len(keys) == 16
    assert {len(key) for key in keys} == {32}
    assert session_key(internal_key(first, "a/log"), 20_777, 7) in keys


def test_no_chips_key_is_the_internal_key() -> None:
    """A chip id is what an administrator says: none gives a MAC that sessions follow from."""
    asked: list[bytes] = []

    def mac(message: bytes) -> bytes:
        asked.append(message)
        return hashlib.sha256(message).digest()

    internal_key(mac, "a/log")
    for kind in MacKey:
        derive_chip_key(mac, "a/log", kind, "sha256")
    own, *chips = asked
    assert not any(message.startswith(own[:20]) for message in chips)


def test_a_day_is_utcs() -> None:
    moment = datetime(2026, 11, 20, 23, 59, 59, tzinfo=UTC)
    assert day_of(moment) == day_of(moment.astimezone(timezone(timedelta(hours=9)))) == 20_777
    assert day_of(moment + timedelta(seconds=1)) == 20_778
