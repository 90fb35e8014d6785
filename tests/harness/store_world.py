"""A real store on a SQLite file, with a log key in software and an order to work on."""

from __future__ import annotations

import asyncio
import hashlib
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from harness.commit_keys import software_commit_keys
from harness.fresh_database import fresh_database
from signerd.adapters.store import SqlStore, open_log
from signerd.adapters.tiles import TilesBucket
from signerd.adapters.witnesses import Witnesses, WitnessState
from signerd.core import strict_cbor
from signerd.core.entry import LogOpened, RefusedCall
from signerd.core.names import Level, Reissue, parse_peer_uri
from signerd.core.note import Checkpoint, VerifierKey, sign_note
from signerd.core.order import Place, WorkOrder
from signerd.errors import Unavailable
from signerd.ports import Grant, IntentRequest, PreparedBytes, Record

NOW = datetime(2026, 11, 15, 12, 0, 0, tzinfo=UTC)
ORIGIN = "test.example/line"
STATION = "birthmark://test/station/plant1/pc1"
PRODUCT_TOML = 'name = "sensor"\n'
CLAIMS = strict_cbor.encode([{"app": ["1.2.0", bytes(32)]}, {"secure_boot": True}])
PRODUCT_SHA256 = hashlib.sha256(PRODUCT_TOML.encode()).digest()

ORDER = WorkOrder(
    work_order="WO-1",
    product="sensor",
    product_sha256=PRODUCT_SHA256,
    quantity=10,
    not_before=NOW - timedelta(days=1),
    not_after=NOW + timedelta(days=1),
    stations=(STATION,),
    level=Level.CHIP,
    minimum_firmware={"app": "1.2.0"},
    serial_pattern="BM-{number:06d}",
    serial_start=1,
    reissue=Reissue.NEVER,
    settings=b"\xa0",
    bundle=None,
)


class SoftwareLogKey:
    """Signs checkpoints as the key holder does; `available` False: it does not answer."""

    def __init__(self, seed: bytes = b"store tests", *, origin: str = ORIGIN) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(hashlib.sha256(seed).digest())
        self.verifier = VerifierKey(origin, self._key.public_key().public_bytes_raw())
        self.available = True
        self.signed: list[bytes] = []
        self.has_signed = asyncio.Event()
        self.die_instead: Callable[[], None] | None = None

    def checkpoint(self, size: int, root: bytes) -> bytes:
        """The signed note over a tree."""
        body = Checkpoint(self.verifier.name, size, root).body()
        return sign_note(body, (self.verifier, self._key.sign(body)))

    async def sign_checkpoint(self, body: bytes) -> bytes:
        """Ed25519 over the note text."""
        if not self.available:
            raise Unavailable("the key holder is being replaced")
        if self.die_instead is not None:
            self.die_instead()
        self.signed.append(body)
        self.has_signed.set()
        return self._key.sign(body)


class World:
    """An installation's database, second place and tiles in one directory."""

    def __init__(self, directory: Path) -> None:
        self.database = directory / "signerd.sqlite"
        self.url = f"sqlite:///{self.database}"
        self.head_file = directory / "head" / "checkpoint"
        self.tiles = directory / "tiles"
        self.log_key = SoftwareLogKey()
        self.further: list[SoftwareLogKey] = []  # keys of the log after the first that are at hand
        self.has_first = True
        self.witnesses: Witnesses | None = None
        self.bucket: Callable[[], TilesBucket] | None = None
        self.commit_keys = software_commit_keys()

    def create(self) -> None:
        """What `signerd init` does."""
        fresh_database(self.url)
        opened = LogOpened(
            time=NOW,
            by=None,
            deployment="test",
            origin=ORIGIN,
            issuer_sha256=bytes(32),
            root_sha256=bytes(32),
            vkey=self.log_key.verifier.text(),
        )
        open_log(self.url, head_file=self.head_file, entry=opened)

    def restore(self, backup: Path) -> None:
        """What an administrator does with a copy of the database: the second place stays as it is."""
        for suffix in ("", "-wal", "-shm"):
            Path(f"{self.database}{suffix}").unlink(missing_ok=True)
        shutil.copy(backup, self.database)

    async def open(self, *, now: datetime | None = NOW) -> SqlStore:
        """What `signerd run` does; `now` is None while its clock is wrong."""
        return await SqlStore.open(
            self.url,
            head_file=self.head_file,
            tiles=self.tiles,
            origin=ORIGIN,
            vkey=self.log_key.verifier.text(),
            sign_checkpoint=self.log_key.sign_checkpoint if self.has_first else None,
            commit_keys=self.commit_keys,
            further_signs={key.verifier: key.sign_checkpoint for key in self.further},
            now=now,
            witnesses=self.witnesses,
            bucket=None if self.bucket is None else self.bucket(),
        )

    @property
    def witness_states(self) -> list[WitnessState]:
        """How its witnesses stand."""
        return [] if self.witnesses is None else self.witnesses.states

    @asynccontextmanager
    async def opened(self, *, now: datetime | None = NOW) -> AsyncIterator[SqlStore]:
        """The store, closed at the end."""
        store = await self.open(now=now)
        try:
            yield store
        finally:
            await store.close()


