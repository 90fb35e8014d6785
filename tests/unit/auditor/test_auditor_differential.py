"""The auditor's evidence methods against signerd's: two programs that share no code come to one result.

Each case is evidence of a simulated chip, right or wrong in one thing. Both must refuse it, or both must find
the same level, the same firmware and the same attestation key. Where the auditor lets pass what signerd does
not, as docs/auditing.md says, it is in `LAXER`.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache
from hashlib import sha256
from typing import Any
from uuid import UUID

import cbor2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import NameOID
from hypothesis import given, settings
from hypothesis import strategies as st

from auditor.core.evidence.appraisal import AppraisalInputs
from auditor.core.evidence.certificate import read_certificate
from auditor.core.evidence.dice import firmware_of
from auditor.core.evidence.recheck import recheck
from auditor.core.product import Measurement, read_product
from auditor.errors import CheckFailed
from boards.attesters import nrf91, psa_token, tpm2
from boards.attesters.certificate_writer import (
    Authority,
    Key,
    KeyType,
    basic_constraints,
    common_name,
    extended_key_usage,
    extension,
    issue,
    key_usage,
    make_key,
    oid,
    pem,
    root_authority,
    subject,
    tlv,
)
from boards.attesters.certificate_writer import spki_of as spki_of_writer
from boards.attesters.nrf91 import Nrf91Vendor
from boards.attesters.port import Attester, Vendor
from boards.attesters.psa_token import PsaVendor
from boards.attesters.tpm2 import Tpm2Attester, Tpm2Vendor
from boards.attesters.x509 import (
    MULTI_TCB_INFO,
    SHA256_OID,
    TCB_INFO,
    X509Attester,
    X509Vendor,
    tcb_info,
)
from harness.paper_certificates import csr, new_key, spki
from harness.paper_log import FIRMWARE, LOCKS, product_with, spki_of
from harness.rsa_keys import constant_rsa_key
from signerd.core.evidence import METHODS
from signerd.core.evidence.certificate import read_certificate as signerd_reads
from signerd.core.evidence.claims import parse_claims
from signerd.core.evidence.dice import measured_firmware
from signerd.core.evidence.method import EvidenceError, IdentityKey, ProvedIfMac, Request, Trust
from signerd.core.evidence.rules import EvidenceRules
from signerd.core.evidence.rules import Measurement as SignerdMeasurement

NOW = datetime.now(UTC)
CHIP = "CHIP-000001"
MODEM = "50363154-3931-44f0-8022-121b6401627d"
KEY = new_key()
CSR = csr(KEY)
while len(CSR) % 3 == 0:  # its base64 would have no padding that could be wrong
    CSR = csr(KEY)
CLAIMS = cbor2.dumps([FIRMWARE, LOCKS], canonical=True)
TRANSCRIPT = cbor2.dumps(
    ["birthmark-evidence-v1", bytes(range(32)), CHIP, sha256(CSR).digest(), FIRMWARE, LOCKS], canonical=True
)


@dataclass(frozen=True)
class Case:
    """A chip that made evidence, and what its product and the company's list say of it."""

    attester: Attester
    product: str
    evidence: bytes
    chip: str = CHIP
    identity: tuple[bytes, bytes] | None = None  # key id, SPKI

    @classmethod
    def of(cls, vendor: Vendor, attester: Attester, chip: str = CHIP, **changes: Any) -> Case:
        """What the vendor and its chip say; `changes`: of members."""
        made: dict[str, Any] = {
            "evidence": attester.attest(TRANSCRIPT, CSR),
            "product": product_with(vendor),
            "identity": _identity(attester),
        }
        return cls(attester, chip=chip, **made | changes)


def _identity(attester: Attester) -> tuple[bytes, bytes] | None:
    line = attester.identity()
    return None if line is None else (bytes.fromhex(line["key_id"]), spki_of(attester, b""))


Result = tuple[str, dict[str, str], bytes] | None


def by_signerd(case: Case) -> Result:
    rules = EvidenceRules.model_validate(tomllib.loads(case.product)["evidence"])
    request = Request(
        chip_id=case.chip,
        csr=CSR,
        spki=spki(KEY),
        claims=parse_claims(CLAIMS),
        transcript=TRANSCRIPT,
        now=NOW,
    )
    identity = None if case.identity is None else IdentityKey(*case.identity)
    trust = Trust(personalized=True, locked=True, listed=True, identity=identity, rules=rules)
    try:
        outcome = METHODS[case.attester.method].verify(request, case.evidence, trust)
    except EvidenceError:
        return None
    proved = outcome.proved if isinstance(outcome, ProvedIfMac) else outcome
    return proved.level.label, dict(proved.measured), proved.attester


