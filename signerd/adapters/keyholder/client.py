"""signerd's key holder: one process, watched and replaced. Implements `signerd.ports.KeyHolder`.

    holder = KeyHolderProcess(settings, on_change=tell_health)
    await holder.start(HeldPin(pin))      # WrongPin: exit with 77
    signature = await holder.sign_certificate(tbs)

A process that dies, is late or loses its token is replaced, and so is one whose operation hangs while another
process can sign (`keyholder/patience.py`). Requests under way fail as `Unavailable`, and nothing is asked
twice but this: bytes that are no signature cost the process that gave them its place, and the next one signs
in its stead. What the token's trouble was, once it is over a process serves within seconds. Where the next
one's bytes are no signature either, or the PIN is wrong, nothing is tried again: `serving` stays False, and
`wait_given_up` says why.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from signerd.adapters.keyholder.channel import (
    START_S,
    Channel,
    SignatureDamaged,
    open_channel,
    open_service_channel,
)
from signerd.adapters.keyholder.held_pin import HeldPin, WrongPin
from signerd.adapters.keyholder.patience import OperationTime, Patience
from signerd.adapters.keyholder.protocol import Operation, Setup
from signerd.adapters.keyholder.rejected_pin import RejectedPins
from signerd.adapters.keyholder.signatures import Signatures
from signerd.core.chip_key import KEY_BYTES
from signerd.core.leaf import Leaf
from signerd.core.names import MacQuestion
from signerd.errors import Fault, Unavailable

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class KeyHolderSettings:
    """How to start a key holder. `setup.pin` is empty."""

    setup: Setup
    deadline_s: float  # an operation longer than this replaces the process
    start_deadline_s: float  # and so does a login
    environment: Mapping[str, str] = field(default_factory=dict)  # for the PKCS#11 module
    rejected_pins: RejectedPins | None = None  # where it is kept which PINs the token rejected
    service: Path | None = None  # its socket, where a service has the token: the rest is its matter
    named: bytes = b""  # what it is asked for: SHA-256 of the issuer's certificate, or of the log's key


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
        self._opened = asyncio.Event()  # set with each attempt to replace the process, well or not
        self._failed_starts = 0  # of replacements
        self._watcher: asyncio.Task[None] | None = None
        self._signatures: Signatures | None = None  # once a process took the same settings
        self._given_up: WrongPin | SignatureDamaged | None = None
        self._damaged = False  # the last signature that was asked for
        self._patience = Patience(settings.start_deadline_s)
        self._operations = OperationTime()
        self._has_given_up = asyncio.Event()
        self.starts = 0  # processes that became ready, for metrics

    @property
    def serving(self) -> bool:
        """True while a process is logged in and answers."""
        answers = self._channel is not None and not self._channel.closed.is_set()
        return answers and self._given_up is None

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
            Unavailable: as `open_channel`.
        """
        self._pin = pin
        channel = await self._open(pin)
        self._signatures = Signatures(self._settings.setup)
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

    async def wait_given_up(self) -> WrongPin | SignatureDamaged:
        """Returns once nothing is tried again: signerd must then end, with the exit code for what it gets."""
        await self._has_given_up.wait()
        if self._given_up is None:
            raise Fault("the key holder has given up, and nobody said why")
        return self._given_up

    def _give_up(self, error: WrongPin | SignatureDamaged) -> None:
        if self._given_up is None:
            _log.error("key_holder_given_up", reason=type(error).__name__, detail=error.detail)
            self._given_up = error
            self._has_given_up.set()
            self._opened.set()  # who waits for a replacement hears of it too
            self._on_change()

    async def _started(self, pin: HeldPin) -> Channel:
        settings, login_s = self._settings, self._patience.login_s(asyncio.get_running_loop().time())
        if settings.service is not None:
            channel = await open_service_channel(
                settings.service,
                settings.named,
                # It has the deadlines of the token itself, and may need a second process for an answer.
                deadline_s=2 * settings.deadline_s + settings.start_deadline_s,
                login_s=login_s,
            )
        else:
            channel = await open_channel(
                settings.setup,
                pin,
                environment=settings.environment,
                deadline_s=settings.deadline_s,
                login_s=login_s,
                said=_said,
                operations=self._operations,
            )
        self._patience.logged_in(channel.login_s, asyncio.get_running_loop().time())
        return channel

    async def _open(self, pin: HeldPin) -> Channel:
        channel = await self._started(pin)
        self._take(channel)
        return channel

    def _take(self, channel: Channel) -> None:
        self._channel = channel
        self._opened.set()
        self.starts += 1
        self._on_change()

    async def _until_lost(self, channel: Channel, pin: HeldPin) -> Channel | None:
        """Returns when this process is lost; with another one that serves, where it hung.

        Raises:
            WrongPin: of the other one.
        """
        while not channel.closed.is_set():
            await channel.overdue.wait()
            if channel.closed.is_set() or not channel.overdue.is_set():
                continue
            _log.warning("key_holder_overdue", pid=channel.pid)
            other = await self._beside(channel, pin)
            if other is not None:
                channel.kill("its operation hangs: another process signs meanwhile")
                return other
        return None

    async def _beside(self, channel: Channel, pin: HeldPin) -> Channel | None:
        """Another process, where it serves before this one has answered. Else None, once this one has
        answered or is lost."""
        channel.answered.clear()
        answered = asyncio.create_task(channel.answered.wait(), name="overdue answer")
        starting = asyncio.create_task(self._started(pin), name="second key holder")
        try:
            await asyncio.wait((answered, starting), return_when=asyncio.FIRST_COMPLETED)
            if starting.done() or channel.closed.is_set():  # lost: the other one is on its way already
                return await starting
        except Unavailable as error:  # the token is gone for both, or serves one process at a time
            _log.warning("key_holder_not_doubled", detail=error.detail)
            await answered
        finally:
            answered.cancel()
            if not starting.done():
                starting.cancel()
                await asyncio.wait([starting])
        return None

    async def _watch(self, channel: Channel, pin: HeldPin) -> None:
        loop, patience = asyncio.get_running_loop(), self._patience
        while True:
            try:
                replacement = await self._until_lost(channel, pin)
            except WrongPin as error:
                self._give_up(error)
                return
            self._on_change()
            _log.warning("key_holder_lost", reason=channel.reason)
            if channel.pin_rejected is not None:  # changed meanwhile, for a key that wants it each time
                self._give_up(pin.reject(channel.pin_rejected, channel.token_names))
                return
            patience.lost(loop.time())
            if replacement is not None:
                self._take(replacement)
            while replacement is None:
                await asyncio.sleep(patience.pause_s(loop.time()))
                try:
                    replacement = await self._open(pin)
                except WrongPin as error:
                    self._give_up(error)
                    return
                except Unavailable as error:
                    if isinstance(error, SignatureDamaged) and self._damaged:
                        self._give_up(error)
                        return
                    self._failed_starts += 1
                    self._opened.set()  # no caller waits for more than one attempt
                    if patience.worth_saying(error.detail, loop.time()):
                        _log.warning("key_holder_not_replaced", detail=error.detail)
            channel = replacement
            _log.info("key_holder_replaced", pid=channel.pid)

    async def _ask(self, operation: Operation, *arguments: object) -> object:
        if self._given_up is not None:
            raise type(self._given_up)(self._given_up.detail)
        if self._channel is None:
            raise Unavailable("the key holder is not started")
        return await self._channel.request(operation, *arguments)

    async def _ask_bytes(self, operation: Operation, *arguments: object) -> bytes:
        value = await self._ask(operation, *arguments)
        if not isinstance(value, bytes):
            raise Fault(f"the key holder answered {operation} with {type(value).__name__}")
        return value

    async def _signature(self, operation: Operation, data: bytes, leaf: Leaf | None = None) -> bytes:
        """A signature that holds, of this process or the next."""
        signature = await self._held_signature(operation, data, leaf)
        if signature is None:
            await self._until_replaced()
            signature = await self._held_signature(operation, data, leaf)
        if signature is None:
            damaged = SignatureDamaged(f"{operation.value}: the token gives bytes that are no signature")
            self._give_up(damaged)
            raise damaged
        return signature

    async def _held_signature(self, operation: Operation, data: bytes, leaf: Leaf | None) -> bytes | None:
        """A signature that holds; None where it does not: its process is then at its end."""
        channel = self._channel
        of_service: list[object] = []
        if self._settings.service is not None and operation is Operation.SIGN_CERTIFICATE:
            if leaf is not None and channel is not None:
                await self._show_product(leaf, channel)
            of_service = [None if leaf is None else leaf.wire()]
        signature = await self._ask_bytes(operation, data, *of_service)
        self._damaged = self._signatures is None or not self._signatures.hold(operation, data, signature)
        if not self._damaged:
            return signature
        if channel is not None:
            _log.error("signature_damaged", operation=operation.value, pid=channel.pid)
            channel.kill("it gave bytes that are no signature")
        return None

    async def _until_replaced(self) -> None:
        """Returns when a process serves. Raises Unavailable: the next one does not start, or not in time."""
        failed = self._failed_starts
        try:
            async with asyncio.timeout(START_S):
                while not self.serving and self._given_up is None:
                    if self._failed_starts != failed:
                        raise Unavailable("the key holder is being replaced")
                    self._opened.clear()
                    await self._opened.wait()
        except TimeoutError as error:
            raise Unavailable("the key holder is being replaced") from error

    async def _show_product(self, leaf: Leaf, channel: Channel) -> None:
        """Once on each line: the service looks for itself at what the product gives."""
        if leaf.product_sha256 not in channel.products_shown:
            await self._ask(Operation.SHOW_PRODUCT, leaf.product_toml)
            channel.products_shown.add(leaf.product_sha256)

    async def sign_certificate(self, tbs: bytes, leaf: Leaf | None = None) -> bytes:
        """See `signerd.ports.KeyHolder`. Raises also KeyHolderRefusal, a Fault."""
        return await self._signature(Operation.SIGN_CERTIFICATE, tbs, leaf)

    async def show_approval(self, statement: bytes, signatures: Sequence[bytes]) -> None:
        """Tells a service what administrators approved; a process of our own looks at no orders.

        Raises:
            KeyHolderRefusal: it does not hold there.
            Unavailable: the service does not answer now; nothing may rest on the approval.
        """
        if self._settings.service is not None:
            await self._ask(Operation.SHOW_APPROVAL, statement, *signatures)

    async def close_order(self, work_order: str) -> None:
        """Tells a service that nothing more is to be signed for an order. Raises Unavailable."""
        if self._settings.service is not None:
            await self._ask(Operation.CLOSE_ORDER, work_order)

    async def sign_crl(self, tbs: bytes) -> bytes:
        """See `signerd.ports.KeyHolder`. Raises also KeyHolderRefusal, a Fault."""
        return await self._signature(Operation.SIGN_CRL, tbs)

    async def sign_checkpoint(self, body: bytes) -> bytes:
        """See `signerd.ports.KeyHolder`. Raises also KeyHolderRefusal, a Fault."""
        return await self._signature(Operation.SIGN_CHECKPOINT, body)

    async def session_key(self, day: int, era: int) -> bytes:
        """The key of sessions that end on this day. Raises as `check_chip_mac`."""
        value = await self._ask(Operation.SESSION_KEY, day, era)
        if not isinstance(value, bytes) or len(value) != KEY_BYTES["sha256"]:
            raise Fault("the key holder answered with something that is no key of sessions")
        return value

    async def commit_key(self, start: bytes) -> bytes | None:
        """The key of this start's commits; None where there is no secret to derive it from. Raises as
        `check_chip_mac`."""
        value = await self._ask(Operation.COMMIT_KEY, start)
        if value is None or (isinstance(value, bytes) and len(value) == KEY_BYTES["sha256"]):
            return value
        raise Fault("the key holder answered with something that is no key of commits")

    async def check_chip_mac(self, question: MacQuestion) -> bool:
        """See `signerd.ports.KeyHolder`. A MAC of another length is False like any wrong one."""
        if len(question.mac) != KEY_BYTES.get(question.hash):
            return False
        asked = (question.chip_id, question.key.value, question.hash, question.message, question.mac)
        return await self._ask(Operation.CHECK_CHIP_MAC, *asked) is True
