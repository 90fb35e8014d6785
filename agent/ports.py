"""What the order of work at a station needs from the outside, as it needs it.

Adapters implement these; `agent.provision` sees nothing else. Methods raise `agent.errors` only.
Nothing here can make a board's key or a CSR: both come from the board, through `Driver`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from agent.core.bundle import Bundle
from agent.core.label import Label
from agent.core.pop import ProofOfPossession
from agent.core.recipe import StepName
from agent.core.result import Outcome, Result

OnProgress = Callable[[int, int], None]
"""Called with (done, total): bytes of a transfer, or percent of a key generation with total 100."""


class KeyState(StrEnum):
    """Where a board's key stands (docs/board-protocol.md, `hello`)."""

    NONE = "none"
    BUSY = "busy"
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class FirmwareComponent:
    """One part of a board's firmware, as the board says."""

    version: str
    digest: bytes  # SHA-256, 32 bytes


@dataclass(frozen=True, slots=True)
class BoardIdentity:
    """A board's `hello`, checked for form. All of it is what the board says, and no more."""

    model: str
    chip_id: str
    firmware: Mapping[str, FirmwareComponent]
    security_state: Mapping[str, bool]
    methods: tuple[str, ...]  # evidence methods, preferred first
    key_types: tuple[str, ...]  # p256 p384 rsa2048 rsa3072 rsa4096
    key_state: KeyState
    credential_sha256: bytes | None  # of the stored credential content
    settings_sha256: bytes | None  # of the stored settings
    sealed: bool
    buffer: int  # largest SMP message that the board takes, bytes, header included


@dataclass(frozen=True, slots=True)
class BoardRequest:
    """What the board asks to have certified. The station passes it on and cannot make one."""

    csr_der: bytes
    method: str
    claims: bytes
    evidence: bytes


@dataclass(frozen=True, slots=True)
class BoardStamp:
    """What the board says of itself at the end (docs/formats.md, "Stamp"), with its signature."""

    stamp: bytes
    signature: bytes


@dataclass(frozen=True, slots=True)
class Found:
    """What stands on a port. `chip_id` is the same before and after flashing."""

    chip_id: str
    board: BoardIdentity | None  # its firmware's word; None: no firmware of ours has answered yet
    description: str = ""  # for people, e.g. "ESP32-S3 v0.2, 8 MB"


@dataclass(frozen=True, slots=True)
class FirmwareDemands:
    """What a work order demands of the firmware. Known before a byte is written."""

    bundle_sha256: bytes | None  # 32 bytes; None: the order names no bundle
    minimum_firmware: Mapping[str, str]
    required_locks: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Flashed:
    """What `flash` did."""

    written: tuple[str, ...]  # names of images
    kept: tuple[str, ...]  # those that stood there already


