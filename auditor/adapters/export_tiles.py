"""The verified entries as C2SP tlog-tiles, wherever they are read from: a log that `verify --tiles` takes.

Each bundle is read anew and held against the hash that is kept of it. So the files are the same from signerd
and from published tiles, and are those of the checkpoint. What is in the folder already is not asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from auditor.adapters.export_folder import ExportFolder
from auditor.core.findings import Finding, Rejected
from auditor.core.growth import BUNDLE, bundle_hash, leaf_hashes
from auditor.ports import Progress, State
from auditor.reread import Reader
from birthmark.proof import ProofError
from birthmark.proof.tile import MAX_BUNDLE_BYTES, Tile, bundle_of, parse_bundle


class _Levels:
    """Tiles of hashes, written as they become whole: a tile a level in memory."""

    def __init__(self, folder: ExportFolder) -> None:
        self._folder = folder
        self._open: list[list[bytes]] = []  # a level: hashes of the tile that is not whole
        self._written: list[int] = []  # a level: tiles

    def append(self, level: int, digest: bytes) -> None:
        """The next hash of a level."""
        while len(self._open) <= level:
            self._open.append([])
            self._written.append(0)
        self._open[level].append(digest)
        if len(self._open[level]) == BUNDLE:
            above = bundle_hash(self._open[level])
            self._write(level)
            self.append(level + 1, above)

    def end(self) -> None:
        """Writes the tiles that are not whole."""
        for level, hashes in enumerate(self._open):
            if hashes:
                self._write(level)

    def _write(self, level: int) -> None:
        hashes = self._open[level]
        tile = Tile(level + 1, self._written[level], len(hashes))
        self._folder.put(tile.path, b"".join(hashes))
        self._open[level] = []
        self._written[level] += 1


def export_tiles(
    reader: Reader,
    state: State,
    folder: ExportFolder,
    report: Callable[[Finding], None],
    progress: Progress,
) -> int:
    """Writes bundles and tiles of the entries that are verified; returns how many entries.

    A bundle that is not the one that was verified is reported, and not written; its neighbours are.

    Raises:
        ConfigError: a file cannot be written.
        Unreachable: the log stopped answering. What was written stays, and is not asked for again.
    """
    size, whole, count = reader.growth.size, reader.growth.bundles, 0
    levels = _Levels(folder)
    for number in range(-(-size // BUNDLE)):
        bundle = bundle_of(number, size)
        expected = state.bundle(number) if number < whole else None
        data = folder.read(bundle.path, MAX_BUNDLE_BYTES)
        leaves = None if data is None else _leaves(data, bundle.width)
        if leaves is None or not _holds(leaves, expected, reader.growth.tail):
            leaves = _fetched(reader, number, folder, bundle.path, report)
        if leaves is not None:
            folder.put(Tile(0, number, bundle.width).path, b"".join(leaves))
            count += len(leaves)
        if expected is not None:
            levels.append(0, expected)
        progress("entries", min(size, (number + 1) * BUNDLE), size)
    levels.end()
    return count


def _fetched(
    reader: Reader, number: int, folder: ExportFolder, path: str, report: Callable[[Finding], None]
) -> list[bytes] | None:
    try:
        entries = reader.fetch(number)
    except Rejected as rejected:
        report(rejected.finding)
        folder.remove(path)  # what is there is not the ledger's either
        return None
    folder.put(path, b"".join(len(entry).to_bytes(2) + entry for entry in entries))
    return leaf_hashes(entries)


def _leaves(data: bytes, width: int) -> list[bytes] | None:
    try:
        return leaf_hashes(parse_bundle(data, width))
    except ProofError:
        return None


def _holds(leaves: Sequence[bytes], expected: bytes | None, tail: Sequence[bytes]) -> bool:
    return list(leaves) == list(tail) if expected is None else bundle_hash(leaves) == expected
