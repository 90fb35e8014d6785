"""Keys of a chain whose private half anyone can find attest nothing, whoever certified them."""

from __future__ import annotations

import tomllib
from datetime import UTC, datetime

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from boards.attesters.certificate_writer import (
    Key,
    basic_constraints,
    common_name,
    issue,
    key_usage,
    make_key,
    spki_of,
    sub_authority,
)
from boards.attesters.x509 import X509Attester, X509Vendor
from harness.weak_keys import roca_key
from signerd.core.evidence import METHODS
from signerd.core.evidence.chain import validate_chain
from signerd.core.evidence.claims import Claims
from signerd.core.evidence.method import EvidenceError, Proved, Request, Trust
from signerd.core.evidence.rules import EvidenceRules
from signerd.core.key_policy import WeakKeyError, check_key
from signerd.core.names import Level

NOW = datetime(2026, 11, 1, tzinfo=UTC)
CHIP = "CHIP-1"


def guessable_key(curve: ec.EllipticCurve) -> ec.EllipticCurvePrivateKey:
    return ec.derive_private_key(7, curve)


def verify(vendor: X509Vendor, attester: X509Attester) -> Proved:
    text = '[evidence]\nmethods = ["x509"]\n' + vendor.product_section()
    request = Request(CHIP, b"a CSR", spki_of(attester.key), Claims({}, {}), b"the transcript", NOW)
    rules = EvidenceRules.model_validate(tomllib.loads(text)["evidence"])
    trust = Trust(personalized=False, locked=False, listed=False, identity=None, rules=rules)
    proved = METHODS["x509"].verify(request, attester.attest(request.transcript, request.csr), trust)
    assert isinstance(proved, Proved)
    return proved


@pytest.mark.parametrize(
    ("good", "weak"),
    [
        pytest.param(lambda: make_key("rsa2048"), roca_key, id="ROCA"),
        pytest.param(lambda: make_key("p256"), lambda: guessable_key(ec.SECP256R1()), id="private key 7"),
        pytest.param(lambda: make_key("p521"), lambda: guessable_key(ec.SECP521R1()), id="7 on P-521"),
    ],
)
@pytest.mark.parametrize("born", [True, False])
def test_a_certified_key_that_anyone_can_find_attests_nothing(born: bool, good: object, weak: object) -> None:
    assert callable(good)
    assert callable(weak)
    vendor = X509Vendor(measures=not born, certifies_born_keys=born)
    assert verify(vendor, vendor.attester(CHIP, key=good())).level is Level.KEY
    with pytest.raises(EvidenceError, match=r"key is weak"):
        verify(vendor, vendor.attester(CHIP, key=weak()))


def test_a_ca_key_that_anyone_can_find_certifies_nothing() -> None:
    """A layer of firmware holds one in the chip itself."""
    vendor = X509Vendor()
    leaf_key = make_key("p256")
    for key, holds in ((make_key("rsa2048"), True), (roca_key(), False)):
        ca = sub_authority(vendor.root, "CA 2", key)
        name = common_name(CHIP)
        leaf = issue(
            ca, name, spki_of(leaf_key), (basic_constraints(ca=False), key_usage("digital_signature"))
        )
        roots = EvidenceRules.model_validate(
            tomllib.loads('[evidence]\nmethods = ["x509"]\n' + vendor.product_section())["evidence"]
        ).x509
        assert roots is not None
        if holds:
            validate_chain([leaf, ca.certificate], roots.roots, NOW)
        else:
            with pytest.raises(EvidenceError, match="key is weak"):
                validate_chain([leaf, ca.certificate], roots.roots, NOW)


def test_a_board_with_such_a_key_gets_no_certificate() -> None:
    good: Key = make_key("rsa2048")
    check_key(good.public_key())
    with pytest.raises(WeakKeyError, match="roca"):
        check_key(roca_key().public_key())
