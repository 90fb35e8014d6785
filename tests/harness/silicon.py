"""Chips that a maker has delivered: a vendor, its chips one after the other, and who they say they are.

silicon = Silicon("x509", lambda chip_ids: X509Vendor())
chip_id = silicon.next_chip()
board = PaperBoard(chip_id, attester=silicon.vendor.attester(chip_id, flags=(3,)))
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

from boards.attesters.port import Vendor
from boards.vendors import chip_id_of

DELIVERED = 128  # chips whose identities are imported for each product; the ones after them are strangers

_VENDORS = itertools.count(1)


class Silicon:
    """The chips of one vendor. Ids are never those of another one's chips."""

    def __init__(self, method: str, make: Callable[[list[str]], Vendor]) -> None:
        """`make` gets the ids of the chips that will be delivered."""
        self.method = method
        self._name = f"{method}:{next(_VENDORS)}"
        chip_ids = [self._chip_id(number) for number in range(DELIVERED)]
        self.vendor = make(chip_ids)
        self._delivered: Iterator[str] = iter(chip_ids)
        self._strangers: Iterator[str] = map(self._chip_id, itertools.count(DELIVERED))

    def _chip_id(self, number: int) -> str:
        return chip_id_of(self.method, f"{self._name}:{number}")

    def next_chip(self) -> str:
        """A chip that nobody used before, whose identity is among `identities`."""
        return next(self._delivered)

    def stranger(self) -> str:
        """A chip of the same vendor, as genuine, whose identity nobody imported."""
        return next(self._strangers)

    def identities(self) -> list[dict[str, str]]:
        """Lines of `signerd chips import-identities`; none where the vendor certifies its chips."""
        lines = (self.vendor.attester(self._chip_id(number)).identity() for number in range(DELIVERED))
        return [line for line in lines if line is not None]
