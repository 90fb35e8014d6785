"""Driver `smp`: boards that speak SMP over a serial line, with group 83 of docs/board-protocol.md.

Every command is repeated within a bound when its answer is lost, and a transfer that a reset interrupted
begins again: the protocol makes both safe. Whatever the board answers, a method ends in bounded time and
memory, with a result, a `BoardError` or a `LineError`.

    async with SmpDriver("/dev/ttyUSB0", {"baudrate": 115200}) as board:
        found = await board.identify()
        await board.keygen("p256")
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from hashlib import sha256
from types import TracebackType
from typing import Annotated, NoReturn, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from smp.header import OP

from agent.adapters.drivers import smp_messages as messages
from agent.adapters.drivers.smp_link import SmpLink
from agent.adapters.drivers.smp_messages import AnswerT
from agent.core.file_problems import in_one_line, problems
from agent.core.pop import ProofOfPossession
from agent.core.recipe import StepName
from agent.errors import AgentError, BoardError, ConfigError, LineError
from agent.ports import (
    BoardIdentity,
    BoardRequest,
    BoardStamp,
    DriverKind,
    Firmware,
    FirmwareDemands,
    Flashed,
    Found,
    OnProgress,
)

T = TypeVar("T")

_FIRST_PAUSE_S = 0.05  # before a repetition; doubled each time
_LONGEST_PAUSE_S = 1.0
_IDENTIFY_FAILURES = 2  # an empty place is noticed soon
_POLL_FRACTION = 0.02  # of the time that the key has taken so far: polling costs at most that much
_SHORTEST_POLL_S, _LONGEST_POLL_S = 0.002, 0.25
_KEYGEN_ATTEMPTS = 3
_BEGIN_AGAIN = frozenset({"bad_offset", "digest_mismatch", "wrong_digest"})


class SmpOptions(BaseModel):
    """The table `[drivers.smp]` of the configuration."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    baudrate: Annotated[int, Field(ge=1200, le=12_000_000)] = 115_200
    timeout_s: Annotated[float, Field(gt=0, le=60)] = 2.5  # the board has 2 s
    failures: Annotated[int, Field(ge=0, le=100)] = (
        6  # lost answers and new beginnings that one step survives
    )
    transfer_timeout_s: Annotated[float, Field(gt=0, le=600)] = 60.0
    keygen_timeout_s: Annotated[float, Field(gt=0, le=3600)] = 180.0


def parse_options(table: Mapping[str, object]) -> SmpOptions:
    """Checks the table.

    Raises:
        ConfigError: a key is unknown or its value is wrong; it is named.
    """
    try:
        return SmpOptions.model_validate(dict(table))
    except ValidationError as error:
        remedy = "Mend [drivers.smp] in agent.toml; docs/stations.md lists the options."
        raise ConfigError(
            in_one_line([f"drivers.smp.{said}" for said in problems(error)]), remedy=remedy
        ) from error