def by_the_auditor(case: Case) -> Result:
    inputs = AppraisalInputs(
        chip_id=case.chip,
        product="sensor",
        csr=CSR,
        spki=spki(KEY),
        transcript=TRANSCRIPT,
        attester=b"" if case.identity is None else case.identity[1],
        moment=NOW,
        rules=read_product(case.product.encode()),
    )
    try:
        shown = recheck(case.attester.method, inputs, case.evidence)
    except CheckFailed:
        return None
    if case.identity is not None and shown.key_id not in {b"", case.identity[0]}:
        return None  # as `Identities.has` has it
    return shown.level, dict(shown.measured), shown.attester


def _x509(right: dict[str, Any] | None = None, **wrong: Any) -> Callable[[], Case]:
    def make() -> Case:
        vendor = X509Vendor(**right or {})
        return Case.of(vendor, vendor.attester(CHIP, **wrong))

    return make


def _psa(algorithm: str = "ES256", profile: str = psa_token.RFC_9783, **wrong: Any) -> Callable[[], Case]:
    def make() -> Case:
        vendor = PsaVendor(algorithm=algorithm, profile=profile, secrets={CHIP: bytes(64)})
        return Case.of(vendor, vendor.attester(CHIP, **wrong))

    return make


def _nrf91(context: nrf91.Context = "bytes", **wrong: Any) -> Callable[[], Case]:
    def make() -> Case:
        vendor = Nrf91Vendor()
        attester = vendor.attester(MODEM, context=context, wrong=nrf91.Wrong(**wrong))
        return Case.of(vendor, attester, MODEM)

    return make


def _tpm2(right: dict[str, Any] | None = None, **wrong: Any) -> Callable[[], Case]:
    def make() -> Case:
        vendor = Tpm2Vendor(**right or {})
        return Case.of(vendor, vendor.attester(CHIP, **wrong))

    return make


def _of_another(case: Callable[[], Case], **changes: Any) -> Callable[[], Case]:
    """Evidence as it is, with something else beside it changed."""

    return lambda: replace(case(), **changes)


def _with_rule(case: Callable[[], Case], rule: str) -> Callable[[], Case]:
    """A rule more in the last section of the product file."""
    return lambda: replace(made := case(), product=f"{made.product}{rule}\n")


LEAF = (basic_constraints(ca=False), key_usage("digital_signature"))
CA = (basic_constraints(ca=True), key_usage("key_cert_sign"))


@dataclass(frozen=True)
class Chain:
    """A chain of a leaf, one CA and a root; its members say what is wrong in it. The leaf's key is the CSR's,
    and the vendor promises that its keys are born in their chips."""

    method: str = "x509"
    leaf: Sequence[bytes] = LEAF
    ca: Sequence[bytes] = CA
    root: Sequence[bytes] = CA
    leaf_key: Key = KEY
    ca_key: Key | None = None  # None: one of its own
    root_type: KeyType = "p256"
    more_cas: int = 0  # of the same key, between the CA and the leaf
    more_roots: Sequence[Key] = ()  # pinned as well
    issued: Sequence[tuple[str, Any]] = ()  # what `issue` is told of the leaf besides
    # The CA is pinned, and left out; the product promises that it certifies attestation keys alone.
    promised: bool = False

    def __call__(self) -> Case:
        vendor = X509Vendor(measures=False, certifies_born_keys=self.method == "x509")
        vendor.root = root_authority("A root", make_key(self.root_type), self.root)
        ca = self._below(vendor.root, self.ca_key or make_key("p256"), "A CA")
        cas = [ca.certificate]
        for number in range(self.more_cas):
            ca = self._below(ca, ca.key, f"CA {number}")
            cas.insert(0, ca.certificate)
        name = subject((NameOID.SERIAL_NUMBER, CHIP))
        leaf = issue(ca, name, spki_of_writer(self.leaf_key), self.leaf, **dict(self.issued))
        chain = (leaf, *cas)
        if self.promised:
            vendor.root, chain = ca, chain[:1]
        product = product_with(vendor).replace("x509", self.method)
        if self.promised:
            product = product.replace("[evidence.tpm2]", "[evidence.tpm2]\ncertifies_aks_only = true")
        for number, key in enumerate(self.more_roots):
            more = root_authority(f"Root {number}", key).certificate
            product = product.replace("roots = [", f'roots = ["""{pem(more)}""", ')
        return Case.of(vendor, self._attester(chain), product=product)

    def _below(self, issuer: Authority, key: Key, text: str) -> Authority:
        name = common_name(text)
        return Authority(name, key, issue(issuer, name, spki_of_writer(key), self.ca))

    def _attester(self, chain: tuple[bytes, ...]) -> Attester:
        if self.method == "x509":
            return X509Attester(self.leaf_key, chain)
        assert not isinstance(self.leaf_key, ed25519.Ed25519PrivateKey)
        rsa_key = isinstance(self.leaf_key, rsa.RSAPrivateKey)
        return Tpm2Attester(CHIP, self.leaf_key, chain, "rsassa" if rsa_key else "ecdsa")


