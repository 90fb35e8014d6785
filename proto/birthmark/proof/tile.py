"""C2SP tlog-tiles: paths, tiles, bundles of entries, and hashes, proofs and roots computed from them.

A published log is a folder of files: `checkpoint`, `tile/<level>/<index>` with 256 hashes of 32 bytes, and
`tile/entries/<index>` with 256 entries, each after its length in two bytes. The last ones may be partial and
end in `.p/<width>`. `TileTree` computes from them through a function that reads one path:

    def read(path: str) -> bytes | None:      # None: there is no such file
        file = folder / path
        return file.read_bytes() if file.exists() else None

    tree = TileTree(checkpoint.size, read)
    verify_inclusion(index=7, size=checkpoint.size, root=checkpoint.root, leaf=leaf_hash(entry),
                     proof=tree.inclusion_proof(7))

Guarantees nothing of what is read: tiles come from anybody. What is computed proves itself: a root is to be
compared with that of a verified checkpoint, and a proof is to be verified against it. Whatever the files
hold, only ProofError is raised.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from birthmark.proof.errors import ProofError, Reason, malformed
from birthmark.proof.merkle import EMPTY_ROOT, MAX_TREE_SIZE, node_hash
from birthmark.proof.spelling import HASH_SIZE

TILE_WIDTH = 256  # hashes, or entries
MAX_LEVEL = 7  # of a tree of fewer than 2^63 entries
MAX_ENTRY_BYTES = 65_535
MAX_TILE_BYTES = TILE_WIDTH * HASH_SIZE
MAX_BUNDLE_BYTES = TILE_WIDTH * (2 + MAX_ENTRY_BYTES)
CHECKPOINT_PATH = "checkpoint"
_HEIGHT = 8  # levels of the tree in a tile
_KEPT_TILES = 64  # that a TileTree holds in memory, half a megabyte
_PATH = re.compile(
    r"tile/(?P<level>entries|[0-7])/(?P<index>(?:x[0-9]{3}/){0,5}[0-9]{3})(?:\.p/(?P<width>[1-9][0-9]{0,2}))?"
)

Read = Callable[[str], bytes | None]
"""The file of this path; None where there is none."""


@dataclass(frozen=True, slots=True)
class Tile:
    """A tile of hashes. Raises ProofError where there can be none."""

    level: int  # 0: leaf hashes
    index: int
    width: int = TILE_WIDTH

    def __post_init__(self) -> None:
        if not 0 <= self.level <= MAX_LEVEL:
            raise malformed(f"levels of tiles are 0 to {MAX_LEVEL}")
        _check_place(self.index, self.width)

    @property
    def path(self) -> str:
        """Of its file."""
        return f"tile/{self.level}/{_index_path(self.index)}{_partial(self.width)}"

    @property
    def full(self) -> Tile:
        """The one that takes its place once the tree has grown."""
        return Tile(self.level, self.index)


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle of entries. Raises ProofError where there can be none."""

    index: int
    width: int = TILE_WIDTH

    def __post_init__(self) -> None:
        _check_place(self.index, self.width)

    @property
    def path(self) -> str:
        """Of its file."""
        return f"tile/entries/{_index_path(self.index)}{_partial(self.width)}"

    @property
    def full(self) -> Bundle:
        """The one that takes its place once the tree has grown."""
        return Bundle(self.index)


def parse_path(path: str) -> Tile | Bundle:
    """The tile or bundle of a path, in its one spelling. Raises ProofError."""
    match = _PATH.fullmatch(path)
    if match is None:
        raise malformed("not the path of a tile")
    index, width = int(re.sub("[x/]", "", match["index"])), int(match["width"] or TILE_WIDTH)
    named = match["level"]
    found = Bundle(index, width) if named == "entries" else Tile(int(named), index, width)
    if found.path != path:  # zeros before an index, or a width of 256
        raise malformed("the path of a tile in another spelling than its one")
    return found


def tile_of(level: int, index: int, size: int) -> Tile:
    """This tile as a tree of this size has it. Raises ProofError where the tree has none there."""
    return Tile(level, index, _width(size >> (_HEIGHT * level), index))


def bundle_of(index: int, size: int) -> Bundle:
    """This bundle as a tree of this size has it. Raises ProofError where the tree has none there."""
    return Bundle(index, _width(size, index))


