"""What a work order comes to, from the counts that its entries add up to."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Balance:
    """Boards are distinct chips, as the order's quantity counts them. A board that was certified again has
    several certificates."""

    ordered: int
    boards: int
    certificates: int
    stamped: int  # certificates
    revoked: int  # certificates
    stamped_revoked: int  # certificates that are both
    refused: int  # calls that named the order

    @property
    def good(self) -> int:
        """Certificates that are stamped and count: of a chip there is one at most."""
        return self.stamped - self.stamped_revoked

    @property
    def missing(self) -> int:
        """Certificates that count and are not stamped."""
        return max(0, self.certificates - self.revoked - self.good)

    @property
    def scrapped(self) -> int:
        """Boards none of whose certificates counts: revoked, and not certified again. A ledger knows no other
        scrap."""
        return max(0, self.boards - (self.certificates - self.revoked))

    @property
    def short(self) -> int:
        """Good boards that the order lacks."""
        return max(0, self.ordered - self.good)

    @property
    def over(self) -> int:
        """Boards beyond the order: each is a finding too."""
        return max(0, self.boards - self.ordered)
