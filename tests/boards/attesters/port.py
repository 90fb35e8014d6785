"""What a simulated board's maker and its root of trust look like, one module of this folder a method.

    vendor = X509Vendor()
    product = vendor.product_section()          # "[evidence.x509]\nroots = [...]": what signerd must trust
    attester = vendor.attester("CHIP-000001")   # goes into the board
    evidence = attester.attest(transcript, csr)

Written from docs/formats.md and the standards, not from signerd's code, so that an error there is not
repeated here. A vendor's keys are made with it and live as long as it does.
"""

from __future__ import annotations

from typing import Any, Protocol

# What vendors measure and declare as accepted, so that it agrees with what the boards claim.
COMPONENT = "app"
VERSION = "1.2.0"


class Attester(Protocol):
    """One chip's root of trust for one method. It signs or MACs what its board hands it."""

    @property
    def method(self) -> str:
        """The method's name in `SignCsr`."""
        ...

    def attest(self, transcript: bytes, csr: bytes) -> bytes:
        """Evidence over a transcript (docs/formats.md, "Evidence transcript").

        Args:
            transcript: as the board built it.
            csr: the CSR that it speaks of, DER, for methods that take the key or the request from it.
        """
        ...

    def identity(self) -> dict[str, str] | None:
        """The chip's line for `signerd chips import-identities`; None where the method needs none."""
        ...


class Vendor(Protocol):
    """A maker of chips for one method: what a company trusts of it, and the chips themselves."""

    def product_section(self) -> str:
        """TOML text of `[evidence.<method>]` for a product file; "" if the method has none."""
        ...

    def attester(self, chip_id: str, *args: Any, **wrong: Any) -> Attester:
        """A new chip's root of trust; the same chip id gives the same keys.

        Args:
            chip_id: as the board says it.
            *args: none; the two together let each vendor have keywords of its own.
            **wrong: what is wrong with this chip, by those keywords: `lifecycle="unknown"`.
        """
        ...
