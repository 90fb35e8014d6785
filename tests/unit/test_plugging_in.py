"""An evidence method is plugged in as docs/architecture.md says, in signerd and in the auditor; and the
tables that name methods cover them all.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from auditor.core import entry as auditors_entry
from auditor.core import product as auditors_product
from auditor.core.books import Basis
from auditor.core.evidence import recheck as auditors_recheck
from auditor.core.evidence.appraisal import AppraisalInputs, AttestationResult
from boards import vendors
from boards.attesters.certificate_writer import make_key, pem, root_authority
from signerd.core import identity_list, strict_cbor
from signerd.core.anchors import Anchor, AnchorKind
from signerd.core.csr import VerifiedCsr
from signerd.core.evidence import METHODS, methods_with
from signerd.core.evidence.certificate import Certificate
from signerd.core.evidence.method import (
    Entered,
    EvidenceError,
    EvidenceSubmission,
    Origin,
    Proved,
    Request,
    Traits,
    Trust,
)
from signerd.core.evidence.rules import EvidenceRules, X509Rules
from signerd.core.evidence.transcript import verify_evidence
from signerd.core.evidence_extension import EvidenceStatement, parse
from signerd.core.explain import evidence as explain_evidence
from signerd.core.explain import methods as explain_methods
from signerd.core.names import KeyType, Level, MacQuestion
from signerd.core.product_trust import describe_trust, review_trust
from signerd.errors import Refused
from signerd.issuance import named_by_certificate

NOW = datetime(2026, 11, 15, tzinfo=UTC)
DOCS = Path(__file__).parents[2] / "docs"
CSR = VerifiedCsr(
    der=b"csr",
    sha256=bytes(32),
    evidence_digest=bytes(32),
    spki=b"spki",
    spki_sha256=bytes(32),
    key=ec.generate_private_key(ec.SECP256R1()).public_key(),
    key_type=KeyType.P256,
)


# A method, in three edits: the class, the line in METHODS, the section in the rules.


class AcmeRules(X509Rules):
    """The section of a method that is not there."""

    mood: Literal["good"] = "good"


class Rules(EvidenceRules):
    """`EvidenceRules` with the field of a new method."""

    acme: AcmeRules | None = None


def _acme_roots(rules: EvidenceRules) -> tuple[Certificate, ...]:
    assert isinstance(rules, Rules)
    return () if rules.acme is None else rules.acme.roots


class Acme:
    """Whoever sends a password is believed."""

    name = "acme"
    traits = Traits(
        origin=lambda _rules: Origin.VENDOR,
        entered=frozenset({Entered.IMPORTED}),
        anchors=frozenset({AnchorKind.KEY}),
        takes_chains=True,
        roots=_acme_roots,
        describe=lambda _rules: "whoever knows the word",
        shortfall="it is the wrong word",
    )

    def verify(self, request: Request, evidence: bytes, trust: Trust) -> Proved:  # noqa: ARG002 (the port)
        if evidence != b"word":
            raise EvidenceError("another word")
        return Proved(Level.CHIP, anchors=(Anchor.of_key(b"acme"),))


@pytest.fixture
def acme(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setitem(METHODS, "acme", Acme())
    return pem(root_authority("Acme Root", make_key("p256")).certificate)


def rules_of(*roots: str, methods: tuple[str, ...] = ("acme",)) -> Rules:
    section = {"acme": {"roots": list(roots)}} if roots else {}
    return Rules.model_validate({"methods": list(methods), **section})


async def no_macs(_question: MacQuestion) -> bool:
    return False


async def test_signerd_takes_its_evidence(acme: str) -> None:
    rules = rules_of(acme)
    trust = Trust(personalized=False, locked=False, listed=False, identity=None, rules=rules)
    claims = strict_cbor.encode([{}, {}])
    verified = await verify_evidence(
        EvidenceSubmission("acme", claims, b"word"),
        methods=METHODS,
        challenge=bytes(32),
        chip_id="chip:1",
        csr=CSR,
        trust=trust,
        now=NOW,
        check_mac=no_macs,
    )
    assert (verified.method, verified.level) == ("acme", Level.CHIP)
    assert verified.anchors == (Anchor.of_key(b"acme"),)
    statement = EvidenceStatement.about(verified.level, verified.method, verified.evidence)
    assert parse(statement.encode()) == statement


def test_its_section_is_demanded_and_its_roots_are_reviewed_and_told(acme: str) -> None:
    with pytest.raises(ValueError, match="needs its section"):
        rules_of()
    with pytest.raises(ValueError, match="not in methods"):
        rules_of(acme, methods=("none",))
    rules = rules_of(acme)
    assert review_trust(rules, NOW) == []
    told = describe_trust(rules)
    assert any("whoever knows the word" in line for line in told)
    assert any("Acme Root" in line for line in told)
    with pytest.raises(Refused, match=r"acme.roots.1: this root is there twice"):
        review_trust(rules_of(acme, acme), NOW)


def test_what_it_rests_on_is_asked_of_it(acme: str) -> None:
    assert named_by_certificate(rules_of(acme))
    assert "acme" in methods_with(Entered.IMPORTED)
    with pytest.raises(Refused, match="nothing in common"):
        review_trust(rules_of(acme, methods=("acme", "hmac-sha256")), NOW)


def test_the_auditor_takes_its_evidence(monkeypatch: pytest.MonkeyPatch) -> None:
    def check(_inputs: AppraisalInputs, evidence: bytes) -> AttestationResult:
        return AttestationResult(Basis.WORD, evidence.decode())

    monkeypatch.setattr(auditors_product, "METHODS", (*auditors_product.METHODS, "acme"))
    monkeypatch.setitem(auditors_recheck._CHECKS, "acme", check)
    rules = auditors_product.read_product(b'name = "sensor"\n[evidence]\nmethods = ["acme"]\n')
    inputs = _inputs(rules)
    assert auditors_recheck.recheck("acme", inputs, b"chip").level == "chip"


def _inputs(rules: auditors_product.ProductRules) -> AppraisalInputs:
    found = object.__new__(AppraisalInputs)
    object.__setattr__(found, "rules", rules)
    return found


# Tables that name methods.


def test_every_table_covers_the_methods() -> None:
    chains = {name for name, method in METHODS.items() if method.traits.takes_chains}
    assert set(identity_list._FORMS) == methods_with(Entered.IMPORTED)
    assert set(explain_methods._JUDGES) == chains
    assert chains | methods_with(Entered.IMPORTED) == set(explain_evidence._READERS)
    assert set(auditors_product.METHODS) == set(METHODS)
    assert set(auditors_recheck._CHECKS) == set(METHODS)
    assert set(auditors_entry.IDENTITY_METHODS) == methods_with(Entered.IMPORTED)
    assert set(vendors.METHODS) == set(METHODS)


def test_each_method_has_a_name_of_its_own_and_says_what_it_is() -> None:
    for name, method in METHODS.items():
        assert method.name == name
        assert method.traits.shortfall
        # What rests on nothing proves nothing, and what proves nothing is the station's word.
        assert bool(method.traits.anchors) == (name != "none")


@pytest.mark.parametrize("page", ["evidence.md", "formats.md", "threat-model.md"])
def test_each_page_about_methods_names_them_all(page: str) -> None:
    text = (DOCS / page).read_text(encoding="utf-8")
    assert [name for name in METHODS if f"`{name}`" not in text] == []
