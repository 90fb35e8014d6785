"""The bucket beside the folder: it follows the log at its own pace, and nobody waits for it.

What it has is known from its checkpoint alone, which is read before each writing. One that is not this log's,
or contradicts it, is left as it is, with all that lies beside it: nothing is written.

The order of writes is that of `publication.py`, and so is what a crash after each means; an object of S3 has
no temporary name. The bucket is written from the tree and the database, not from the folder: each may be
behind the other, and both are behind the second place. A start reads the bucket's checkpoint, and goes on
from there. Objects beyond it, of a run that ended before its checkpoint, are compared and kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from signerd.adapters.tiles.bucket import TilesBucket
from signerd.adapters.tiles.publication import Counts, Entries, Publication
from signerd.core.checkpoint_keys import LogKeys
from signerd.core.merkle import Tree
from signerd.core.note import Checkpoint, NoteError, parse_checkpoint
from signerd.errors import Fault


class BucketPublication:
    """What the bucket has of the log. Its calls run in a thread, one at a time; `cut` in any."""

    def __init__(
        self, bucket: TilesBucket, tree: Tree, entries: Entries, keys: Callable[[], LogKeys]
    ) -> None:
        """`keys`: of the log, as of now."""
        self._bucket = bucket
        self._tree = tree
        self._entries = entries
        self._keys = keys
        self._copies: Publication | None = None
        self._last: bytes | None = None  # the checkpoint that was written, or found

    @property
    def size(self) -> int:
        """Of the tree whose tiles are there; 0 until that is known."""
        return 0 if self._copies is None else self._copies.size

    def publish(self, checkpoint: Checkpoint, note: bytes, signed: Iterable[int] | None) -> None:
        """As `Publication.publish`.

        Raises:
            BucketTrouble: the bucket does not answer, or has another log.
            Fault: an object differs, the bucket has a checkpoint that contradicts this log, or a tile or
                entry cannot be read.
        """
        there = self._bucket.note()
        if self._copies is None or there != self._last:
            size = size_there(self._bucket, there, checkpoint, self._tree, self._keys())
            self._copies = Publication(self._bucket, self._tree, self._entries, size, releases=False)
            self._last, signed = there, None  # what was signed since then is not known
        if there == note and self._copies.size == checkpoint.size:
            return
        self._copies.publish(checkpoint, note, signed)
        self._last = note

    def cut(self) -> None:
        """Ends what is under way, for good."""
        self._bucket.cut()

    def close(self) -> None:
        """Lets go of the connection."""
        self._bucket.close()


def write_bucket_anew(
    bucket: TilesBucket,
    tree: Tree,
    entries: Entries,
    keys: LogKeys,
    checkpoint: Checkpoint,
    note: bytes,
    *,
    cosigned: bool,
) -> Counts:
    """Holds all objects against the log, and writes those that are missing or differ: `signerd ledger
    publish`. `cosigned`: what is published has to be, and this note is not: the checkpoint stays as it is.
    Raises as `BucketPublication.publish`."""
    size_there(bucket, bucket.note(), checkpoint, tree, keys, mending=True)
    copies = Publication(bucket, tree, entries, 0, anew=True, releases=False)
    if cosigned:
        copies.complete(checkpoint)
    else:
        copies.publish(checkpoint, note)
    copies.mend_partials()
    return copies.counts


def size_there(
    bucket: TilesBucket,
    there: bytes | None,
    checkpoint: Checkpoint,
    tree: Tree,
    keys: LogKeys,
    *,
    mending: bool = False,
) -> int:
    """The size of the tree that the bucket has, by the checkpoint `there`. `mending`: one that nobody signed
    is in the way of nobody, if it is of this log.

    Raises:
        BucketTrouble: it is another log's.
        Fault: it is of this log's key, and contradicts it.
    """
    if there is None:
        return 0
    try:
        said = keys.open(there)
    except NoteError as error:
        if mending and _origin_of(there) in {None, checkpoint.origin}:
            return 0
        raise bucket.other_log(f"its checkpoint is not this log's: {error}") from error
    if said.origin != checkpoint.origin:
        raise bucket.other_log(f"it has the log {said.origin}, and this one is {checkpoint.origin}")
    if said.size > checkpoint.size:
        raise Fault(
            f"{bucket.where} has a signed checkpoint over {said.size} entries, and this log"
            f" {checkpoint.size}: another signerd writes there, or this one went back. See"
            ' docs/operations.md, "The second place is lost"'
        )
    if tree.root(said.size) != said.root:
        raise Fault(
            f"{bucket.where} has a signed checkpoint over {said.size} entries that are not those of this log:"
            ' two histories of one log were signed. See docs/operations.md, "Two histories of one log"'
        )
    return said.size


def _origin_of(note: bytes) -> str | None:
    try:
        return parse_checkpoint(note.partition(b"\n\n")[0] + b"\n").origin
    except NoteError:
        return None
