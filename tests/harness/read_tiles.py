"""Reads a log's tiles as a stranger would, with code of its own, and says what is wrong with them."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path


def leaf(data: bytes) -> bytes:
    """RFC 6962 §2.1."""
    return hashlib.sha256(b"\0" + data).digest()


def root_of(hashes: list[bytes]) -> bytes:
    """RFC 6962 §2.1, level by level: a node without a sibling goes up as it is."""
    if not hashes:
        return hashlib.sha256().digest()
    while len(hashes) > 1:
        pairs = [
            hashlib.sha256(b"\1" + left + right).digest()
            for left, right in zip(hashes[::2], hashes[1::2], strict=False)
        ]
        hashes = pairs + hashes[len(pairs) * 2 :]
    return hashes[0]


def published(folder: Path) -> tuple[int, bytes]:
    """Size and root of the checkpoint; its signature is not looked at."""
    _, size, root, *_ = (folder / "checkpoint").read_text().split("\n")
    return int(size), base64.b64decode(root)


def name_of(index: int, width: int) -> str:
    """tlog-tiles, "Tile paths"."""
    digits = f"{index:03d}"
    digits = digits.zfill(-(-len(digits) // 3) * 3)
    groups = [digits[start : start + 3] for start in range(0, len(digits), 3)]
    path = "/".join([*(f"x{group}" for group in groups[:-1]), groups[-1]])
    return path if width == 256 else f"{path}.p/{width}"


def entries_in(folder: Path, size: int) -> list[bytes]:
    """All entries of the published log, from its bundles."""
    found: list[bytes] = []
    for index in range(-(-size // 256)):
        data = (folder / "tile/entries" / name_of(index, min(256, size - index * 256))).read_bytes()
        while data:
            length = int.from_bytes(data[:2], "big")
            assert len(data) >= 2 + length
            found.append(data[2 : 2 + length])
            data = data[2 + length :]
    return found


def checked(folder: Path) -> list[bytes]:
    """The entries, once bundles, hash tiles and checkpoint are known to agree."""
    size, root = published(folder)
    entries = entries_in(folder, size)
    hashes = [leaf(entry) for entry in entries]
    assert (len(hashes), root_of(hashes)) == (size, root)
    level = 0
    while hashes:
        for index in range(-(-len(hashes) // 256)):
            part = hashes[index * 256 : index * 256 + 256]
            path = folder / "tile" / str(level) / name_of(index, len(part))
            assert path.read_bytes() == b"".join(part), path
        full = len(hashes) // 256
        hashes = [root_of(hashes[index * 256 : index * 256 + 256]) for index in range(full)]
        level += 1
    return entries
