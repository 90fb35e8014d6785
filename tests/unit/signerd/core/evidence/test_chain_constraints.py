"""What a CA may certify is held against every issuer of a path, also where the package is not asked."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID

from boards.attesters.certificate_writer import (
    Authority,
    KeyType,
    basic_constraints,
    common_name,
    extended_key_usage,
    extension,
    issue,
    key_usage,
    make_key,
    pem,
    root_authority,
    spki_of,
    subject,
)
from signerd.core.evidence import dice
from signerd.core.evidence.certificate import read_certificate
from signerd.core.evidence.chain import validate_chain
from signerd.core.evidence.method import EvidenceError
from signerd.core.evidence.rules import EvidenceRules
from signerd.core.evidence.tpm2 import AK_PURPOSE
from signerd.core.evidence.x509 import ISSUING_PURPOSES, PURPOSES
from signerd.core.product_trust import review_trust
from signerd.errors import Refused

NOW = datetime(2026, 11, 1, tzinfo=UTC)
LEAF_KEY = make_key("p256")
LEAF = (basic_constraints(ca=False), key_usage("digital_signature"))
# A leaf as DICE makes it, with a critical TcbInfo: the package's verifier cannot judge it and is not asked.
DICE_LEAF = (*LEAF, extension(dice.TCB_INFO, b"\x30\x00", critical=True))
CA = (basic_constraints(ca=True), key_usage("key_cert_sign"))

SERVER_AUTH, CODE_SIGNING, CLIENT_AUTH = "1.3.6.1.5.5.7.3.1", "1.3.6.1.5.5.7.3.3", "1.3.6.1.5.5.7.3.2"
ANYTHING = "2.5.29.37.0"
EMBEDDED_CA = "2.23.133.5.4.100.12"  # tcg-dice-kp-eca
EK_CERTIFICATE, AK_CERTIFICATE = "2.23.133.8.1", "2.23.133.8.3"

OTHERS_ONLY = x509.NameConstraints(
    [x509.DirectoryName(x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Another Maker")]))], None
).public_bytes()


def leaf(issuer: Authority, extensions: Sequence[bytes] = LEAF) -> bytes:
    return issue(issuer, subject((NameOID.SERIAL_NUMBER, "CHIP-1")), spki_of(LEAF_KEY), extensions)


def validate(
    certificates: Sequence[bytes],
    root: Authority,
    purposes: frozenset[str] = PURPOSES,
    issuing: frozenset[str] = ISSUING_PURPOSES,
) -> None:
    pinned = [read_certificate(root.certificate)]
    validate_chain(certificates, pinned, NOW, purposes=purposes, issuing=issuing, critical=dice.EXTENSIONS)


@pytest.mark.parametrize("key_type", ["p256", "ed25519"])
@pytest.mark.parametrize("extensions", [LEAF, DICE_LEAF], ids=["plain", "DICE"])
@pytest.mark.parametrize(
    "constraint",
    [
        pytest.param(extension("2.5.29.30", OTHERS_ONLY, critical=True), id="name constraints"),
        pytest.param(extension("2.5.29.30", OTHERS_ONLY), id="name constraints, not critical"),
        pytest.param(extension("2.5.29.36", b"\x30\x03\x80\x01\x00", critical=True), id="policy constraints"),
        pytest.param(extension("1.3.6.1.4.1.32473.9", b"\x05\x00", critical=True), id="unknown critical"),
    ],
)
def test_what_a_root_says_of_what_it_certifies_is_not_passed_over(
    key_type: KeyType, extensions: Sequence[bytes], constraint: bytes
) -> None:
    """Whether the package is asked was the sender's choice: by an extension of its chip's own certificate."""
    free = root_authority("Root", make_key(key_type), CA)
    validate([leaf(free, extensions)], free)
    bound = root_authority("Root", free.key, (*CA, constraint))
    with pytest.raises(EvidenceError):
        validate([leaf(bound, extensions)], bound)


def test_an_extension_of_a_root_that_is_not_critical_and_no_constraint_is_let_pass() -> None:
    root = root_authority("Root", make_key("p256"), (*CA, extension("1.3.6.1.4.1.32473.9", b"\x05\x00")))
    validate([leaf(root)], root)


def below_a_ca_for(
    usages: Sequence[str], *, critical: bool, key_type: KeyType
) -> tuple[list[bytes], Authority]:
    root = root_authority("Root", make_key(key_type), CA)
    key = make_key(key_type)
    name = common_name("CA")
    more = (extended_key_usage(*usages, critical=critical),) if usages else ()
    ca = Authority(name, key, issue(root, name, spki_of(key), (*CA, *more)))
    return [leaf(ca), ca.certificate], root


@pytest.mark.parametrize("key_type", ["p256", "ed25519"])
@pytest.mark.parametrize("critical", [True, False])
@pytest.mark.parametrize(
    ("usages", "holds"),
    [
        ((), True),
        ((CLIENT_AUTH,), True),
        ((EMBEDDED_CA,), True),
        ((ANYTHING,), True),
        ((SERVER_AUTH, CLIENT_AUTH), True),
        ((SERVER_AUTH,), False),
        ((CODE_SIGNING,), False),
        ((EK_CERTIFICATE,), False),
    ],
)
def test_a_ca_for_other_purposes_certifies_no_attestation_key(
    usages: Sequence[str], holds: bool, critical: bool, key_type: KeyType
) -> None:
    """A vendor's CA for web servers, under the same root, certifies keys that no chip ever held."""
    chain, root = below_a_ca_for(usages, critical=critical, key_type=key_type)
    if holds:
        validate(chain, root)
    else:
        with pytest.raises(EvidenceError, match="issuer's extended key usage"):
            validate(chain, root)


def test_a_ca_of_endorsement_keys_certifies_no_attestation_key_of_a_tpm() -> None:
    for usages, holds in (((AK_CERTIFICATE,), True), ((), True), ((EK_CERTIFICATE,), False)):
        chain, root = below_a_ca_for(usages, critical=False, key_type="p256")
        if holds:
            validate(chain, root, frozenset({AK_PURPOSE}), frozenset())
        else:
            with pytest.raises(EvidenceError, match="issuer's extended key usage"):
                validate(chain, root, frozenset({AK_PURPOSE}), frozenset())


def test_a_root_for_other_purposes_is_the_administrators_choice() -> None:
    root = root_authority("Root", make_key("p256"), (*CA, extended_key_usage(SERVER_AUTH)))
    validate([leaf(root)], root)


def test_a_root_under_which_nothing_could_hold_is_refused_when_its_product_is_added() -> None:
    key = make_key("p256")
    for more, holds in (((), True), ((extension("2.5.29.30", OTHERS_ONLY, critical=True),), False)):
        root = root_authority("Root", key, (*CA, *more))
        rules = EvidenceRules.model_validate(
            {"methods": ["x509"], "x509": {"roots": [pem(root.certificate)]}}
        )
        if holds:
            assert review_trust(rules, NOW) == []
        else:
            with pytest.raises(Refused, match="not supported"):
                review_trust(rules, NOW)
