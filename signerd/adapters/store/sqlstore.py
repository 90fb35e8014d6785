"""`SqlStore`: `signerd.ports.Store` on SQLAlchemy Core, with the ledger and the registry."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import Self

import structlog
from sqlalchemy import insert, select
from sqlalchemy.exc import SQLAlchemyError

from signerd.adapters.commit_keys import CommitKeys
from signerd.adapters.contradiction_file import compare_with_contradiction, keep_contradiction
from signerd.adapters.head_file import HeadFile, succession_beside
from signerd.adapters.head_file import create as create_second_place
from signerd.adapters.store.admin import Administration
from signerd.adapters.store.audit import Audit
from signerd.adapters.store.boards import calls, issuing, open_intents, stamping
from signerd.adapters.store.boards.intents import intent_keys
from signerd.adapters.store.boards.merged_chips import unsettled_chips
from signerd.adapters.store.listing import read_entries
from signerd.adapters.store.log import runs
from signerd.adapters.store.log.checkpoint_keys import known_log_keys
from signerd.adapters.store.log.ledger import Due, Ledger, Sign
from signerd.adapters.store.log.log_start import start_tree
from signerd.adapters.store.log.logged_entries import LoggedEntries, RecentEntries
from signerd.adapters.store.log.moments import newest_moment
from signerd.adapters.store.log.opened_only import demand_only_opened
from signerd.adapters.store.registry.issuers import first_issuer
from signerd.adapters.store.registry.known_peers import KnownPeers
from signerd.adapters.store.state.replay import replay_believed
from signerd.adapters.store.state.states import States
from signerd.adapters.store.tables.database import check_database, make_engine
from signerd.adapters.store.tables.schema import entries, head, issuers
from signerd.adapters.store.tables.worker import InPlaceReader, Reader, Reads
from signerd.adapters.store.writer import Transaction, Writer, Written
from signerd.adapters.tiles import (
    BucketPublication,
    BucketPublisher,
    Publication,
    TilePublisher,
    TilesBucket,
    TilesFolder,
)
from signerd.adapters.witnesses import Witnesses
from signerd.core.approval.administrators import AdministratorSet
from signerd.core.checkpoint_keys import LogKeys
from signerd.core.entry import ID_BYTES, Entry, LogOpened, RefusedCall, encode
from signerd.core.evidence.method import IdentityKey
from signerd.core.merkle import Tree, leaf_hash
from signerd.core.note import Checkpoint, NoteError, VerifierKey, parse_vkey
from signerd.core.order import Place
from signerd.core.seen_checkpoint import Standing
from signerd.core.tiles import SUCCESSION
from signerd.errors import ConfigError, Fault, Unavailable
from signerd.ports import (
    CallContext,
    Grant,
    IntentRequest,
    LedgerPosition,
    PeerRecord,
    PreparedBytes,
    Record,
)
from signerd.program import program_version

PROBE_S = 1.0  # between looks at a store that failed
FIRST_CHECKPOINT_S = 10.0  # that a start waits for the first checkpoint of a log
QUIET_S = 10.0  # between looks at one of which nobody wrote anything

_log = structlog.get_logger(__name__)


async def _at_once() -> None:
    """A checkpoint's turn where nothing else is signed."""


def _nothing() -> None:
    """Nobody counts who waits for a checkpoint."""