class Driver(Protocol):
    """One board on one port. Methods are not to be called concurrently on one driver.

    All methods are safe to repeat, also over a reset of the board: the driver repeats lost commands on
    its own within bounds, and the caller may repeat the method. A method that is cancelled leaves the port
    usable. Which of them a family has, its `DriverKind.steps` says; the others raise `BoardError("no_step")`.

    Raises, each method: `LineError` when the board does not answer, `BoardError` for what it answers.
    """

    async def present(self) -> str | None:
        """The chip id of the board that is there now, None without one. Disturbs a finished board as little
        as the family allows."""
        ...

    async def identify(self) -> Found:
        """Asks the board who it is. The first call after the driver was opened, and after each exchange."""
        ...

    async def flash(self, demanded: FirmwareDemands, on_progress: OnProgress | None = None) -> Flashed:
        """Brings the chip to the bundle's firmware: writes what is missing or older, verifies it, and starts
        the manufacturing firmware, which answers when this returns. What cannot be right is refused before a
        byte is written. Nothing is written to a chip that says another id than `identify` said."""
        ...

    async def keygen(self, key_type: str, on_progress: OnProgress | None = None) -> None:
        """Has the board make its key, and waits for it. Nothing happens where it has a key of this type."""
        ...

    async def request(self, challenge: bytes, methods: Sequence[str] = ()) -> BoardRequest:
        """The CSR with evidence over `challenge` (32 bytes).

        `methods` are those that the session accepts, preferred first; without them the board chooses freely.
        The evidence is opaque: the driver hands it on as it came.
        """
        ...

    async def install(self, content: bytes, on_progress: OnProgress | None = None) -> bytes:
        """Stores the credential (CBOR `[certificate, [issuer, …]]`).

        Returns SHA-256 of the content as the board read it back; it is that of `content`, or this raises
        `BoardError`.
        """
        ...

    async def configure(self, content: bytes, on_progress: OnProgress | None = None) -> bytes:
        """Stores the settings (canonical CBOR map). Returns as `install` does."""
        ...

    async def seal(self, on_progress: OnProgress | None = None) -> None:
        """Closes the board's locks, the irreversible ones last and each read back. Repeating changes nothing.

        The caller has verified that the board holds what it was given.
        """
        ...

    async def first_boot(self, on_progress: OnProgress | None = None) -> None:
        """Starts the application for the first time and watches it lock itself, until its firmware answers.

        Closes what only may be closed afterwards. Where all this is done already, nothing happens.
        """
        ...

    async def locks(self) -> Mapping[str, bool]:
        """The locks as the silicon says, not the firmware; those that cannot be read are left out."""
        ...

    async def pop(self) -> ProofOfPossession:
        """The board's proof-of-possession code, made once and kept. A secret: for the label alone."""
        ...

    async def stamp(self, challenge: bytes) -> BoardStamp:
        """The stamp over `challenge` (32 bytes)."""
        ...


class OpenDriver(Protocol):
    """Opens a driver: a class or factory."""

    def __call__(
        self, port: str, options: Mapping[str, object], firmware: Firmware | None
    ) -> AbstractAsyncContextManager[Driver]:
        """Opens `port` on entering and closes it on leaving.

        Args:
            port: device name or path, for example `/dev/ttyUSB0`, `/dev/pts/3`, `COM7`.
            options: the driver's own table of the configuration; an unknown key is a `ConfigError`.
            firmware: what `flash` and `seal` write; None where the configuration names no bundle.
        """
        ...


@dataclass(frozen=True, slots=True)
class Firmware:
    """A verified bundle, its images laid out as files that only this user can write."""

    bundle: Bundle
    images: Mapping[str, Path]  # by the image's name in the manifest


CheckFirmware = Callable[[Firmware], Awaitable[None]]
"""A family's own look at a bundle, once a start: are the images of its form, signed with the expected key?

Raises `ConfigError`, which names the image.
"""


CheckOptions = Callable[[Mapping[str, object]], object]
"""A family's own look at its table `[drivers.*]`, before the first board, and where another driver is used.

Raises `ConfigError`, which names the option. What it returns is nobody's.
"""


@dataclass(frozen=True, slots=True)
class DriverKind:
    """A family of boards: what an entry point of group `birthmark.drivers` names."""

    steps: frozenset[StepName]  # that its drivers can take
    open: OpenDriver
    default_recipe: bytes | None = None  # TOML; None: every step that it can take
    check_firmware: CheckFirmware | None = None  # None: the family takes no bundle
    check_options: CheckOptions | None = None  # None: they are looked at when the first port is opened


class Labels(Protocol):
    """Where labels go: a printer, a folder, or both."""

    async def put(self, label: Label) -> None:
        """Prints or leaves one label. Raises `LabelError`; nothing of the code is in its text."""
        ...


@dataclass(frozen=True, slots=True)
class PortInfo:
    """A serial port that is there now."""

    device: str  # what to open
    name: str  # stays the same over replugging, where the system knows a way: by-id path, USB location
    description: str


ListPorts = Callable[[], tuple[PortInfo, ...]]
"""Lists the ports that are there now. Blocks for some milliseconds: call it in a thread."""