class SmpDriver:
    """See `agent.ports.Driver`."""

    def __init__(
        self,
        port: str,
        options: Mapping[str, object],
        firmware: Firmware | None = None,  # noqa: ARG002  (this family's boards come with their firmware)
    ) -> None:
        self._options = parse_options(options)
        self._link = SmpLink(port, self._options.baudrate)
        self._buffer = messages.MIN_BUFFER
        self._sequence = 0
        self._failures_left = 0
        self._pause_s = _FIRST_PAUSE_S

    async def __aenter__(self) -> Self:
        await self._link.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._link.close()

    async def present(self) -> str | None:
        """See `Driver`. A `hello` disturbs no board."""
        try:
            return (await self._hello()).chip_id
        except LineError as error:
            if error.code != "no_answer":
                raise
            return None

    async def identify(self) -> Found:
        """See `Driver`."""
        identity = await self._hello()
        return Found(identity.chip_id, identity, identity.model)

    async def flash(self, demanded: FirmwareDemands, on_progress: OnProgress | None = None) -> Flashed:  # noqa: ARG002
        """See `Driver`. This family has no such step."""
        _no_step(StepName.FLASH)

    async def first_boot(self, on_progress: OnProgress | None = None) -> None:  # noqa: ARG002
        """See `Driver`. This family has no such step."""
        _no_step(StepName.FIRST_BOOT)

    async def locks(self) -> Mapping[str, bool]:
        """See `Driver`. Nothing but the firmware can be asked on this line."""
        return {}

    async def pop(self) -> ProofOfPossession:
        """See `Driver`."""
        self._begin_step(self._options.failures)
        return messages.proof_of_possession(await self._ask(OP.READ, messages.POP, {}, messages.PopAnswer))

    async def _hello(self) -> BoardIdentity:
        self._begin_step(min(_IDENTIFY_FAILURES, self._options.failures))
        answer = await self._ask(OP.READ, messages.HELLO, {}, messages.HelloAnswer)
        identity = messages.identity(answer)
        self._buffer = identity.buffer
        return identity

    async def keygen(self, key_type: str, on_progress: OnProgress | None = None) -> None:
        """See `Driver`."""
        self._begin_step(self._options.failures)
        try:
            async with asyncio.timeout(self._options.keygen_timeout_s):
                await self._keygen(key_type, on_progress)
        except TimeoutError as error:
            raise BoardError("keygen_slow", "the board did not finish its key in time") from error

    async def _keygen(self, key_type: str, on_progress: OnProgress | None) -> None:
        clock = asyncio.get_running_loop().time
        for _attempt in range(_KEYGEN_ATTEMPTS):
            started = clock()
            body: dict[str, object] = {"type": key_type}
            answer = await self._ask(OP.WRITE, messages.KEYGEN, body, messages.KeygenAnswer)
            while answer.state == "busy":
                if on_progress is not None:
                    on_progress(answer.pct or 0, 100)
                pause = (clock() - started) * _POLL_FRACTION
                await asyncio.sleep(min(max(pause, _SHORTEST_POLL_S), _LONGEST_POLL_S))
                answer = await self._ask(OP.READ, messages.KEYGEN, {}, messages.KeygenAnswer)
            if answer.state == "done":
                if on_progress is not None:
                    on_progress(100, 100)
                return
        raise BoardError("keygen_failed", f"the board made no key in {_KEYGEN_ATTEMPTS} attempts")

    async def request(self, challenge: bytes, methods: Sequence[str] = ()) -> BoardRequest:
        """See `Driver`."""
        body: dict[str, object] = {"challenge": challenge}
        if methods:
            body["methods"] = list(methods)
        self._require_room(body)
        return messages.parse_request(await self._transfer(lambda: self._read(messages.REQUEST, body)))

    async def stamp(self, challenge: bytes) -> BoardStamp:
        """See `Driver`."""
        body: dict[str, object] = {"challenge": challenge}
        return messages.parse_stamp(await self._transfer(lambda: self._read(messages.STAMP, body)))

    async def install(self, content: bytes, on_progress: OnProgress | None = None) -> bytes:
        """See `Driver`."""
        return await self._transfer(lambda: self._write(messages.CREDENTIAL, content, on_progress))

    async def configure(self, content: bytes, on_progress: OnProgress | None = None) -> bytes:
        """See `Driver`."""
        return await self._transfer(lambda: self._write(messages.CONFIG, content, on_progress))

    async def seal(self, on_progress: OnProgress | None = None) -> None:
        """See `Driver`."""
        self._begin_step(self._options.failures)
        await self._ask(OP.WRITE, messages.SEAL, {}, messages.SealAnswer)
        if on_progress is not None:
            on_progress(100, 100)

    async def _transfer(self, transfer: Callable[[], Awaitable[T]]) -> T:
        """Runs a transfer, from its beginning again where the board lost its place."""
        self._begin_step(self._options.failures)
        try:
            async with asyncio.timeout(self._options.transfer_timeout_s):
                while True:
                    async with self._forgiving(lambda error: error.code in _BEGIN_AGAIN):
                        return await transfer()
        except TimeoutError as error:
            raise LineError("too_slow", "the transfer did not end in time") from error

    async def _read(self, command: int, body: dict[str, object]) -> bytes:
        total = (await self._ask(OP.WRITE, command, body, messages.LengthAnswer)).len
        content = b""
        while len(content) < total:
            body = {"off": len(content)}
            chunk = await self._ask(OP.READ, command, body, messages.ChunkAnswer)
            left = total - len(content)
            if chunk.off != len(content) or not min(left, messages.MIN_CHUNK) <= len(chunk.data) <= left:
                raise BoardError("bad_answer", "a chunk that does not go on where the last one ended")
            content += chunk.data
        return content

    async def _write(self, command: int, content: bytes, on_progress: OnProgress | None) -> bytes:
        if not 0 < len(content) <= messages.MAX_CONTENT:
            raise BoardError("too_large", f"{len(content)} bytes; a board takes 1 to {messages.MAX_CONTENT}")
        digest = sha256(content).digest()
        offset = 0
        stored: bytes | None = None
        while offset < len(content):
            body: dict[str, object] = {"off": offset}
            if offset == 0:
                body |= {"len": len(content), "sha": digest}
            end = min(len(content), offset + self._room(command, body))
            body["data"] = content[offset:end]
            answer = await self._ask(OP.WRITE, command, body, messages.StoredAnswer)
            if answer.off != end:
                raise BoardError("bad_answer", "the board's next offset is not where the chunk ended")
            offset, stored = end, answer.sha
            if on_progress is not None:
                on_progress(offset, len(content))
        if stored is None:
            raise BoardError("bad_answer", "no digest of what was read back")
        if stored != digest:
            raise BoardError("wrong_digest", "the board read back something else than it was sent")
        return stored

    def _require_room(self, body: dict[str, object]) -> None:
        size = len(messages.encode_request(OP.WRITE, messages.REQUEST, 0, body))
        if size > self._buffer:
            raise BoardError("too_large", f"a request of {size} bytes; the board takes {self._buffer}")

    def _room(self, command: int, body: dict[str, object]) -> int:
        """Bytes of data that fit into one message beside the rest of `body`."""
        empty = messages.encode_request(OP.WRITE, command, 0, body | {"data": b""})
        return self._buffer - len(empty) - 2  # a byte string's head grows from 1 byte to at most 3

    async def _ask(
        self, operation: OP, command: int, body: dict[str, object], expected: type[AnswerT]
    ) -> AnswerT:
        """One command, repeated when its answer is lost or the board is busy."""
        while True:
            self._sequence = (self._sequence + 1) % 256
            question = messages.encode_request(operation, command, self._sequence, body)
            async with self._forgiving(lambda error: isinstance(error, LineError) or error.code == "busy"):
                answer = await self._link.exchange(question, self._options.timeout_s, self._buffer)
                return messages.parse_answer(answer, expected)

    def _begin_step(self, failures: int) -> None:
        self._failures_left = failures
        self._pause_s = _FIRST_PAUSE_S

    @asynccontextmanager
    async def _forgiving(self, forgivable: Callable[[AgentError], bool]) -> AsyncIterator[None]:
        """Swallows a forgivable error after a pause, while the step may still survive one."""
        try:
            yield
        except (LineError, BoardError) as error:
            if not forgivable(error) or self._failures_left <= 0:
                raise
            self._failures_left -= 1
            pause, self._pause_s = self._pause_s, min(2 * self._pause_s, _LONGEST_PAUSE_S)
            await asyncio.sleep(pause)


def _no_step(name: StepName) -> NoReturn:
    raise BoardError("no_step", f"boards of driver smp have no step {name}")


DRIVER = DriverKind(
    steps=frozenset(StepName) - {StepName.FLASH, StepName.FIRST_BOOT},
    open=SmpDriver,
    check_options=parse_options,
)