class SqlStore(Administration, Audit):
    """All of signerd's durable state.

    store = await SqlStore.open(url, head_file=…, tiles=…, vkey=…, sign_checkpoint=…, now=…)
    …
    await store.close()
    """

    @classmethod
    async def open(
        cls,
        url: str,
        *,
        head_file: Path,
        tiles: Path,
        origin: str,
        vkey: str,
        sign_checkpoint: Sign | None,
        commit_keys: CommitKeys,
        further_signs: Mapping[VerifierKey, Sign] = MappingProxyType({}),
        checkpoint_due: Due = _at_once,
        checkpoint_awaited: Callable[[], None] = _nothing,
        now: datetime | None,
        administrators: AdministratorSet | None = None,
        witnesses: Witnesses | None = None,
        bucket: TilesBucket | None = None,
    ) -> Self:
        """Loads the ledger, compares it with the second place, enters open intents, begins to publish.

        What no checkpoint covers counts if signerd committed it: before anything is signed over it, the MACs
        of its commits are looked at.

        Args:
            url: SQLAlchemy URL of the database.
            head_file: the second place.
            tiles: the folder of the log's tiles. It is made where it is missing.
            origin: the log's name.
            vkey: the log's first verifier key, signed-note text, of the same name.
            sign_checkpoint: the key holder's. It need not be ready: publishing waits for it. None: the log's
                first key is not here.
            commit_keys: the key holders'. They have to answer.
            further_signs: of keys that came after the first.
            checkpoint_due: returns when it is a checkpoint's turn at the token.
            checkpoint_awaited: called by each task that begins to wait for a checkpoint.
            administrators: of the settings, where approvals are demanded. `ask_administrators` enters them.
            bucket: has the tiles too. Nothing waits for it, here or later.
            witnesses: who are shown each checkpoint, and how many of them must cosign it.
            now: aware, UTC; None while the clock is wrong: `enter_open_intents` is then to be called later.

        Raises:
            ConfigError: no database or not of our schema, no second place, the database is behind it, it has
                entries that signerd did not commit, or the tiles cannot be written.
            Unavailable, Fault: the key holder does not answer, or the open intents could not be entered.
        """
        key = _first_key(vkey, origin)
        check_database(url)
        log_keys = await asyncio.to_thread(known_log_keys, url, key)
        second_place, folder = HeadFile(head_file, log_keys), TilesFolder(tiles)
        try:
            await asyncio.to_thread(demand_only_opened, url, second_place.checkpoint)
            cosigned = witnesses is not None and witnesses.required > 0  # whatever is published
            tree = await asyncio.to_thread(start_tree, url, folder, second_place, log_keys, cosigned=cosigned)
            await asyncio.to_thread(_beside_second_place, head_file, log_keys, tree, folder)
            replayed = await replay_believed(url, second_place.checkpoint, tree, log_keys, commit_keys)
            start_key = await commit_keys.new()
            intents = await intent_keys(url, start_key, origin, commit_keys)
            newest = await asyncio.to_thread(newest_moment, url)
            await asyncio.to_thread(_warn_of_merged_chips, url)
        except BaseException:
            second_place.close()
            raise
        signs = {**({} if sign_checkpoint is None else {key: sign_checkpoint}), **further_signs}
        recent = RecentEntries()
        logged = LoggedEntries(url, tree, recent.get)
        copies = TilePublisher(Publication(folder, tree, logged.read, second_place.checkpoint.size))
        beside = None
        if bucket is not None:
            beside = BucketPublisher(BucketPublication(bucket, tree, logged.read, lambda: ledger.keys))
        ledger = Ledger(
            tree,
            second_place,
            log_keys,
            signs,
            copies,
            recent,
            checkpoint_due,
            checkpoint_awaited,
            witnesses,
            beside,
        )
        reader = _short_reads(url)
        states = States(replayed.state, replayed.boards, intents, logged.one, replayed.changes)
        known_peers = KnownPeers(
            lambda key: reader.do(lambda connection: calls.peer_of_key(connection, states, key))
        )
        writer = Writer(
            make_engine(url, "write"), tree, ledger, newest, known_peers.changed, states, start_key
        )
        writer.demanded = administrators
        writer.kept = replayed.kept
        long_reader = Reader("store-long-reader", make_engine(url, "read"))
        store = cls(writer, reader, long_reader, ledger, known_peers, head_file)
        try:
            writer.start()
            long_reader.start()
            reader.start()
            await writer.do(Transaction.prove)
            if now is not None:
                await store.enter_open_intents(now)
        except BaseException:
            await store.close()
            raise
        ledger.start()
        store.watch()
        # Nothing more is written before the first of a log. Why it fails stands in `fault`.
        if ledger.size == 0:
            await store.unpublished(0, within_s=FIRST_CHECKPOINT_S)
        return store

    def __init__(
        self,
        writer: Writer,
        reader: Reads,
        long_reader: Reads,
        ledger: Ledger,
        known_peers: KnownPeers,
        head_file: Path,
    ) -> None:
        super().__init__(writer, reader, long_reader, ledger)
        self._known_peers = known_peers
        self._head_file = head_file
        self._terms = calls.OrderTerms()
        self._watching: asyncio.Task[None] | None = None
        # Why no place is taken: what would keep a chip from being certified again is missing. Set by whoever
        # compares the whole database.
        self.absence: Unavailable | None = None

    def watch(self) -> None:
        """Begins to look whether the database can be read and written while nobody asks for it."""
        self._watching = asyncio.create_task(self._watch(), name="store watch")

    async def _watch(self) -> None:
        quiet_s, written = 0.0, 0
        while True:
            await asyncio.sleep(PROBE_S)
            quiet_s = 0.0 if self.written.entries != written else quiet_s + PROBE_S
            if self.fault is None and quiet_s < QUIET_S:
                written = self.written.entries
                continue
            quiet_s = 0.0
            with suppress(Fault):  # what it was stands in `fault`
                await self._writer.do(Transaction.prove)
            for reader in (self._reader, self._long_reader):
                with suppress(Fault):
                    await reader.do(lambda connection: connection.execute(select(head.c.size)).one())

    async def close(self) -> None:
        """Finishes what is queued, publishes it if the key holder signs, and lets go of the files."""
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.wait((self._watching,))
        await self._writer.close()
        await self._ledger.close()
        await self._reader.close()
        await self._long_reader.close()

    @property
    def newest(self) -> datetime | None:
        """The latest time in the ledger, or of an intent that waits for its certificate; aware, UTC."""
        return self._writer.newest

    async def enter_open_intents(self, now: datetime) -> None:
        """Enters intents that a crash left open, once: for the start, as soon as the time is certain."""
        left_open = await self._writer.do(lambda tx: open_intents.enter_open_intents(tx, now))
        if left_open:
            _log.warning("intents_open", count=left_open)

    async def enter_start(self, run: bytes, now: datetime) -> int:
        """Enters that signerd begins to serve, and what was done to its database since the last start; the
        ledger index. `run` names what begins: `ID_BYTES` random bytes."""
        return await self._writer.do(lambda tx: runs.enter_start(tx, run, program_version(), now))

    async def enter_stop(self, run: bytes, now: datetime) -> int:
        """Enters that this run ends because it was asked to; the ledger index."""
        return await self._writer.do(lambda tx: runs.enter_stop(tx, run, now))

    @property
    def fault(self) -> Fault | None:
        """Why signerd cannot serve now: nothing is read, written or published. None: all is well.

        It is known from the first call that fails, or within `QUIET_S` while nobody calls; that it has passed
        is known within `PROBE_S`.
        """
        return self._writer.broken or self._writer.failing or self.unreadable or self._ledger.fault

    @property
    def unreadable(self) -> Fault | None:
        """Why nothing can be read now."""
        return self._reader.failing or self._long_reader.failing

    async def wait_stopped(self) -> Fault:
        """Returns once writing or publishing has stopped for good: signerd must end, and start anew."""
        return await self._ledger.wait_stopped()

    def published_here(self, note: bytes) -> bool:
        """See `signerd.seen_checkpoints.PublishedLog`, as the next three."""
        return self._ledger.published_here(note)

    async def standing(self, seen: Checkpoint) -> Standing:
        """See `PublishedLog`."""
        return await self._ledger.standing(seen)

    async def demand_no_newer_head(self, seen: Checkpoint) -> None:
        """See `PublishedLog`."""
        size = await self._reader.do(lambda connection: connection.execute(select(head.c.size)).scalar_one())
        if size >= seen.size:
            raise Unavailable(f"the database's ledger has {size} entries by now, which another process wrote")

    async def contradicted(self, note: bytes, fault: Fault) -> None:
        """See `PublishedLog`. A note that cannot be kept stops signerd all the same."""
        self._writer.broken = self._writer.broken or fault  # before the wait: what is queued is not written,
        self._ledger.halt(fault)  # and what is committed is not signed
        try:
            await asyncio.to_thread(keep_contradiction, self._head_file, note)
        except OSError as error:
            _log.error("contradiction_not_kept", detail=str(error), note=note.decode("utf-8", "replace"))
        self._ledger.stop(fault)

    async def unpublished(self, index: int, within_s: float) -> str:
        """Why no signed checkpoint covers this entry, after some seconds; empty: one does."""
        try:
            async with asyncio.timeout(within_s):
                await self._ledger.wait_published(index)
        except TimeoutError:
            return "no checkpoint over it is signed yet"
        except Fault as error:
            return error.detail
        return ""

    @property
    def written(self) -> Written:
        """Counts since start, for metrics."""
        return self._writer.written

    async def peer_of_key(self, spki_sha256: bytes) -> PeerRecord | None:
        """The peer that this public key was registered for, revoked or not."""
        return await self._known_peers.of_key(spki_sha256)

    async def call_context(
        self, *, peer_uri: str, work_order: str, chip_id: str, session_sha256: bytes | None
    ) -> CallContext:
        """See `signerd.ports.Store`."""
        return await self._reader.do(
            lambda connection: calls.call_context(
                connection,
                self._terms,
                self._writer.states,
                peer_uri=peer_uri,
                work_order=work_order,
                chip_id=chip_id,
                session_sha256=session_sha256,
            )
        )

    async def identity(self, *, product: str, method: str, chip_id: str) -> IdentityKey | None:
        """See `signerd.ports.Store`."""
        return await self._reader.do(
            lambda connection: calls.identity(
                connection, self._writer.states, product=product, method=method, chip_id=chip_id
            )
        )

    async def take_place(self, request: IntentRequest, prepare: Callable[[Place], PreparedBytes]) -> Record:
        """See `signerd.ports.Store`. `prepare` runs in the writer's thread."""
        if self.absence is not None:  # one for each caller: a raised exception keeps its traceback
            raise Unavailable(self.absence.detail)
        return await self._writer.do(lambda tx: issuing.take_place(tx, request, prepare))

    async def complete(
        self,
        record: Record,
        certificate_der: bytes,
        grant: Grant,
        now: datetime,
        *,
        agent: str | None = None,
    ) -> Record:
        """See `signerd.ports.Store`.

        Raises:
            Refused: `session_used`; `certificate_revoked` or `chip_already_certified` if the record was
                revoked or superseded since its place was taken.
        """
        return await self._writer.do(
            lambda tx: issuing.complete(tx, record, certificate_der, grant, now, agent)
        )

    async def record_stamp(
        self, record: Record, *, stamp: bytes, signature: bytes, station: str, now: datetime
    ) -> Record:
        """See `signerd.ports.Store`."""
        return await self._writer.do(
            lambda tx: stamping.record_stamp(tx, record, stamp, signature, station, now)
        )

    async def published(self, index: int) -> LedgerPosition:
        """See `signerd.ports.Store`."""
        await self._ledger.wait_published(index)
        entry = self._ledger.recent.get(index)
        if entry is None:
            found = await self._reader.do(lambda connection: read_entries(connection, index, index + 1))
            (entry,) = await self._ledger.as_logged(index, index + 1, found)
        return LedgerPosition(index, entry, await self._ledger.receipt(index))

    async def append_refusals(self, refusals: Sequence[RefusedCall]) -> None:
        """Enters refusals, in one transaction. For `signerd.adapters.refusals`."""
        await self._writer.do(lambda tx: [tx.append(refusal) for refusal in refusals])


