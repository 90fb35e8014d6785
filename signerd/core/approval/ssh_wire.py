"""SSH's wire encoding (RFC 4251 §5), strictly read: every length bounded, nothing left over."""

from __future__ import annotations

from signerd.core.approval.errors import ApprovalError

MAX_STRING = 4_096  # bytes: no part of a key or signature that is accepted is longer
_LENGTH_BYTES = 4


class WireReader:
    """Reads one value after the other. `what` names the whole in errors."""

    def __init__(self, data: bytes, what: str) -> None:
        self._data = data
        self._at = 0
        self._what = what

    def take(self, count: int) -> bytes:
        """The next `count` bytes. Raises ApprovalError where fewer are left."""
        if count > len(self._data) - self._at:
            raise ApprovalError(f"{self._what} is cut short")
        taken = self._data[self._at : self._at + count]
        self._at += count
        return taken

    def uint32(self) -> int:
        """An unsigned number of 32 bits."""
        return int.from_bytes(self.take(_LENGTH_BYTES), "big")

    def string(self) -> bytes:
        """Bytes after their length. Raises ApprovalError beyond `MAX_STRING`."""
        size = self.uint32()
        if size > MAX_STRING:
            raise ApprovalError(f"{self._what} has a part of {size} bytes, more than {MAX_STRING}")
        return self.take(size)

    def text(self) -> str:
        """A string of printable ASCII."""
        data = self.string()
        if not all(0x20 <= byte <= 0x7E for byte in data):
            raise ApprovalError(f"{self._what} has a name that is not printable ASCII")
        return data.decode("ascii")

    def positive(self) -> int:
        """An mpint above 0, in its shortest form."""
        data = self.string()
        # RFC 4251 §5: no needless leading zero byte, and the first bit set is a negative number.
        if not data or data[0] & 0x80 or (data[0] == 0 and (len(data) == 1 or not data[1] & 0x80)):
            raise ApprovalError(f"{self._what} has a number that is not above 0 in its shortest form")
        return int.from_bytes(data, "big")

    def end(self) -> None:
        """Raises ApprovalError if anything is left."""
        if self._at != len(self._data):
            raise ApprovalError(f"{self._what} has {len(self._data) - self._at} bytes too many")


def wire_string(data: bytes) -> bytes:
    """Bytes with their length before them."""
    return len(data).to_bytes(_LENGTH_BYTES, "big") + data