async def stock(store: SqlStore, *orders: WorkOrder) -> None:
    """A station, a product and the orders."""
    await store.add_peer(parse_peer_uri(STATION), digest("station"), NOW)
    await store.add_product("sensor", PRODUCT_TOML, NOW)
    for order in orders:
        await store.open_order(order, NOW, rehearsed=True)


def refusals(count: int, code: str = "order_full") -> list[RefusedCall]:
    """Entries to fill a log with: each is like the others, but for its id."""
    refusal = RefusedCall(
        time=NOW,
        peer=STATION,
        call="SignCsr",
        code=code,
        count=1,
        work_order="WO-1",
        chip_id="chip-1",
        csr_sha256=None,
    )
    return [refusal] * count


def digest(name: str) -> bytes:
    """Thirty-two bytes of that name."""
    return hashlib.sha256(name.encode()).digest()


def intent(
    chip: str, key: str | None = None, *, order: WorkOrder = ORDER, session: str = ""
) -> IntentRequest:
    """A request of a chip with a key of its own, in a session of its own, unless told otherwise."""
    key = key or f"key of {chip}"
    session = session or f"session of {chip} with {key}"
    return IntentRequest(
        order=order,
        chip_id=chip,
        spki_sha256=digest(key),
        session_sha256=digest(session),
        challenge=digest(f"challenge of {session}"),
        station=STATION,
        csr_der=f"CSR for {key}".encode(),
        method="hmac-sha256",
        claims=CLAIMS,
        evidence=bytes(32),
        level=Level.KEY,
        measured={"app": "1.2.0"},
        attester=digest(f"attester of {chip}"),
        certificate_serial=int.from_bytes(digest(f"{chip} {key} {order.work_order}")[:16], "big") | 1,
        moment=NOW,
    )


def prepare(place: Place) -> PreparedBytes:
    """Stands for step 7: bytes that depend on the place alone."""
    return PreparedBytes(
        tbs=f"TBS {place.serial_number} {place.certificate_serial}".encode(),
        settings=f"settings of {place.serial_number}".encode(),
    )


def grant_of(request: IntentRequest, record: Record) -> Grant:
    """The grant that step 11 writes."""
    return Grant(
        session_sha256=request.session_sha256,
        record_id=record.record_id,
        challenge=request.challenge,
        station=request.station,
        csr_sha256=hashlib.sha256(request.csr_der).digest(),
    )


def certificate_of(record: Record) -> bytes:
    """Stands for the signed certificate."""
    return b"certificate over " + record.tbs


async def issue(
    store: SqlStore, request: IntentRequest, *, prepared: Callable[[Place], PreparedBytes] = prepare
) -> Record:
    """Steps 6 to 11."""
    record = await store.take_place(request, prepared)
    certificate = record.certificate_der or certificate_of(record)
    return await store.complete(record, certificate, grant_of(request, record), NOW)


def with_terms(order: WorkOrder = ORDER, **terms: object) -> WorkOrder:
    """The order with other terms."""
    return replace(order, **terms)  # type: ignore[arg-type]