def _beside_second_place(head_file: Path, keys: LogKeys, tree: Tree, folder: TilesFolder) -> None:
    """What else is kept there. Raises ConfigError: a station saw a ledger that this one does not continue."""
    compare_with_contradiction(head_file, keys, tree)
    _publish_succession(folder, keys, succession_beside(head_file))


def _publish_succession(folder: TilesFolder, keys: LogKeys, kept: Path) -> None:
    """Beside the checkpoint, for readers of the folder. A crash leaves none, until the next start."""
    if not keys.successions:
        return
    try:
        folder.put(SUCCESSION, kept.read_bytes(), anew=True)
    except OSError as error:  # signerd gives it to stations and auditors all the same
        _log.warning("succession_not_written", file=str(error.filename), detail=error.strerror)


def _warn_of_merged_chips(url: str) -> None:
    for merged in unsettled_chips(url):
        _log.warning("one_chip_two_boards", remedy="revoke one of the two", detail=str(merged))


def _first_key(vkey: str, origin: str) -> VerifierKey:
    """The log's. Raises ConfigError: it is none, or another log's."""
    try:
        key = parse_vkey(vkey)
    except NoteError as error:
        raise ConfigError(f"the log's verifier key: {error}") from error
    if key.name != origin:
        raise ConfigError(f"the log's verifier key is of {key.name}, not of {origin}")
    return key