OTHER = ec.generate_private_key(ec.SECP256R1())
GUESSABLE = ec.derive_private_key(7, ec.SECP256R1())
EXPONENT_3 = rsa.generate_private_key(3, 2048)
DICE_PURPOSES = {number: f"2.23.133.5.4.100.{number}" for number in (6, 7, 8, 9, 12)}
CLIENT, SERVER, CODE, OCSP = (f"1.3.6.1.5.5.7.3.{number}" for number in (2, 1, 3, 9))
ANY, AK, EK = "2.5.29.37.0", "2.23.133.8.3", "2.23.133.8.1"
AK_LEAF = (*LEAF, extended_key_usage(AK))
UEID = extension("2.23.133.5.4.4", tlv(0x30, tlv(0x04, b"\x01" + bytes(16))))
TCB_INFO_COMP = extension("2.23.133.5.4.8", b"\x30\x00")
OTHERS_ONLY = x509.NameConstraints(
    [x509.DirectoryName(x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Another")]))], None
).public_bytes()
UNKNOWN = "1.3.6.1.4.1.32473.9"
CONSTRAINTS = {
    "names": extension("2.5.29.30", OTHERS_ONLY, critical=True),
    "names, not critical": extension("2.5.29.30", OTHERS_ONLY),
    "policies": extension("2.5.29.36", b"\x30\x03\x80\x01\x00", critical=True),
    "policies, not critical": extension("2.5.29.36", b"\x30\x03\x80\x01\x00"),
    "unknown": extension(UNKNOWN, b"\x05\x00", critical=True),
}
CRITICAL_TCB = extension(TCB_INFO, tcb_info(), critical=True)
CRITICAL_MULTI = extension(MULTI_TCB_INFO, tlv(0x30, tcb_info()), critical=True)
# signerd asks a package's verifier as well, but for paths that it cannot judge: one under Ed25519, for one.
ROOT_TYPES: tuple[KeyType, ...] = ("p256", "ed25519")


def _ca_for(*usages: str, **changes: Any) -> Chain:
    return Chain(ca=(*CA, extended_key_usage(*usages)), **changes)


def _leaf_with(*extensions: bytes, **changes: Any) -> Chain:
    return Chain(leaf=(*LEAF, *extensions), **changes)


def _promised(*leaf: bytes, **changes: Any) -> Chain:
    """An attestation key's certificate as a CA gives it that certifies nothing else."""
    return Chain("tpm2", leaf=leaf or LEAF, leaf_key=OTHER, promised=True, **changes)


# Sent with a CA between: it is the pinned one's, and not the promise's.
def _not_covered() -> Case:
    made = _promised()()
    pinned = made.product.index("-----BEGIN"), made.product.index("-----END CERTIFICATE-----")
    chain = Chain("tpm2", leaf=AK_LEAF, leaf_key=OTHER)()
    begin, end = chain.product.index("-----BEGIN"), chain.product.index("-----END CERTIFICATE-----")
    product = made.product[: pinned[0]] + chain.product[begin:end] + made.product[pinned[1] :]
    return replace(chain, product=product)


def _of_a_tpm(chain: Chain) -> Chain:
    return replace(chain, method="tpm2", leaf=AK_LEAF if chain.leaf == LEAF else chain.leaf)


# What a chain of a vendor that promises born keys reaches with a CSR for the certified key.
BORN: dict[str, tuple[Chain, str]] = {
    "nothing": (Chain(), "key"),
    "no usage": (Chain(leaf=(basic_constraints(ca=False),)), "key"),
    "nothing at all": (Chain(leaf=()), "key"),
    "under Ed25519": (Chain(root_type="ed25519"), "key"),
    "another key": (Chain(leaf_key=OTHER), "chip"),
    "UEID": (_leaf_with(UEID), "key"),
    "TcbInfoComp": (_leaf_with(TCB_INFO_COMP), "chip"),
    "TcbInfo without FWIDs": (_leaf_with(extension(TCB_INFO, b"\x30\x00")), "chip"),
    "TcbInfo": (_leaf_with(CRITICAL_TCB), "chip"),
    "arc alone": (_leaf_with(extension("2.23.133.5.4", b"\x30\x00")), "key"),
    "below UEID": (_leaf_with(extension("2.23.133.5.4.4.1", b"\x30\x00")), "chip"),
    "TcbInfoComp of the CA": (Chain(ca=(*CA, TCB_INFO_COMP)), "chip"),
    "UEID of the CA": (Chain(ca=(*CA, UEID)), "key"),
    "TcbInfo of the root": (Chain(root=(*CA, extension(TCB_INFO, tcb_info()))), "key"),
    "unknown of the root": (Chain(root=(*CA, extension(UNKNOWN, b"\x05\x00"))), "key"),
    "purpose of the root": (Chain(root=(*CA, extended_key_usage(SERVER))), "key"),
    **{
        f"{where} for {name}": (chain(extended_key_usage(usage)), level)
        for where, chain in (("leaf", _leaf_with), ("CA", lambda usage: Chain(ca=(*CA, usage))))
        for name, usage, level in (
            ("clientAuth", CLIENT, "key"),
            ("any", ANY, "key"),
            *((f"DICE {number}", DICE_PURPOSES[number], "key") for number in (6, 8)),
            *((f"DICE {number}", DICE_PURPOSES[number], "chip") for number in (7, 9)),
        )
    },
    "CA for DICE 12": (_ca_for(DICE_PURPOSES[12]), "chip"),
    "CA for servers and clients": (_ca_for(SERVER, CLIENT), "key"),
    "root of the same name": (Chain(more_roots=(make_key("ed25519"),)), "key"),
    "critical FWIDs": (_leaf_with(CRITICAL_MULTI), "chip"),
}
BAD_CHAINS: dict[str, Chain] = {
    **{
        f"chain under {root_type}: {name}": replace(chain, root_type=root_type)
        for root_type in ROOT_TYPES
        for name, chain in {
            **{
                f"leaf for {usage}": _leaf_with(extended_key_usage(usage))
                for usage in (SERVER, CODE, OCSP, AK, DICE_PURPOSES[12])
            },
            **{f"CA for {usage}": _ca_for(usage) for usage in (SERVER, CODE, OCSP, AK, EK)},
            "leaf signs certificates": Chain(leaf=(LEAF[0], key_usage("digital_signature", "key_cert_sign"))),
            "leaf agrees on keys": Chain(leaf=(LEAF[0], key_usage("key_agreement"))),
            **{f"root: {name}": Chain(root=(*CA, each)) for name, each in CONSTRAINTS.items()},
            "root: critical TcbInfo": Chain(root=(*CA, CRITICAL_TCB)),
            "root: critical MultiTcbInfo": Chain(root=(*CA, CRITICAL_MULTI)),
            **{f"CA: {name}": Chain(ca=(*CA, each)) for name, each in CONSTRAINTS.items()},
            **{f"leaf: {name}": _leaf_with(each) for name, each in CONSTRAINTS.items()},
            "leaf: critical TcbInfoComp": _leaf_with(extension("2.23.133.5.4.8", b"\x30\x00", critical=True)),
            "CA is none": Chain(ca=LEAF),
            "CA signs no certificates": Chain(ca=(CA[0], key_usage("crl_sign"))),
            "CA without constraints": Chain(ca=CA[1:]),
            "root is no CA": Chain(root=LEAF),
            "root signs no certificates": Chain(root=(CA[0], key_usage("crl_sign"))),
            "root has no CA below": Chain(root=(basic_constraints(ca=True, path_length=0), CA[1])),
            "leaf is a CA": Chain(leaf=(CA[0], LEAF[1])),
            "leaf and CA of one key": Chain(ca_key=KEY),
            "two CAs of one key": Chain(more_cas=1),
            "CA of another root's key": Chain(ca_key=OTHER, more_roots=(OTHER,)),
            "leaf of another root's key": Chain(more_roots=(KEY,)),
            "another root of secp256k1": Chain(more_roots=(make_key("k256"),)),
            "leaf with e = 3": Chain(leaf_key=EXPONENT_3),
            "CA with e = 3": Chain(ca_key=EXPONENT_3),
            "leaf of secp256k1": Chain(leaf_key=make_key("k256")),
            "CA of secp256k1": Chain(ca_key=make_key("k256")),
            "leaf of RSA 1024": Chain(leaf_key=make_key("rsa1024")),
            "serial of 21 octets": Chain(issued=[("serial", 1 << 160)]),
            "v2": Chain(issued=[("version", 1)]),
            "v1": Chain(leaf=(), issued=[("version", None)]),
            "SHA-224": Chain(issued=[("digest", "sha224")]),
            "neither true nor false": _leaf_with(
                tlv(0x30, oid(UNKNOWN), tlv(0x01, b"\x01"), tlv(0x04, b"\x05\x00"))
            ),
            "an extension twice": _leaf_with(UEID, UEID),
            "too many extensions": _leaf_with(*(extension(f"1.2.3.{each}", b"") for each in range(63))),
        }.items()
    },
    **{
        f"tpm2 chain: {name}": _of_a_tpm(chain)
        for name, chain in {
            **{f"CA for {usage}": _ca_for(usage) for usage in (CLIENT, EK, DICE_PURPOSES[12])},
            "leaf for any": _leaf_with(extended_key_usage(ANY)),
            "leaf for clients": _leaf_with(extended_key_usage(CLIENT)),
            "leaf without a purpose": _leaf_with(UEID),
            "critical TcbInfo": _leaf_with(extended_key_usage(AK), CRITICAL_TCB),
            "CA: critical TcbInfo": Chain(ca=(*CA, CRITICAL_TCB)),
            "root: names": Chain(root=(*CA, CONSTRAINTS["names"])),
            "two CAs of one key": Chain(more_cas=1),
            "RSA 2304": Chain(leaf_key=rsa.generate_private_key(65_537, 2304)),
            "e = 3": Chain(leaf_key=EXPONENT_3),
        }.items()
    },
}
# Found in docs/auditing.md, "What an auditor cannot verify".
for _value in (
    b"\x80\x02\xff\xfe",
    b"\x83\x00",
    b"\x84\x02\x00\x01",
    b"\x8a\x00",
    b"\x87\x02\x01\x01",
    b"\x9f\x00",
    b"\xac\x00",
):
    BAD_CHAINS[f"TcbInfo with {_value.hex()}"] = _leaf_with(extension(TCB_INFO, tlv(0x30, _value)))
BAD_CHAINS["algorithm without an OID"] = Chain(issued=[("algorithm", b"\x30\x00")])
LAXER: dict[str, Callable[[], Case]] = {
    "guessable leaf": Chain(leaf_key=GUESSABLE),
    "guessable CA": Chain(ca_key=GUESSABLE),
    "guessable AK": Chain("tpm2", leaf=AK_LEAF, leaf_key=GUESSABLE),
}
RIGHT: dict[str, Callable[[], Case]] = {
    "x509": _x509(),
    "x509 p384": _x509({"key_type": "p384"}, key_type="p384"),
    "x509 rsa": _x509({"key_type": "rsa2048"}, key_type="rsa2048"),
    "x509 ed25519": _x509({"key_type": "ed25519"}, key_type="ed25519"),
    "x509 p521": _x509(key_type="p521"),
    "x509 CN": _x509({"attribute": "CN"}),
    "x509 unmeasured": _x509({"measures": False}),
    "x509 born": _x509({"measures": False, "certifies_born_keys": True}, key=KEY),
    "x509 born elsewhere": _x509({"measures": False, "certifies_born_keys": True}),
    "x509 own key": _x509({"measures": False}, key=KEY),
    "x509 replaced firmware": _x509(digest=sha256(b"replaced").digest()),
    "x509 without TcbInfo": _x509(digest=None),
    "x509 TcbInfo not critical": _x509(tcb_critical=False),
    "x509 flag 7": _x509(flags=(7,)),
    "x509 flag 4": _x509(flags=(4,)),
    "x509 no usage": _x509(usage=()),
    "x509 critical UEID": _leaf_with(
        extension("2.23.133.5.4.4", tlv(0x30, tlv(0x04, b"\x01" + bytes(16))), critical=True)
    ),
    "psa": _psa(),
    "psa es384": _psa("ES384"),
    "psa es512": _psa("ES512"),
    "psa hmac256": _psa("HMAC256"),
    "psa hmac384": _psa("HMAC384"),
    "psa hmac512": _psa("HMAC512"),
    "psa 2.0.0": _psa(profile=psa_token.PSA_2_0_0),
    "psa iot 1": _psa(profile=psa_token.PSA_IOT_1),
    "psa iot 1 unmeasured": _psa(profile=psa_token.PSA_IOT_1, firmware="unmeasured"),
    "psa replaced": _psa(firmware="replaced"),
    "psa one more": _psa(firmware="one more"),
    "psa without app": _psa(firmware="without app"),
    "psa other signer": _psa(signer=psa_token.OTHER),
    "psa lifecycle 0x30ff": _psa(lifecycle=0x30FF),
    "psa long heads": _psa(claims_style="long"),
    "psa caller that counts": _with_rule(_psa(), "client_ids = [-1, 3001]"),
    "psa caller that does not count": _with_rule(_psa(), "client_ids = [3001]"),
    "psa hmac256 caller that counts": _with_rule(_psa("HMAC256"), "client_ids = [-1, 3001]"),
    "psa hmac256 caller that does not count": _with_rule(_psa("HMAC256"), "client_ids = [3001]"),
    "nrf91": _nrf91(),
    "nrf91 empty": _nrf91("empty"),
    "nrf91 other firmware": _nrf91(firmware=UUID(int=1)),
    "tpm2": _tpm2(),
    "tpm2 imported": _tpm2({"certified": False}),
    "tpm2 rsassa": _tpm2({"key_type": "rsa2048"}),
    "tpm2 rsapss": _tpm2({"key_type": "rsa2048", "scheme": "rsapss"}),
    "tpm2 p384 sha384": _tpm2({"key_type": "p384", "name_hash": "sha384"}),
    **{f"tpm2 {name}": _tpm2(also_set=(name,)) for name in ("stClear", "adminWithPolicy", "noDA")},
    "tpm2 chain": Chain("tpm2", leaf=AK_LEAF, leaf_key=OTHER),
    "tpm2 promised": _promised(),
    "tpm2 promised: as AK": _promised(*AK_LEAF),
    "tpm2 promised: EK's purpose": _promised(*LEAF, extended_key_usage(EK)),  # as Google writes them
    "tpm2 promised: the CA's purpose": _promised(ca=(*CA, extended_key_usage(EK))),
    "tpm2 promised: empty constraints": _promised(LEAF[1]),
    "tpm2 chain: CA for AKs": _ca_for(AK, method="tpm2", leaf=AK_LEAF),
    "tpm2 chain: CA for any": _ca_for(ANY, method="tpm2", leaf=AK_LEAF),
    "tpm2 chain: TcbInfo": Chain("tpm2", leaf=(*AK_LEAF, extension(TCB_INFO, tcb_info()))),
    "tpm2 chain: RSA 3072": Chain("tpm2", leaf=AK_LEAF, leaf_key=constant_rsa_key(3072)),
    **{
        f"x509 chain: {name}": chain
        for name, chain in {
            "times in GeneralizedTime": Chain(issued=[("generalized", True)]),
            "serial 0": Chain(issued=[("serial", 0)]),
            "negative serial": Chain(issued=[("serial", -(1 << 64))]),
            "serial of 20 octets": Chain(issued=[("serial", (1 << 160) - 1)]),
            "critical FALSE": _leaf_with(tlv(0x30, oid(UNKNOWN), tlv(0x01, b"\x00"), tlv(0x04, b"\x05\x00"))),
            "62 more extensions": _leaf_with(*(extension(f"1.2.3.{each}", b"") for each in range(62))),
        }.items()
    },
    **{f"born: {name}": chain for name, (chain, _) in BORN.items()},
}
WRONG: dict[str, Callable[[], Case]] = {
    "x509 another root": _x509(root="another"),
    "x509 expired": _x509(validity="expired"),
    "x509 a CA as leaf": _x509(leaf_ca=True),
    "x509 usage": _x509(usage=("key_agreement",)),
    "x509 too long": _x509(path="too-long"),
    "x509 cut": _x509(path="cut"),
    "x509 reordered": _x509(path="reordered"),
    "x509 self-signed": _x509(path="leaf-is-root"),
    "x509 with root": _x509(path="with-root"),
    "x509 no name": _x509(names=()),
    "x509 two names": _x509(names=(CHIP, CHIP)),
    "x509 other name": _x509(names=("other",)),
    "x509 sha1": _x509(signature_hash="sha1"),
    **{f"x509 flag {bit}": _x509(flags=(bit,)) for bit in range(4)},
    "x509 another chip": _of_another(_x509(), chip="other"),
    **{f"psa {name}": _psa(lifecycle=name) for name in psa_token.LIFECYCLES if name != "secured"},
    "psa implementation": _psa(implementation_id=psa_token.OTHER),
    "psa instance": _psa(instance_id=b"\x01" + bytes(32)),
    "psa instance form": _psa(instance_id=b"\x02" + bytes(32)),
    **{
        f"psa nonce {nonce!r}": _psa(nonce=nonce)
        for nonce in ("truncated", "other", "array", "transcript", bytes(32))
    },
    "psa boot seed": _psa(claims={"boot_seed": b""}),
    "psa certification": _psa(claims={2398: ""}),
    "psa implementation of another type": _psa(claims={"implementation_id": []}),
    "tpm2 qualified name": _tpm2(qualified_name=b"\x00\x0c" + bytes(48)),
    "psa no profile": _psa(claims={"profile": None}),
    "psa other profile": _psa(claims={"profile": "other"}),
    "psa no components": _psa(claims={"components": None}),
    "psa empty components": _psa(claims={"components": []}),
    "psa twice": _psa(twice="nonce"),
    "psa open lengths": _psa(claims_style="indefinite"),
    "psa long envelope": _psa(envelope_style="long"),
    "psa open envelope": _psa(envelope_style="indefinite"),
    "psa other key": _psa(key="other"),
    "psa HMAC with the public key": _psa(key="public", named_algorithm=5),
    "psa no algorithm": _psa(named_algorithm=0),
    "psa es384 named": _psa(named_algorithm=-35),
    "psa critical": _psa(protected={2: [99]}),
    "psa key id": _psa(unprotected={4: b"key"}),
    "psa protected key id": _psa(protected={4: b"key"}),
    "psa content type": _psa(protected={3: "x"}),
    "psa no tag": _psa(tag=0),
    "psa mac0 tag": _psa(tag=17),
    **{f"psa proof {proof}": _psa(proof=proof) for proof in ("empty", "truncated", "der", "zero", "longer")},
    "psa truncated mac": _psa("HMAC256", proof="truncated"),
    "psa detached": _psa(detached=True),
    "psa trailing": _psa(trailing=b"\x00"),
    "psa claims of two profiles": _psa(claims={-75008: bytes(32)}),
    "psa no client": _psa(claims={"client_id": None}),
    **{f"psa client {number}": _psa(claims={"client_id": number}) for number in (0, 2**31, -(2**31) - 1)},
    "psa component of 31 bytes": _psa(claims={"components": [{2: bytes(31), 5: bytes(32)}]}),
    "psa signer of 31 bytes": _psa(claims={"components": [{2: bytes(32), 5: bytes(31)}]}),
    "nrf91 keygen uuid": _nrf91(keygen_uuid=UUID(int=1)),
    "nrf91 token uuid": _nrf91(token_uuid=UUID(int=1)),
    "nrf91 both uuids": _nrf91(keygen_uuid=UUID(int=1), token_uuid=UUID(int=1)),
    "nrf91 public key message": _nrf91(keygen_type=nrf91.PUBLIC_KEY_MESSAGE),
    "nrf91 token type": _nrf91(token_type=nrf91.CSR_MESSAGE),
    "nrf91 nonce": _nrf91(nonce=bytes(16)),
    "nrf91 csr": _nrf91(csr=b"another"),
    "nrf91 keygen key": _nrf91(keygen_key=OTHER),
    "nrf91 token key": _nrf91(token_key=OTHER),
    "nrf91 keygen aad": _nrf91(keygen_context=b"other"),
    "nrf91 token aad": _nrf91(token_context=b"other"),
    "nrf91 swapped": _nrf91(swapped=True),
    **{f"nrf91 {form}": _nrf91(encoding=form) for form in ("padded", "newline")},
    "nrf91 null without aad": _nrf91("empty", detached_null=True),
    "nrf91 body with aad": _nrf91(detached_null=False),
    "tpm2 promised: no key usage": _promised(LEAF[0]),
    "tpm2 promised: deciphers": _promised(LEAF[0], key_usage("key_encipherment")),
    "tpm2 promised: a CA": _promised(*CA),
    "tpm2 promised: unknown critical": _promised(*LEAF, CONSTRAINTS["unknown"]),
    "tpm2 promised: a CA between": _not_covered,
    "tpm2 certificate none": _tpm2(certificate="none"),
    **{
        f"tpm2 {name}": _tpm2(certificate=name)
        for name in ("other root", "expired", "other chip", "no purpose", "any purpose", "without issuer")
    },
    **{f"tpm2 without {name}": _tpm2(cleared=(name,)) for name in tpm2.BORN_HERE},
    **{
        f"tpm2 {name}": _tpm2(also_set=(name,))
        for name in ("restricted", "decrypt", "x509sign", "encryptedDuplication")
    },
    **{f"tpm2 reserved {bit}": _tpm2(reserved=1 << bit) for bit in (0, 3, 20, 31)},
    "tpm2 name": _tpm2(name=b"\x00\x0b" + bytes(32)),
    "tpm2 public": _tpm2(public_key=spki(new_key())),
    "tpm2 extra data": _tpm2(extra_data=bytes(32)),
    "tpm2 extra data cut": _tpm2(extra_data_bytes=31),
    "tpm2 magic": _tpm2(magic=0xFF544346),
    **{f"tpm2 {kind}": _tpm2(kind=kind) for kind in ("quote", "creation", "nv")},
    "tpm2 sha1": _tpm2(hash="sha1"),
    "tpm2 other key": _tpm2(signed_by=OTHER),
    **BAD_CHAINS,
}


@pytest.mark.parametrize("case", RIGHT)
def test_genuine_evidence_is_worth_the_same_to_both(case: str) -> None:
    made = RIGHT[case]()
    found = by_the_auditor(made)
    assert found is not None
    assert found == by_signerd(made)


@pytest.mark.parametrize("case", WRONG)
def test_wrong_evidence_is_refused_by_both(case: str) -> None:
    made = WRONG[case]()
    assert (by_the_auditor(made), by_signerd(made)) == (None, None)


@pytest.mark.parametrize("case", BORN)
def test_what_a_promise_of_born_keys_covers(case: str) -> None:
    chain, level = BORN[case]
    made = chain()
    expected: Result = (level, {}, spki_of_writer(chain.leaf_key))
    assert (by_the_auditor(made), by_signerd(made)) == (expected, expected)


@pytest.mark.parametrize(
    ("case", "level"),
    [
        (f"psa {kind}caller that {what}", level)
        for kind in ("", "hmac256 ")
        for what, level in (("counts", "key"), ("does not count", "chip"))
    ],
)
def test_whose_tokens_count(case: str, level: str) -> None:
    made = RIGHT[case]()
    assert [found and found[0] for found in (by_the_auditor(made), by_signerd(made))] == [level, level]


@pytest.mark.parametrize("case", LAXER)
def test_what_signerd_alone_refuses(case: str) -> None:
    made = LAXER[case]()
    assert by_signerd(made) is None
    assert by_the_auditor(made) is not None


ROOT = root_authority("A root", make_key("p256"))
LEAF_KEY = spki_of_writer(make_key("p256"))
DIGESTS = [sha256(bytes([number])).digest() for number in range(3)]
MEASUREMENTS = [("app", "1.0", DIGESTS[0]), ("app", "1.1", DIGESTS[1]), ("boot", "2.0", DIGESTS[2])]


@st.composite
def _tcb_infos(draw: st.DrawFn) -> bytes:
    return tcb_info(
        draw(st.lists(st.sampled_from([*DIGESTS, bytes(32)]), max_size=2)),
        flags=draw(st.sampled_from([(), (), (), (7,), (31,), (4,), (3,), (0, 31)])),
        algorithm=draw(st.sampled_from([SHA256_OID] * 3 + ["2.16.840.1.101.3.4.2.2", "1.2.3.4"])),
        rest=draw(st.sampled_from([b""] * 4 + [b"\xab\x00", b"\x89\x01\x00", b"\x80\x01\x00"])),
    )


@st.composite
def _layers(draw: st.DrawFn) -> list[bytes]:
    """Extensions of one certificate."""
    match draw(st.sampled_from(["plain"] * 6 + ["none", "one", "many"])):
        case "plain":
            return [extension(TCB_INFO, tcb_info([draw(st.sampled_from(DIGESTS))]))]
        case "none":
            return []
        case "one":
            return [extension(TCB_INFO, draw(_tcb_infos()))]
        case _:
            infos = draw(st.lists(_tcb_infos(), max_size=2))
            return [extension(MULTI_TCB_INFO, tlv(0x30, *infos))]


MORE = [UEID, TCB_INFO_COMP, *(extended_key_usage(usage) for usage in (*DICE_PURPOSES.values(), CLIENT, AK))]


@given(
    st.lists(_layers(), min_size=1, max_size=3),
    st.lists(st.sampled_from(MEASUREMENTS), unique=True),
    st.lists(st.sampled_from([None, None, *MORE]), min_size=3, max_size=3),
)
def test_dice_chains_measure_the_same_to_both(
    layers: list[list[bytes]], accepted: list[tuple[str, str, bytes]], more: list[bytes | None]
) -> None:
    layers = [[*layer, *filter(None, [one])] for layer, one in zip(layers, more, strict=False)]
    path = [issue(ROOT, subject(), LEAF_KEY, extensions) for extensions in layers]
    try:
        ours = firmware_of(
            [read_certificate(each) for each in path], [Measurement(*each, None) for each in accepted]
        )
        by_auditor: object = (ours.spoken_of, dict(ours.accepted))
    except CheckFailed:
        by_auditor = None
    rules = [
        SignerdMeasurement.model_validate({"component": name, "version": version, "digest": digest.hex()})
        for name, version, digest in accepted
    ]
    try:
        theirs = measured_firmware([signerd_reads(each) for each in path], rules)
        found: object = (theirs.present, dict(theirs.versions))
    except EvidenceError:
        found = None
    assert by_auditor == found


@given(st.sampled_from(sorted(RIGHT)), st.integers(0, 4000), st.binary(max_size=3), st.integers(0, 3))
@settings(max_examples=300)
def test_damaged_evidence_is_worth_the_same_to_both(case: str, at: int, put: bytes, taken: int) -> None:
    made = _made(case)
    at %= len(made.evidence)
    damaged = replace(made, evidence=made.evidence[:at] + put + made.evidence[at + taken :])
    assert by_the_auditor(damaged) == by_signerd(damaged)


@cache
def _made(case: str) -> Case:
    return RIGHT[case]()
