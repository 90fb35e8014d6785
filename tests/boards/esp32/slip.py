"""SLIP (RFC 1055) as the loaders speak it, by whole buffers: no byte costs a Python instruction."""

from __future__ import annotations

END = b"\xc0"
_MAX_FRAME = (
    0x12000  # bytes: more than the longest frame (a 64 KiB block and its header, escapes included twice)
)


def encode(payload: bytes) -> bytes:
    """A frame around `payload`."""
    return END + payload.replace(b"\xdb", b"\xdb\xdd").replace(END, b"\xdb\xdc") + END


class SlipDecoder:
    """Turns what comes on the line into frames; what is between frames, or too long, is dropped."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._size = 0

    def clear(self) -> None:
        """Forgets the frame that has begun."""
        self._parts.clear()
        self._size = 0

    def feed(self, data: bytes) -> list[bytes]:
        """The frames that `data` completes."""
        head, *rest = data.split(END)
        self._append(head)
        frames: list[bytes] = []
        for piece in rest:
            raw = b"".join(self._parts)
            self.clear()
            if raw:
                frames.append(raw.replace(b"\xdb\xdc", END).replace(b"\xdb\xdd", b"\xdb"))
            self._append(piece)
        return frames

    def _append(self, piece: bytes) -> None:
        if piece:
            self._parts.append(piece)
            self._size += len(piece)
            if self._size > _MAX_FRAME:
                self.clear()