@dataclass(frozen=True, slots=True)
class Session:
    """Mirrors `OpenSessionResponse`."""

    session: bytes  # opaque, at most 512 bytes
    challenge: bytes  # 32 bytes
    expires_at: datetime  # aware, UTC
    key_types: tuple[str, ...]  # preferred first
    evidence_methods: tuple[str, ...]  # preferred first
    level: str  # none, chip, key
    minimum_firmware: Mapping[str, str]
    required_locks: tuple[str, ...]
    bundle_sha256: bytes | None = None  # of the firmware bundle that the order names, 32 bytes


@dataclass(frozen=True, slots=True)
class Receipt:
    """A ledger entry and the proof that it is in the ledger (C2SP tlog-proof@v1)."""

    index: int
    entry: bytes  # canonical JSON
    proof: bytes


@dataclass(frozen=True, slots=True)
class Issued:
    """Mirrors `SignCsrResponse`."""

    certificate_der: bytes
    chain_der: tuple[bytes, ...]  # sub-CA first, without the root
    serial_number: str
    settings: bytes  # canonical CBOR map
    receipt: Receipt
    stamped: bool  # a stamp of this certificate is recorded already


class Signer(Protocol):
    """signerd's `SigningService`. Every call raises `Refused` or `SignerUnavailable`, and may be repeated."""

    async def open_session(self, work_order: str, chip_id: str) -> Session:
        """Opens a session. It reserves nothing."""
        ...

    async def sign_csr(self, session: bytes, request: BoardRequest) -> Issued:
        """Has the board's key certified. The same chip and key get the same certificate again."""
        ...

    async def record_stamp(self, session: bytes, stamp: BoardStamp) -> Receipt:
        """Records the board's stamp. The same stamp again is answered as before."""
        ...


class Clock(Protocol):
    """Time that only goes forward, and waiting. Tests move it by hand."""

    def now_s(self) -> float:
        """Seconds since some moment."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Waits."""
        ...


@dataclass(frozen=True, slots=True)
class QueuedStamp:
    """A stamp that the station has checked, and that signerd has not answered yet."""

    work_order: str
    chip_id: str
    serial_number: str
    certificate_sha256: bytes
    session: bytes
    stamp: BoardStamp


KeepRecording = Callable[[int, Outcome, bytes], None]
"""Takes the recording of a run that is over: its number in the journal, its outcome, and the bytes.

Never fails and never waits: a recording that cannot be kept is lost, and nothing else with it.
"""


class Journal(Protocol):
    """Durable memory of the station. Every awaited write is on the disk when it returns.

    Raises, each awaited method: `JournalError`.
    """

    async def begin(self, port: str, work_order: str, chip_id: str) -> int:
        """A board's way begins; returns the number of its run."""
        ...

    def step_done(self, run: int, step: str, seconds: float) -> None:
        """So much time went into a step, over all its tries, whether it was done, failed or was broken off.

        The last that is told counts. Holds nothing up: a crash may lose it, and only a time with it.
        """
        ...

    async def note_label(self, run: int, certificate_sha256: bytes) -> None:
        """A label for this certificate was handed over."""
        ...

    async def has_label(self, certificate_sha256: bytes) -> bool:
        """True if a label for this certificate was handed over before."""
        ...

    async def last_on(self, port: str) -> tuple[str, str] | None:
        """Chip id and outcome of the newest run on this port that is over and whose board said who it is."""
        ...

    async def finish(self, run: int, result: Result) -> None:
        """The run is over."""
        ...

    async def queue_stamp(self, run: int, queued: QueuedStamp) -> None:
        """Puts a stamp into the outbox. The same again changes nothing."""
        ...

    async def queued_stamps(self) -> tuple[QueuedStamp, ...]:
        """The stamps that signerd has not answered, oldest first."""
        ...

    async def stamp_recorded(self, queued: QueuedStamp, receipt: Receipt) -> None:
        """signerd recorded the stamp: out of the outbox, receipt kept, and its parked run has passed."""
        ...

    async def stamp_refused(self, queued: QueuedStamp, code: str, remedy: str) -> None:
        """signerd refused the stamp: out of the outbox, and its run has failed."""
        ...
