"""signerd's key holder: one process, watched and replaced. Implements `signerd.ports.KeyHolder`.

    holder = KeyHolderProcess(settings, on_change=tell_health)
    await holder.start(HeldPin(pin))      # WrongPin: exit with 77
    signature = await holder.sign_certificate(tbs)

A process that dies, is late or loses its token is replaced, with growing pauses; requests under way fail as
`Unavailable`, and nothing is asked twice. A wrong PIN is never tried again: `serving` stays False.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import structlog

from signerd.adapters.keyholder.channel import Channel, open_channel
from signerd.adapters.keyholder.held_pin import HeldPin, WrongPin
from signerd.adapters.keyholder.protocol import Operation, Setup
from signerd.core.chip_key import KEY_BYTES
from signerd.core.names import MacQuestion
from signerd.errors import Fault, Unavailable

FIRST_PAUSE_S = 0.05
LONGEST_PAUSE_S = 30.0
SETTLED_S = 60.0  # a process that lived this long was not part of a series of failures

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class KeyHolderSettings:
    """How to start a key holder. `setup.pin` is empty."""

    setup: Setup
    deadline_s: float  # an operation longer than this replaces the process
    environment: Mapping[str, str] = field(default_factory=dict)  # for the PKCS#11 module


def _ignore() -> None:
    """The default of `on_change`: nobody wants to know."""


def _said(text: str) -> None:
    _log.warning("key_holder_said", text=text)


class KeyHolderProcess:
    """A key holder that is always there, except while it is being replaced."""

    def __init__(self, settings: KeyHolderSettings, *, on_change: Callable[[], None] = _ignore) -> None:
        """`on_change` is called whenever `serving` may have changed."""
        self._settings = settings
        self._on_change = on_change
        self._pin: HeldPin | None = None
        self._channel: Channel | None = None
        self._watcher: asyncio.Task[None] | None = None
        self._wrong_pin: WrongPin | None = None
        self._pin_known_wrong = asyncio.Event()
        self.starts = 0  # processes that became ready, for metrics

    @property
    def serving(self) -> bool:
        """True while a process is logged in and answers."""
        return self._channel is not None and not self._channel.closed.is_set()

    @property
    def in_flight(self) -> int:
        """Requests without an answer."""
        return 0 if self._channel is None else self._channel.in_flight

    @property
    def pid(self) -> int | None:
        """Of the process that serves now."""
        return self._channel.pid if self._channel is not None and self.serving else None

    async def start(self, pin: HeldPin) -> None:
        """Starts the first process. It is not retried here: whoever starts signerd should know.

        Raises:
            WrongPin: the token rejected the PIN.
            Unavailable: the process does not start, or a key is missing or not the certificate's.
        """
        self._pin = pin
        channel = await self._open(pin)
        self._watcher = asyncio.create_task(self._watch(channel, pin), name="key holder watch")

    async def stop(self) -> None:
        """Ends the process. What is under way fails as unavailable."""
        if self._watcher is not None:
            self._watcher.cancel()
            await asyncio.wait([self._watcher])
        if self._channel is not None:
            await self._channel.stop()
            self._channel = None
        self._on_change()

    async def wait_wrong_pin(self) -> WrongPin:
        """Returns once a replacement's login was rejected: signerd must then end with exit code 77."""
        await self._pin_known_wrong.wait()
        if self._wrong_pin is None:
            raise Fault("the PIN is known to be wrong, and nobody said why")
        return self._wrong_pin

    async def _open(self, pin: HeldPin) -> Channel:
        channel = await open_channel(
            self._settings.setup,
            pin,
            environment=self._settings.environment,
            deadline_s=self._settings.deadline_s,
            said=_said,
        )
        self._channel = channel
        self.starts += 1
        self._on_change()
        return channel

    async def _watch(self, channel: Channel, pin: HeldPin) -> None:
        loop = asyncio.get_running_loop()
        pause_s = FIRST_PAUSE_S
        while True:
            ready_at = loop.time()
            await channel.closed.wait()
            self._on_change()
            _log.warning("key_holder_lost", reason=channel.reason)
            if loop.time() - ready_at >= SETTLED_S:
                pause_s = FIRST_PAUSE_S
            replacement: Channel | None = None
            while replacement is None:
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
                try:
                    replacement = await self._open(pin)
                except WrongPin as error:
                    self._wrong_pin = error
                    self._pin_known_wrong.set()
                    _log.error("key_holder_wrong_pin", detail=error.detail)
                    return
                except Unavailable as error:
                    _log.warning("key_holder_not_replaced", detail=error.detail, again_in_s=pause_s)
            channel = replacement
            _log.info("key_holder_replaced", pid=channel.pid)

    async def _ask(self, operation: Operation, *arguments: object) -> object:
        if self._wrong_pin is not None:
            raise WrongPin(self._wrong_pin.detail)
        if self._channel is None:
            raise Unavailable("the key holder is not started")
        return await self._channel.request(operation, *arguments)

    async def _ask_bytes(self, operation: Operation, argument: bytes) -> bytes:
        value = await self._ask(operation, argument)
        if not isinstance(value, bytes):
            raise Fault(f"the key holder answered {operation} with {type(value).__name__}")
        return value

    async def sign_certificate(self, tbs: bytes) -> bytes:
        """See `signerd.ports.KeyHolder`. Raises also KeyHolderRefusal, a Fault."""
        return await self._ask_bytes(Operation.SIGN_CERTIFICATE, tbs)

    async def sign_crl(self, tbs: bytes) -> bytes:
        """See `signerd.ports.KeyHolder`. Raises also KeyHolderRefusal, a Fault."""
        return await self._ask_bytes(Operation.SIGN_CRL, tbs)

    async def sign_checkpoint(self, body: bytes) -> bytes:
        """See `signerd.ports.KeyHolder`. Raises also KeyHolderRefusal, a Fault."""
        return await self._ask_bytes(Operation.SIGN_CHECKPOINT, body)

    async def check_chip_mac(self, question: MacQuestion) -> bool:
        """See `signerd.ports.KeyHolder`. A MAC of another length is False like any wrong one."""
        if len(question.mac) != KEY_BYTES.get(question.hash):
            return False
        asked = (question.chip_id, question.key.value, question.hash, question.message, question.mac)
        return await self._ask(Operation.CHECK_CHIP_MAC, *asked) is True
