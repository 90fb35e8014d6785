"""A log's published files, made from the definitions of C2SP tlog-tiles: for readers of tiles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from harness.paper_tree import PaperTree

_WIDTH = 256


def files_of(entries: Sequence[bytes], size: int = -1, tree: PaperTree | None = None) -> dict[str, bytes]:
    """Tiles and bundles of the first `size` entries, all unless told otherwise, by path.

    `tree`: one that has these entries, where it is at hand.
    """
    count = len(entries) if size < 0 else size
    grown = tree or _tree(entries)
    files = {}
    for level in range(8):
        span = _WIDTH**level
        hashes = [grown.range(at * span, (at + 1) * span) for at in range(count // span)]
        for index in range(0, len(hashes), _WIDTH):
            part = hashes[index : index + _WIDTH]
            files[_path(str(level), index // _WIDTH, len(part))] = b"".join(part)
    for index in range(0, count, _WIDTH):
        part = list(entries[index : min(index + _WIDTH, count)])
        bundle = b"".join(len(entry).to_bytes(2) + entry for entry in part)
        files[_path("entries", index // _WIDTH, len(part))] = bundle
    return files


def write_tiles(folder: Path, files: Mapping[str, bytes], checkpoint: bytes) -> None:
    """As a web server has them."""
    for path, data in (*files.items(), ("checkpoint", checkpoint)):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)


def _tree(entries: Sequence[bytes]) -> PaperTree:
    tree = PaperTree()
    for entry in entries:
        tree.append(entry)
    return tree


def _path(level: str, index: int, width: int) -> str:
    """For tests: fewer than a million tiles a level."""
    thousands, rest = divmod(index, 1000)
    name = f"x{thousands:03}/{rest:03}" if thousands else f"{rest:03}"
    return f"tile/{level}/{name}" + ("" if width == _WIDTH else f".p/{width}")