def tiles_of(size: int, old_size: int = 0) -> Iterator[Tile]:
    """The tiles of a tree that one of the older size does not have, lowest level first."""
    for level in range(MAX_LEVEL + 1):
        new, old = size >> (_HEIGHT * level), old_size >> (_HEIGHT * level)
        for index in range(old // TILE_WIDTH, -(-new // TILE_WIDTH) if new > old else 0):
            yield tile_of(level, index, size)


def bundles_of(size: int, old_size: int = 0) -> Iterator[Bundle]:
    """The bundles of a tree that one of the older size does not have."""
    for index in range(old_size // TILE_WIDTH, -(-size // TILE_WIDTH) if size > old_size else 0):
        yield bundle_of(index, size)


def parse_tile(data: bytes, width: int) -> list[bytes]:
    """The first `width` hashes of a tile that has as many, or of a full one. Raises ProofError."""
    if len(data) not in {width * HASH_SIZE, MAX_TILE_BYTES}:
        raise malformed(f"a tile of {len(data)} bytes, and not of {width} hashes")
    return [data[at : at + HASH_SIZE] for at in range(0, width * HASH_SIZE, HASH_SIZE)]


def parse_bundle(data: bytes, width: int) -> list[bytes]:
    """The first `width` entries of a bundle that has as many, or of a full one. Raises ProofError."""
    entries: list[bytes] = []
    at = 0
    while at < len(data):
        start = at + 2
        at = start + int.from_bytes(data[at:start])
        if at > len(data) or start > len(data) or len(entries) == TILE_WIDTH:
            raise malformed("a bundle of entries that ends within one, or has more than 256")
        entries.append(data[start:at])
    if len(entries) not in {width, TILE_WIDTH}:
        raise malformed(f"a bundle of {len(entries)} entries, and not of {width}")
    return entries[:width]


class TileTree:
    """A tree of `size` entries whose tiles `read` gives. Of a tile that is gone, the full one is read.

    Every method raises ProofError: MALFORMED for a tile of another form or a question beyond the tree,
    MISSING for a tile that is not there.
    """

    def __init__(self, size: int, read: Read) -> None:
        if not 0 <= size <= MAX_TREE_SIZE:
            raise malformed("a tree has 0 to 2^63-1 entries")
        self.size = size
        self._read = read
        self._kept: dict[Tile, list[bytes]] = {}

    def root(self) -> bytes:
        """RFC 6962 §2.1."""
        return self._range(0, self.size) if self.size else EMPTY_ROOT

    def leaf(self, index: int) -> bytes:
        """The hash of the leaf of this index."""
        self._check(index)
        return self._perfect(0, index)

    def inclusion_proof(self, index: int) -> list[bytes]:
        """RFC 6962 §2.1.1, of the leaf of this index."""
        self._check(index)
        start, end = 0, self.size
        proof: list[bytes] = []
        while end - start > 1:
            middle = start + _split(end - start)
            if index < middle:
                proof.append(self._range(middle, end))
                end = middle
            else:
                proof.append(self._range(start, middle))
                start = middle
        return proof[::-1]

    def consistency_proof(self, old_size: int) -> list[bytes]:
        """RFC 6962 §2.1.2, from the tree of the first `old_size` entries, at least one, to this one."""
        if not 1 <= old_size <= self.size:
            raise malformed("consistency wants 1 <= old size <= new size")
        start, end = 0, self.size
        proof: list[bytes] = []
        while old_size != end:
            middle = start + _split(end - start)
            if old_size <= middle:
                proof.append(self._range(middle, end))
                end = middle
            else:
                proof.append(self._range(start, middle))
                start = middle
        if start:  # else the verifier knows this subtree: it is the old tree
            proof.append(self._range(start, end))
        return proof[::-1]

    def entry(self, index: int) -> bytes:
        """The bytes of the entry of this index."""
        self._check(index)
        return self._bundle(index // TILE_WIDTH)[index % TILE_WIDTH]

    def entries(self, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """Entries start…end-1, all unless told otherwise, a bundle in memory at a time."""
        stop = self.size if end is None else end
        if not 0 <= start <= stop <= self.size:
            raise malformed("entries beyond the tree")
        for index in range(start // TILE_WIDTH, -(-stop // TILE_WIDTH)):
            first = index * TILE_WIDTH
            yield from self._bundle(index)[max(0, start - first) : stop - first]

    def _check(self, index: int) -> None:
        if not 0 <= index < self.size:
            raise malformed("the index lies beyond the tree")

    def _range(self, start: int, end: int) -> bytes:
        """The hash of leaves start…end-1, as RFC 6962 splits them: `start` is a multiple of the split's."""
        width = end - start
        height = width.bit_length() - 1
        if width == 1 << height:
            return self._perfect(height, start >> height)
        middle = start + _split(width)
        return node_hash(self._range(start, middle), self._range(middle, end))

    def _perfect(self, height: int, index: int) -> bytes:
        """The hash of the subtree of 2^height leaves with this index among those of its height."""
        level, within = divmod(height, _HEIGHT)
        first = index << within
        hashes = self._tile(level, first // TILE_WIDTH)[first % TILE_WIDTH :][: 1 << within]
        while len(hashes) > 1:
            hashes = [node_hash(*hashes[at : at + 2]) for at in range(0, len(hashes), 2)]
        return hashes[0]

    def _tile(self, level: int, index: int) -> list[bytes]:
        tile = tile_of(level, index, self.size)
        if tile not in self._kept:
            if len(self._kept) == _KEPT_TILES:
                self._kept.pop(next(iter(self._kept)))
            self._kept[tile] = parse_tile(self._file(tile), tile.width)
        return self._kept[tile]

    def _bundle(self, index: int) -> list[bytes]:
        bundle = bundle_of(index, self.size)
        return parse_bundle(self._file(bundle), bundle.width)

    def _file(self, place: Tile | Bundle) -> bytes:
        data = self._read(place.path)
        if data is None and place.width < TILE_WIDTH:
            data = self._read(place.full.path)
        if data is None:
            raise ProofError(Reason.MISSING, f"{place.path} is missing")
        return data


def _split(width: int) -> int:
    """The largest power of two below `width`, RFC 6962 §2.1."""
    return 1 << (width - 1).bit_length() - 1


def _check_place(index: int, width: int) -> None:
    if not 0 <= index <= MAX_TREE_SIZE // TILE_WIDTH or not 1 <= width <= TILE_WIDTH:
        raise malformed("a tile has 1 to 256 hashes, and an index below 2^55")


def _width(count: int, index: int) -> int:
    """How many of `count` hashes of a level, or entries, the tile of this index has."""
    return min(TILE_WIDTH, count - index * TILE_WIDTH)


def _index_path(index: int) -> str:
    """1234067 is x001/x234/067."""
    digits = str(index)
    digits = digits.zfill(-(-len(digits) // 3) * 3)
    *before, last = (digits[at : at + 3] for at in range(0, len(digits), 3))
    return "".join(f"x{part}/" for part in before) + last


def _partial(width: int) -> str:
    return "" if width == TILE_WIDTH else f".p/{width}"
