"""What the themes of `SqlStore` are made of."""

from __future__ import annotations

from signerd.adapters.store.log.ledger import Ledger
from signerd.adapters.store.tables.worker import Reads
from signerd.adapters.store.writer import Writer


class Parts:
    """Writer, readers and ledger. Long reads have a reader of their own: no station waits for them."""

    def __init__(self, writer: Writer, reader: Reads, long_reader: Reads, ledger: Ledger) -> None:
        self._writer = writer
        self._reader = reader
        self._long_reader = long_reader
        self._ledger = ledger
