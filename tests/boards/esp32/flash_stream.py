"""A flash region on its way to the host: blocks, acknowledgements, and the MD5 at the end."""

from __future__ import annotations

import hashlib


class FlashStream:
    """Sends a window of blocks ahead of what the host has acknowledged."""

    def __init__(self, data: bytes, block: int, in_flight: int) -> None:
        self._data = data
        self._block = block
        self._window = block * in_flight
        self._sent = 0
        self.done = False

    def more(self, received: int) -> list[bytes]:
        """The frames that may go now; after the last block has been acknowledged, the digest."""
        frames: list[bytes] = []
        while self._sent < len(self._data) and self._sent < received + self._window:
            frames.append(self._data[self._sent : self._sent + self._block])
            self._sent += len(frames[-1])
        if received >= len(self._data):
            self.done = True
            frames.append(hashlib.md5(self._data, usedforsecurity=False).digest())
        return frames
