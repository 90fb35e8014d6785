"""The bundle's file: a zip of which there is one encoding for given contents (docs/adr/0015).

Entries are stored, not compressed; there is nothing between, before or behind them, no comment, extra field,
data descriptor or second name. Any unzip reads it. `unpack` takes these bytes and no others, so what one
tool shows is what another flashes, and nothing in the file is larger than it looks.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Mapping

from agent.core.bundle import MAX_BUNDLE_BYTES, MAX_IMAGE_BYTES, MAX_IMAGES, BundleError

# APPNOTE.TXT 6.3.10: §4.3.7 local file header, §4.3.12 central directory header, §4.3.16 its end.
_LOCAL = struct.Struct("<4sHHHHHIIIHH")
_CENTRAL = struct.Struct("<4sHHHHHHIIIHHHHHII")
_END = struct.Struct("<4sHHHHIIH")
_LOCAL_MAGIC, _CENTRAL_MAGIC, _END_MAGIC = b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06"
_NEEDED = 20  # version 2.0, as Python's zipfile says: with the values here it writes the same file
_MADE_BY = 0x0314  # Unix, so that the mode below is read
_MODE = 0o100644 << 16
_TIME, _DATE = 0, 0x0021  # 1980-01-01: the same contents give the same file
_NAME = re.compile(rb"manifest\.json|manifest\.sig|images/[a-z0-9-]{1,32}\.bin")
_HAND_MADE = "make it with birthmark-agent bundle build"


def pack(entries: Mapping[str, bytes]) -> bytes:
    """The file with these entries, in their order.

    Raises:
        BundleError: a name or size that no bundle has.
    """
    parts: list[bytes] = []
    directory: list[bytes] = []
    position = 0
    for text, content in entries.items():
        name = text.encode("utf-8", "backslashreplace")
        if _NAME.fullmatch(name) is None:
            raise BundleError(f"no entry of a bundle: {text!r}")
        if len(content) > MAX_IMAGE_BYTES:
            raise BundleError(f"{text} is larger than {MAX_IMAGE_BYTES} bytes")
        shared = (0, 0, _TIME, _DATE, zlib.crc32(content), len(content), len(content), len(name), 0)
        parts += [_LOCAL.pack(_LOCAL_MAGIC, _NEEDED, *shared), name, content]
        directory += [
            _CENTRAL.pack(_CENTRAL_MAGIC, _MADE_BY, _NEEDED, *shared, 0, 0, 0, _MODE, position),
            name,
        ]
        position += _LOCAL.size + len(name) + len(content)
    size = sum(map(len, directory))
    end = _END.pack(_END_MAGIC, 0, 0, len(entries), len(entries), size, position, 0)
    if position + size + len(end) > MAX_BUNDLE_BYTES:
        raise BundleError(f"larger than {MAX_BUNDLE_BYTES} bytes")
    return b"".join((*parts, *directory, end))


def unpack(data: bytes) -> dict[str, bytes]:
    """The entries of a file, in its order.

    Raises:
        BundleError: for any bytes that `pack` does not make.
    """
    if len(data) > MAX_BUNDLE_BYTES:
        raise BundleError(f"larger than {MAX_BUNDLE_BYTES} bytes")
    entries: dict[str, bytes] = {}
    position = 0
    while data[position : position + 4] == _LOCAL_MAGIC:
        if len(entries) == MAX_IMAGES + 2:
            raise BundleError(f"more than {MAX_IMAGES} images")
        name, content, position = _entry(data, position)
        if name in entries:
            raise BundleError(f"{name} stands in it twice")
        entries[name] = content
    if not entries:
        raise BundleError(f"no bundle: it does not begin with a zip entry; {_HAND_MADE}")
    if pack(entries) != data:
        raise BundleError(f"a zip of another form than a bundle's, damaged or cut off; {_HAND_MADE}")
    return entries


def _entry(data: bytes, position: int) -> tuple[str, bytes, int]:
    """Name and content of the entry there, and where the next one begins; all else is compared later."""
    begin = position + _LOCAL.size
    if len(data) < begin:
        raise BundleError("cut off within an entry's header")
    *_, size, _, name_size, _ = _LOCAL.unpack_from(data, position)
    name = data[begin : begin + name_size]
    if _NAME.fullmatch(name) is None:
        raise BundleError(f"an entry that no bundle has: {name[:64]!r}")
    content = data[begin + name_size : begin + name_size + size]
    if len(content) != size:
        raise BundleError(f"cut off within {name.decode('ascii')}")
    return name.decode("ascii"), content, begin + name_size + size
