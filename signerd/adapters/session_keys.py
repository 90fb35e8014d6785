"""Keeps the keys of sessions at hand: those that end yesterday, today and tomorrow.

The key holder derives them (`core/internal_key.py`). Nothing is stored: a restart asks for the same ones, so
that sessions outlive it. Where the installation has no secret to derive from, the keys are of this process
alone, and sessions end with it.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from datetime import datetime

import structlog

from signerd.config import HsmSettings
from signerd.core.internal_key import day_of, session_key
from signerd.core.session import SessionSealer
from signerd.errors import Fault

_LOOK_S = 1.0  # between looks at the day
_SECRET_BYTES = 32
Derive = Callable[[int, int], Awaitable[bytes]]
"""The key for a day and an era."""

_log = structlog.get_logger(__name__)


def outlive_restarts(hsm: HsmSettings) -> bool:
    """Whether the key holder has a secret from which the keys follow."""
    return hsm.master_key_in != "none" or hsm.checkpoint_key_in == "sealed"


def of_this_process() -> Derive:
    """Keys that follow from a secret which ends with the process."""
    secret = secrets.token_bytes(_SECRET_BYTES)

    async def derive(day: int, era: int) -> bytes:
        return session_key(secret, day, era)

    return derive


class SessionKeys:
    """Gives a sealer the keys of the days around the wall clock's."""

    def __init__(
        self, sealer: SessionSealer, derive: Derive, *, era: int, wall: Callable[[], datetime]
    ) -> None:
        self._sealer = sealer
        self._derive = derive
        self._era = era
        self._wall = wall
        self._keys: dict[int, bytes] = {}
        self._said = ""  # why they are not at hand, so that each reason has one line

    @property
    def at_hand(self) -> bool:
        """Whether sessions that end today can be sealed."""
        return day_of(self._wall()) in self._keys

    async def look(self) -> None:
        """Fetches what is missing. Raises Fault: the key holder does not give it now."""
        today = day_of(self._wall())
        days = [day for day in (today - 1, today, today + 1) if day >= 0]
        if list(self._keys) == days:
            return
        era, before = self._era, self._keys
        keys: dict[int, bytes] = {}
        missing: Fault | None = None
        for day in days:
            try:
                keys[day] = before.get(day) or await self._derive(day, era)
            except Fault as error:  # a key holder by another clock gives some of them
                missing = error
        if era == self._era:  # else another look has the newer ones
            self._keys = keys
            self._sealer.use(keys)
        if missing is not None:
            raise missing

    async def begin(self) -> None:
        """The first look. A key holder that fails meanwhile is replaced, and asked by `watch`."""
        await self._try()

    async def begin_era(self, era: int) -> None:
        """The clock was set right: sessions of before are forgotten, here and after every later start."""
        self._era, self._keys = era, {}
        self._sealer.use({})
        await self._try()

    async def watch(self) -> None:
        """Looks again and again; until it is cancelled."""
        while True:
            await asyncio.sleep(_LOOK_S)
            await self._try()

    async def _try(self) -> None:
        try:
            await self.look()
            self._said = ""
        except Fault as error:  # sessions of the days at hand go on meanwhile
            if error.detail != self._said:
                _log.warning("session_keys_not_at_hand", detail=error.detail)
            self._said = error.detail
