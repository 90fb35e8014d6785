"""CBOR as attesters write it (RFC 8949): any key that COSE and EAT use, and claims that nobody here knows.

Read are well-formed, valid items of definite length alone. No map has a key twice: two readers cannot take
two values out of one token. `shortest` also demands the one preferred form of each head (§4.1), so that
whoever carries the bytes has no second way to write them; for bytes that a signature covers it may be left
out. Memory stays in proportion to the input: nothing is set aside for a length before its bytes are there.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

MAX_DEPTH = 8  # items; the claims of a PSA token lie four deep: map, array, map, value
_SIMPLE = 7  # major type of simple values and floats (§3.1)
_FALSE, _TRUE, _NULL = 20, 21, 22
_ONE_BYTE, _HALF, _SINGLE, _DOUBLE = 24, 25, 26, 27  # additional information (§3)
_FLOATS = {_HALF: ">e", _SINGLE: ">f", _DOUBLE: ">d"}
_SIMPLE_IN_ONE_BYTE_FROM = 32  # lower ones have their own head (§3.3)


class CborItemError(ValueError):
    """The bytes are not one such item."""


@dataclass(frozen=True, slots=True)
class Tagged:
    """A tag and its content; what it means is the caller's business."""

    number: int
    item: Item


@dataclass(frozen=True, slots=True)
class Simple:
    """A simple value other than false, true and null."""

    value: int


Key = int | bytes | str
Item = int | bytes | str | bool | float | list["Item"] | dict[Key, "Item"] | Tagged | Simple | None


def read_item(data: bytes, *, shortest: bool, max_depth: int = MAX_DEPTH) -> Item:
    """Reads the one item that fills `data`.

    Args:
        data: the bytes.
        shortest: each head must be of its shortest form.
        max_depth: how deep an item may lie; 1 is the item itself.

    Raises:
        CborItemError: for any other bytes.
    """
    reader = _Reader(data, shortest)
    item = reader.item(max_depth)
    if reader.position != len(data):
        raise CborItemError("bytes follow the item")
    return item


class _Reader:
    def __init__(self, data: bytes, shortest: bool) -> None:  # noqa: FBT001 (from `read_item` alone)
        self.position = 0
        self._data = data
        self._shortest = shortest

    def item(self, depth: int) -> Item:
        if depth == 0:
            raise CborItemError("nested too deep")
        major, info, argument = self._head()
        item: Item
        match major:
            case 0:
                item = argument
            case 1:
                item = -1 - argument
            case 2:
                item = self._take(argument)
            case 3:
                item = self._text(argument)
            case 4:
                item = [self.item(depth - 1) for _ in range(argument)]
            case 5:
                item = self._map(argument, depth - 1)
            case 6:
                item = Tagged(argument, self.item(depth - 1))
            case _:
                item = self._simple(info, argument)
        return item

    def _head(self) -> tuple[int, int, int]:
        first = self._take(1)[0]
        major, info = first >> 5, first & 0x1F
        if info < _ONE_BYTE:
            return major, info, info
        # 28 to 30 are reserved, 31 is an indefinite length, which RFC 9783 §5.1.1 forbids.
        if info > _DOUBLE:
            raise CborItemError("an indefinite length or a reserved head")
        size = 1 << (info - _ONE_BYTE)
        argument = int.from_bytes(self._take(size), "big")
        # The least argument that needs this size: 24, 2^8, 2^16, 2^32. A float's size is its type.
        least = _ONE_BYTE if size == 1 else 1 << (4 * size)
        if self._shortest and major != _SIMPLE and argument < least:
            raise CborItemError("a head longer than it needs to be")
        return major, info, argument

    def _take(self, size: int) -> bytes:
        end = self.position + size
        if end > len(self._data):
            raise CborItemError("cut short")
        taken = self._data[self.position : end]
        self.position = end
        return taken

    def _text(self, size: int) -> str:
        try:
            return self._take(size).decode()
        except UnicodeDecodeError as error:
            raise CborItemError("text is not UTF-8") from error

    def _map(self, size: int, depth: int) -> dict[Key, Item]:
        items: dict[Key, Item] = {}
        for _ in range(size):
            key = self.item(depth)
            # True and 1.0 would be the key 1 to Python; COSE and EAT use neither.
            if isinstance(key, bool) or not isinstance(key, int | bytes | str):
                raise CborItemError("a map key is no integer, text or byte string")
            if key in items:
                raise CborItemError("a map key appears twice")
            items[key] = self.item(depth)
        return items

    @staticmethod
    def _simple(info: int, argument: int) -> Item:
        if info in _FLOATS:
            number: float = struct.unpack(_FLOATS[info], argument.to_bytes(1 << (info - _ONE_BYTE), "big"))[0]
            return number
        if info == _ONE_BYTE and argument < _SIMPLE_IN_ONE_BYTE_FROM:
            raise CborItemError("a simple value that is not well-formed")
        constants: dict[int, Item] = {_FALSE: False, _TRUE: True, _NULL: None}
        return constants[argument] if argument in constants else Simple(argument)
