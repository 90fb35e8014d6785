"""Which refusals take a stamp out of the outbox for good."""

from __future__ import annotations

import re

import pytest

from agent.core.remedies import error_for
from agent.delivery import is_final
from agent.errors import Refused
from signerd.stamping import Stamping

RAISED = re.findall(r"`([a-z_]+)`", (Stamping.record_stamp.__doc__ or "").partition("Raises:")[2])


def test_what_signerd_says_of_stamps_was_found() -> None:
    assert {"stamp_rejected", "firmware_too_old", "firmware_differs", "stamp_conflict"} <= set(RAISED)


@pytest.mark.parametrize("code", [*RAISED, "request_malformed"])
def test_what_is_said_of_the_stamp_is_final(code: str) -> None:
    error = error_for(code)
    assert isinstance(error, Refused)
    assert is_final(error)


@pytest.mark.parametrize("code", ["unauthenticated", "peer_revoked", "role_denied", "internal", "stamp_lost"])
def test_what_is_said_of_the_station_or_signerd_is_not(code: str) -> None:
    error = error_for(code)
    assert isinstance(error, Refused)
    assert not is_final(error)
