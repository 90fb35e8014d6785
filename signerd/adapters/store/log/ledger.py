"""Publishing: signed checkpoints over what is committed, and receipts.

Guarantees that nobody is told of an entry before a checkpoint over it is signed and stands in the second
place, and that published checkpoints only ever grow one tree. One checkpoint is signed at a time, always
for the newest committed size when its turn has come, so that many entries share one signature. It bears the
signatures of all keys that sign at its size (`core/checkpoint_keys.py`), or is not published.

Order of writes, and what a crash after each means:
  1. entries and head committed: signed and published at the next start;
  2. checkpoint signed, by one key or all: the signatures are lost, nobody saw them; the same tree is signed
     again;
  3. checkpoint in the second place: it is what the next start publishes; witnesses are shown it from here
     on. Where cosignatures are demanded, it is not published before they are there: they are in memory, so a
     start publishes nothing before it has asked for them again;
  4. published: readers and waiters get it;
  5. tiles, after it and apart from it (`adapters/tiles`), in the folder and in the bucket: the next start
     completes them;
  6. a cosignature that comes later, in the tiles' checkpoint: lost, and asked for again at the next start.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence

import structlog

from signerd.adapters.head_file import HeadFile
from signerd.adapters.store.log.earlier_roots import EarlierRoots
from signerd.adapters.store.log.logged_entries import RecentEntries, altered, altered_fault, missing_fault
from signerd.adapters.tiles import BucketPublisher, TilePublisher
from signerd.adapters.witnesses import Witnesses
from signerd.core import receipt
from signerd.core.checkpoint_keys import LogKeys
from signerd.core.cosigning import has_line_of
from signerd.core.merkle import Tree
from signerd.core.note import Checkpoint, NoteError, VerifierKey, sign_note
from signerd.core.seen_checkpoint import Standing, standing_in
from signerd.errors import Code, Fault, Unavailable

Sign = Callable[[bytes], Awaitable[bytes]]  # note text -> 64-byte Ed25519 signature
Due = Callable[[], Awaitable[None]]  # returns when it is a checkpoint's turn at the token

_RETRY_S = 1.0  # between attempts while the key holder does not sign
_OWN_NOTES = 4_096  # kept in memory: what stations send back is known by its bytes
_AT_ONCE = 8  # entries that are compared on the event loop; more of them are in a thread

_log = structlog.get_logger(__name__)


class Ledger:
    """The published side of the tree. Lives on the event loop; `start` it there."""

    def __init__(
        self,
        tree: Tree,
        head: HeadFile,
        keys: LogKeys,
        signs: Mapping[VerifierKey, Sign],
        tiles: TilePublisher,
        recent: RecentEntries,
        due: Due,
        awaited: Callable[[], None],
        witnesses: Witnesses | None = None,
        bucket: BucketPublisher | None = None,
    ) -> None:
        """`signs`: of each key that is at hand. One that is to sign and is not keeps from publishing.
        `tiles` are up to date with `head`; the `bucket` follows as it can. `recent` is filled with what is
        committed. `awaited` is called by each task that begins to wait for a checkpoint."""
        self._tree = tree
        self._earlier = EarlierRoots(tree)
        self._committed = tree.size
        self._head = head
        self._signed = head.checkpoint.size
        # The second place does not say whether witnesses cosigned what stands there.
        self._size = 0 if witnesses is not None and witnesses.required else self._signed
        self._note = head.note
        self._own_notes = dict.fromkeys([head.note])  # in the order of publishing
        self.keys = keys
        self._signs = signs
        self.tiles = tiles
        self.bucket = bucket
        self.recent = recent
        self._due = due
        self._awaited = awaited
        self._witnesses = witnesses
        self._waiters: list[tuple[int, asyncio.Future[None]]] = []
        self._wanted = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._fault: Fault | None = None
        self._over: Fault | None = None  # why nothing is published until signerd starts anew
        self._is_over = asyncio.Event()
        self._closing = False

    @property
    def size(self) -> int:
        """Size of the published tree. 0: nothing is published, or not yet since the start."""
        return self._size

    @property
    def signed_size(self) -> int:
        """Size of the last tree whose checkpoint was signed and is durable, published or not."""
        return self._signed

    @property
    def note(self) -> bytes:
        """The published checkpoint as a signed note. Raises Unavailable before the first one."""
        if self._size == 0:
            raise Unavailable("no checkpoint is signed yet")
        return self._note

    def published_here(self, note: bytes) -> bool:
        """Whether it is one of the last notes that this process published, or began with."""
        return note in self._own_notes

    async def standing(self, seen: Checkpoint) -> Standing:
        """What a checkpoint of this log, or of one that it succeeds, says of the tree that is committed.
        Raises as `EarlierRoots.root`."""
        size, keys = self._committed, self.keys
        root = await self._earlier.root(seen.size) if seen.size <= size else b""
        return standing_in(seen, keys, size, lambda _size: root)

    @property
    def fault(self) -> Fault | None:
        """Why the newest entries are not published; None while all is well."""
        return self._over or self._fault

    async def wait_stopped(self) -> Fault:
        """Returns once nothing is published any more until signerd starts anew: it has to end, then."""
        await self._is_over.wait()
        if self._over is None:
            raise Fault("publishing has stopped, and nobody said why")
        return Fault(self._over.detail, code=self._over.code)

    def halt(self, error: Fault) -> None:
        """From the moment it returns, nothing more is signed or published, and nobody gets a receipt: what is
        under way ends before its next step."""
        self._over = self._over or error
        self._failed(error)
        self._wanted.set()  # for the task to end

    def stop(self, error: Fault) -> None:
        """As `halt`, and says so to whoever ends the program."""
        _log.critical("ledger_publishing_stopped", detail=error.detail, exc_info=error.__cause__)
        self.halt(error)
        self._is_over.set()

    def start(self) -> None:
        """Begins publishing; what start-up found committed and not published comes first."""
        self._wanted.set()
        self.tiles.start()
        if self.bucket is not None:
            self.bucket.start()
            if self._size:  # what the last run may not have written
                self.bucket.published(self._head.checkpoint, self._head.note)
        if self._witnesses is not None:
            self._witnesses.start(self.consistency, self._cosigned)
            if self._size:
                self._witnesses.show(self._head.checkpoint, self._head.note)
        self._task = asyncio.get_running_loop().create_task(self._publish_always(), name="ledger-publisher")

    async def close(self) -> None:
        """Publishes what is committed, if the key holder signs and nothing halted it, and ends. Once more
        does nothing."""
        self._closing = True
        self._wanted.set()
        if self._task is not None:  # not cancelled: a swap under way runs in a thread, to its end
            await self._task
            self._task = None
        if self._witnesses is not None:
            await self._witnesses.close()
        self._fail_waiters(Unavailable("the store is closed"))
        if self.bucket is not None:
            await self.bucket.close()
        await self.tiles.close()
        self._earlier.close()
        self._head.close()

    def committed(self, start: int, entries: Sequence[bytes], keys: LogKeys) -> None:
        """Notes entries that are committed now, from index `start`, and wants a checkpoint over them. `keys`
        are those of the log, as of these entries."""
        self.keys = keys
        self._committed = start + len(entries)
        self.recent.add(start, entries)
        self._wanted.set()

    async def wait_published(self, index: int) -> None:
        """Waits until the published tree holds the entry.

        Raises:
            Unavailable: the checkpoint cannot be signed now. The entry is kept and published later.
            Fault: publishing has stopped for good.
        """
        self._demand_going()
        if index < self._size:
            return
        # The tree, not what the event loop was told: a short read may see a commit before the loop does.
        if index >= self._tree.size:
            raise Fault(f"entry {index} is not committed")
        if self._task is None or self._closing:
            raise Unavailable("the store is closed")
        if self._task.done():
            raise Fault("publishing has stopped")
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append((index, future))
        self._awaited()
        self._wanted.set()
        await future

    async def receipt(self, index: int) -> bytes:
        """The receipt of a published entry, against the published checkpoint."""
        size, note = self._size, self.note
        proof = await self.inclusion(index, size)
        self._demand_going()
        return receipt.build(index, proof, note)

    async def inclusion(self, index: int, size: int) -> list[bytes]:
        """The tree's proof; the caller bounds `size` to the published one. Raises Fault: a tile is wrong."""
        if self._tree.at_hand(index, size - 1):
            return self._tree.inclusion(index, size)
        return await asyncio.to_thread(self._tree.inclusion, index, size)

    async def consistency(self, old: int, new: int) -> list[bytes]:
        """The tree's proof; the caller bounds `new` to the published size. Raises as `inclusion`."""
        if self._tree.at_hand(old - 1, new - 1):
            return self._tree.consistency(old, new)
        return await asyncio.to_thread(self._tree.consistency, old, new)

    async def as_logged(self, start: int, end: int, entries: Sequence[bytes]) -> list[bytes]:
        """The entries start…end that the database has, if they are those of the tree.

        Raises:
            Fault: one is not, or a tile is wrong.
        """
        if len(entries) != end - start:
            raise missing_fault(start, end)
        if len(entries) <= _AT_ONCE and self._tree.at_hand(*range(start, end)):
            wrong = altered(self._tree, start, entries)
        else:
            wrong = await asyncio.to_thread(altered, self._tree, start, entries)
        if wrong is not None:
            raise altered_fault(wrong)
        return list(entries)

    async def _publish_always(self) -> None:
        while self._over is None and (not self._closing or self._wanted.is_set()):
            behind = self._size < self._committed
            try:
                async with asyncio.timeout(_RETRY_S if behind else None):
                    await self._wanted.wait()
            except TimeoutError:
                _log.info("ledger_publishing_again", published=self._size, committed=self._committed)
            self._wanted.clear()
            try:
                await self._publish()
            except Unavailable as error:
                self._failed(error)
            except Fault as error:  # a fork, or a signature that does not hold: never go on
                if self._over is None:
                    self.stop(error)
                return
            except Exception as error:  # noqa: BLE001 - waiters would never hear of a dead task
                fault = Fault(f"signing a checkpoint failed: {type(error).__name__}")
                fault.__cause__ = error
                self.stop(fault)
                return

    def _demand_going(self) -> None:
        if self._over is not None:  # one for each caller: a raised exception keeps its traceback
            raise Fault(self._over.detail)

    async def _publish(self) -> None:
        if self._committed > self._size:
            await self._due()
        self._demand_going()  # here and after each wait: what was told meanwhile counts
        size = self._committed
        if size > self._size:
            keys, last = self.keys, self._head.checkpoint
            # Before it is signed: what is signed twice for one size stays a fork, wherever it was written.
            if self._tree.root(last.size) != last.root:
                raise Fault(f"the log has another root at size {last.size} than was signed: a fork")
            if size == last.size:  # signed, and then not cosigned, or not synced
                checkpoint, note = last, self._head.note
            else:
                checkpoint = Checkpoint(keys.origin_at(size), size, self._tree.root(size))
                note = await self._signed_note(checkpoint, keys)
            # Durable before anyone sees it; see the order of writes above.
            await asyncio.to_thread(self._head.swap, checkpoint, note)
            self._signed = size
            self._demand_going()
            if self._witnesses is not None:
                note = await self._witnesses.shown(checkpoint, note)
                self._demand_going()
            self._size, self._note = size, note
            self._published_note(note)
            self._to_tiles(checkpoint, note)
        self._fault = None
        self._release_waiters()

    async def _signed_note(self, checkpoint: Checkpoint, keys: LogKeys) -> bytes:
        body, signed = checkpoint.body(), []
        for key in keys.signers(checkpoint.size):
            signed.append((key.named(checkpoint.origin), await self._signature(key, body)))
            self._demand_going()
        try:
            note = sign_note(body, *signed)
            keys.open(note)
        except NoteError as error:
            raise Fault(f"the key holder's signature does not hold: {error}") from error
        return note

    def _cosigned(self, checkpoint: Checkpoint, line: bytes) -> None:
        """A cosignature came after its checkpoint was published: who asks from now on, or reads the tiles,
        gets it too."""
        if checkpoint.size == self._size and not has_line_of(self._note, line):
            self._note += line
            self._published_note(self._note)
            self._to_tiles(checkpoint, self._note)

    def _to_tiles(self, checkpoint: Checkpoint, note: bytes) -> None:
        self.tiles.published(checkpoint, note)
        if self.bucket is not None:
            self.bucket.published(checkpoint, note)

    def _published_note(self, note: bytes) -> None:
        self._own_notes[note] = None
        if len(self._own_notes) > _OWN_NOTES:
            del self._own_notes[next(iter(self._own_notes))]

    async def _signature(self, key: VerifierKey, body: bytes) -> bytes:
        sign = self._signs.get(key)
        if sign is None:
            raise Unavailable(
                f"the log's key {key.key_id.hex()} is to sign and is not in the settings ([hsm] or"
                " [[checkpoint_keys]]): put it back, or where it is lost, retire it: signerd checkpoint-key"
                f" retire {key.key_id.hex()} --reason lost"
            )
        return await sign(body)

    def _failed(self, error: Fault) -> None:
        if self._fault is None:
            _log.error("ledger_not_published", detail=error.detail, published=self._size)
        self._fault = error
        self._fail_waiters(error)

    def _release_waiters(self) -> None:
        waiters, self._waiters = self._waiters, []
        for index, future in waiters:
            if index >= self._size:
                self._waiters.append((index, future))
            elif not future.done():
                future.set_result(None)

    def _fail_waiters(self, error: Fault) -> None:
        waiters, self._waiters = self._waiters, []
        for _, future in waiters:
            if not future.done():
                again = error.code is Code.UNAVAILABLE
                future.set_exception(Unavailable(error.detail) if again else Fault(error.detail))