def _short_reads(url: str) -> Reads:
    # A database across a network would hold up every other call while it answers.
    if url.startswith("sqlite:"):
        return InPlaceReader(make_engine(url, "snapshot"))
    return Reader("store-reader", make_engine(url, "read"))


def open_log(url: str, *, head_file: Path, entry: LogOpened, more: Sequence[Entry] = ()) -> None:
    """Writes the first entries into an empty database, and the second place's first mark. For `signerd init`.

    A crash between the two leaves a log without its second place, which `SqlStore.open` refuses; `init`
    has to be run anew in an empty directory.

    Raises:
        ConfigError: the database or the second place holds a log already, or cannot be written.
    """
    encoded = [encode(each, secrets.token_bytes(ID_BYTES)) for each in (entry, *more)]
    tree = Tree()
    rows = [
        {"entry_index": index, "leaf_hash": leaf_hash(data), "data": data}
        for index, data in enumerate(encoded)
    ]
    for data in encoded:
        tree.append(leaf_hash(data))
    check_database(url)
    engine = make_engine(url, "write")
    try:
        with engine.begin() as connection:
            connection.execute(insert(entries), rows)
            # Nothing but `log_opened` and `keys_committed`: each changes the administration.
            first = {"id": 1, "size": len(rows), "root": tree.root(), "epoch": len(rows)}
            connection.execute(insert(head), first)
            connection.execute(insert(issuers), first_issuer(entry))
    except SQLAlchemyError as error:
        raise ConfigError("cannot open a log: the database holds one, or cannot be written") from error
    finally:
        engine.dispose()
    create_second_place(head_file, entry.origin)
