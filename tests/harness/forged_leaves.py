"""What whoever has signerd's user can put before a key holder's service: orders that people signed or did
not, certificates of their places, and everything that is nearly one.

    forger = Forger(factory)
    order = forger.order("WO-1", quantity=2)
    forger.approve(line, order)
    tbs, leaf = forger.leaf(order, 1)
    line.ask("sign_certificate", tbs, leaf)
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec

from harness.held_factory import HeldFactory, Line
from harness.installation import DEPLOYMENT, SENSOR
from harness.ssh_signing import SshSigner
from signerd.adapters.checks import load_issuer
from signerd.adapters.keyholder.protocol import Operation, Outcome
from signerd.config import load
from signerd.core.approval.administrators import namespace_of
from signerd.core.approval.statement import Statement
from signerd.core.approved_order import ApprovedOrder
from signerd.core.evidence_extension import EvidenceStatement
from signerd.core.key_policy import PublicKey
from signerd.core.leaf import Leaf
from signerd.core.names import Level
from signerd.core.order import Place
from signerd.core.product import parse_product
from signerd.core.profile import build_tbs, terms_of

Members = dict[str, Any]
TIME = "%Y-%m-%dT%H:%M:%SZ"
NAMED = ("ann", "bob")


class Forger:
    """Computes what signerd would, and then changes it."""

    def __init__(self, factory: HeldFactory) -> None:
        config = load(factory.installation.config)
        self.issuer = load_issuer(config)
        self.log = config.ledger.vkey.read_text("utf-8").strip()
        self.signers: dict[str, SshSigner] = factory.signers
        self.key = ec.generate_private_key(ec.SECP256R1()).public_key()

    def order(self, work_order: str, *, quantity: int = 2, **members: object) -> Members:
        """The members of an `order_opened` entry."""
        now = datetime.now(UTC)
        return {
            "work_order": work_order,
            "product": "sensor",
            "product_sha256": hashlib.sha256(SENSOR.encode()).hexdigest(),
            "quantity": quantity,
            "not_before": f"{now - timedelta(days=1):{TIME}}",
            "not_after": f"{now + timedelta(days=30):{TIME}}",
            "level": "chip",
            "serial_pattern": f"{work_order}-{{number:04d}}",
            "serial_start": 1,
            "reissue": "never",
            **members,
        }

    def statement(self, *entries: Members, action: str = "order_opened", **named: Any) -> Statement:
        """What administrators are to sign."""
        asked: dict[str, Any] = {
            "deployment": DEPLOYMENT,
            "log": self.log,
            "action": action,
            "request": secrets.token_bytes(16),
            "expires": datetime.now(UTC).replace(microsecond=0) + timedelta(days=7),
            "entries": entries,
            "inputs": (None,) * len(entries),
        }
        return Statement(**{**asked, **named})

    def sign(self, text: bytes, by: Sequence[str] = NAMED, deployment: str = DEPLOYMENT) -> list[bytes]:
        """Their signatures."""
        return [self.signers[name].sign(text, namespace_of(deployment)) for name in by]

    def show(self, line: Line, statement: Statement, by: Sequence[str] = NAMED) -> tuple[Outcome, Any]:
        """Signed by administrators."""
        text = statement.text()
        return line.ask(Operation.SHOW_APPROVAL, text, *self.sign(text, by))

    def approve(self, line: Line, *orders: Members) -> None:
        """Orders that people signed, and their product."""
        assert self.show(line, self.statement(*orders)) == (Outcome.DONE, True)
        assert line.ask(Operation.SHOW_PRODUCT, SENSOR) == (Outcome.DONE, None)

    def place(self, order: Members, number: int, **named: Any) -> Place:
        """As signerd would take it."""
        approved = ApprovedOrder.of(order)
        place = Place(
            work_order=approved.work_order,
            product=approved.product,
            chip_id=f"chip-{number}",
            number=number,
            serial_number=approved.serial_of(number),
            certificate_serial=(1 << 152) | secrets.randbits(152),
            moment=datetime.now(UTC).replace(microsecond=0),
        )
        return replace(place, **named)

    def leaf(
        self,
        order: Members,
        number: int,
        *,
        key: PublicKey | None = None,
        evidence: EvidenceStatement | None = None,
        toml: str = SENSOR,
        **named: Any,
    ) -> tuple[bytes, Members]:
        """The bytes to be signed and what they are said to be of, both as `named` changes the place."""
        place = self.place(order, number, **named)
        stated = evidence or EvidenceStatement.about(Level.KEY, "hmac-sha256", b"evidence")
        key = key or self.key
        tbs = build_tbs(
            terms_of(parse_product(toml), place, key, self.issuer, stated), place, key, self.issuer
        )
        return tbs, Leaf(place, stated, bytes.fromhex(order["product_sha256"])).wire()
