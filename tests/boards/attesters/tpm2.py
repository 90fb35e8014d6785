"""Method `tpm2`: TPMs on paper, which certify the key of a CSR as TPM2_Certify does (docs/formats.md).

Structures are those of the TPM 2.0 Library, revision 1.59, Part 2; the names in `Wrong` are the standard's.
`tests/integration/signerd/test_tpm2_evidence.py` has the same from a TPM that runs.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import cbor2
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

from boards import keys
from boards.attesters import csr_attestation

GENERATED = 0xFF544347  # section 6.2
KINDS = {"certify": 0x8017, "quote": 0x8018, "creation": 0x801A, "nv": 0x8014}  # section 6.9
ALGORITHMS = {  # section 6.3
    "rsa": 0x0001,
    "sha1": 0x0004,
    "sha256": 0x000B,
    "sha384": 0x000C,
    "sha512": 0x000D,
    "null": 0x0010,
    "rsassa": 0x0014,
    "rsapss": 0x0016,
    "ecdsa": 0x0018,
    "ecc": 0x0023,
}
CURVES = {"secp256r1": 0x0003, "secp384r1": 0x0004}  # section 6.4
ATTRIBUTES = {  # section 8.3.2
    "fixedTPM": 1 << 1,
    "stClear": 1 << 2,
    "fixedParent": 1 << 4,
    "sensitiveDataOrigin": 1 << 5,
    "userWithAuth": 1 << 6,
    "adminWithPolicy": 1 << 7,
    "noDA": 1 << 10,
    "encryptedDuplication": 1 << 11,
    "restricted": 1 << 16,
    "decrypt": 1 << 17,
    "sign": 1 << 18,
    "x509sign": 1 << 19,
}
BORN_HERE = ("fixedTPM", "fixedParent", "sensitiveDataOrigin", "userWithAuth", "sign")
ENDORSEMENT = bytes.fromhex("4000000b")  # section 7.4: the handle that is the endorsement hierarchy's name
AK_PURPOSE = ObjectIdentifier("2.23.133.8.3")  # tcg-kp-AIKCertificate
SIGNATURE_HASHES: Mapping[str, hashes.HashAlgorithm] = {
    "sha1": hashes.SHA1(),  # what the standard has and signerd refuses
    "sha256": hashes.SHA256(),
    "sha384": hashes.SHA384(),
    "sha512": hashes.SHA512(),
}

PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey
HashName = Literal["sha1", "sha256", "sha384", "sha512"]
Certificate = Literal[
    "own", "none", "other root", "expired", "other chip", "no purpose", "any purpose", "without issuer"
]


@dataclass(frozen=True, slots=True)
class Wrong:
    """What is wrong with a TPM's evidence; as it stands, nothing is."""

    cleared: tuple[str, ...] = ()  # attributes that the certified key does not have
    also_set: tuple[str, ...] = ()  # and those that it has as well: restricted, decrypt
    reserved: int = 0  # bits of TPMA_OBJECT that are none
    public_key: bytes | None = None  # SubjectPublicKeyInfo of the public area; None: the CSR's
    name: bytes | None = None  # the certified one
    qualified_name: bytes | None = None
    extra_data: bytes | None = None
    extra_data_bytes: int | None = None  # how much of it is left
    magic: int = GENERATED
    kind: str = "certify"  # or of another command, with the same body
    hash: HashName | None = None  # of the signature; None: what the key needs
    certificate: Certificate = "own"
    signed_by: keys.PrivateKey | None = None  # another attestation key's signature


def u16(value: int) -> bytes:
    return value.to_bytes(2, "big")


def u32(value: int) -> bytes:
    return value.to_bytes(4, "big")


def sized(content: bytes) -> bytes:
    """A TPM2B."""
    return u16(len(content)) + content


def public_area(
    spki: bytes, attributes: int, *, scheme: bytes = u16(ALGORITHMS["null"]), name_hash: HashName = "sha256"
) -> bytes:
    """TPMT_PUBLIC (section 12.2.4) of a key without a policy."""
    key = load_der_public_key(spki)
    if isinstance(key, rsa.RSAPublicKey):
        kind = "rsa"
        modulus = key.public_numbers().n.to_bytes(key.key_size // 8, "big")
        details = u16(key.key_size) + u32(0) + sized(modulus)
    elif isinstance(key, ec.EllipticCurvePublicKey):
        kind = "ecc"
        numbers, size = key.public_numbers(), key.key_size // 8
        point = sized(numbers.x.to_bytes(size, "big")) + sized(numbers.y.to_bytes(size, "big"))
        details = u16(CURVES[key.curve.name]) + u16(ALGORITHMS["null"]) + point
    else:
        raise TypeError("not a board's key")
    head = u16(ALGORITHMS[kind]) + u16(ALGORITHMS[name_hash]) + u32(attributes) + sized(b"")
    return head + u16(ALGORITHMS["null"]) + scheme + details


def name_of(public: bytes, name_hash: HashName = "sha256") -> bytes:
    """nameAlg and digest, section 10.5.3."""
    return u16(ALGORITHMS[name_hash]) + hashlib.new(name_hash, public).digest()


def qualified(parent: bytes, name: bytes, name_hash: HashName = "sha256") -> bytes:
    """A qualified name: Part 1, "Names"."""
    return u16(ALGORITHMS[name_hash]) + hashlib.new(name_hash, parent + name).digest()


def attributes(cleared: tuple[str, ...] = (), also_set: tuple[str, ...] = ()) -> int:
    chosen = (set(BORN_HERE) - set(cleared)) | set(also_set)
    return sum(ATTRIBUTES[name] for name in chosen)


def sign(key: keys.PrivateKey, message: bytes, used: HashName, scheme: str) -> bytes:
    """TPMT_SIGNATURE, section 11.3.4."""
    algorithm = SIGNATURE_HASHES[used]
    if isinstance(key, rsa.RSAPrivateKey):
        salted = padding.PSS(padding.MGF1(algorithm), algorithm.digest_size)
        how = salted if scheme == "rsapss" else padding.PKCS1v15()
        return u16(ALGORITHMS[scheme]) + u16(ALGORITHMS[used]) + sized(key.sign(message, how, algorithm))
    r, s = decode_dss_signature(key.sign(message, ec.ECDSA(algorithm)))
    size = key.key_size // 8
    parts = sized(r.to_bytes(size, "big")) + sized(s.to_bytes(size, "big"))
    return u16(ALGORITHMS["ecdsa"]) + u16(ALGORITHMS[used]) + parts


def spki_of(csr: bytes) -> bytes:
    """SubjectPublicKeyInfo of a CSR, also of one that the cryptography package does not read."""
    info = csr_attestation.split(csr)[0]
    return csr_attestation.split(info)[2]


@dataclass(frozen=True, slots=True)
class Tpm2Attester:
    """One TPM with its attestation key (AK), restricted, under the endorsement hierarchy."""

    chip_id: str
    key: keys.PrivateKey
    chain: tuple[bytes, ...]  # empty: the AK is imported
    scheme: Literal["ecdsa", "rsassa", "rsapss"]
    name_hash: HashName = "sha256"  # of the AK and of the certified key
    wrong: Wrong = Wrong()

    @property
    def method(self) -> str:
        return "tpm2"

    def attest(self, transcript: bytes, csr: bytes) -> bytes:
        wrong = self.wrong
        chosen = attributes(wrong.cleared, wrong.also_set) | wrong.reserved
        public = public_area(wrong.public_key or spki_of(csr), chosen, name_hash=self.name_hash)
        attest = self.certify(wrong.name or name_of(public, self.name_hash), self._extra_data(transcript))
        used = wrong.hash or self._signature_hash()
        signature = sign(wrong.signed_by or self.key, attest, used, self.scheme)
        return cbor2.dumps([attest, signature, public, list(self.chain)], canonical=True)

    def certify(self, name: bytes, extra_data: bytes) -> bytes:
        """TPMS_ATTEST, section 10.12.12."""
        signer = qualified(ENDORSEMENT, self.ak_name(), self.name_hash)
        clock = secrets.token_bytes(8) + u32(7) + u32(1) + b"\x01"
        firmware = bytes.fromhex("0007000200000001")
        parent = qualified(bytes.fromhex("40000001"), secrets.token_bytes(34), self.name_hash)
        head = u32(self.wrong.magic) + u16(KINDS[self.wrong.kind]) + sized(signer) + sized(extra_data)
        its_qualified = self.wrong.qualified_name or qualified(parent, name, self.name_hash)
        certified = sized(name) + sized(its_qualified)
        return head + clock + firmware + certified

    def ak_public(self) -> bytes:
        """TPMT_PUBLIC of the AK: of a restricted signing key with a scheme of its own."""
        scheme = u16(ALGORITHMS[self.scheme]) + u16(ALGORITHMS[self._signature_hash()])
        chosen = attributes(also_set=("restricted",))
        return public_area(keys.public_der(self.key), chosen, scheme=scheme, name_hash=self.name_hash)

    def ak_name(self) -> bytes:
        """The name of the AK."""
        return name_of(self.ak_public(), self.name_hash)

    def identity(self) -> dict[str, str] | None:
        if self.chain:
            return None
        public = self.key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        return {
            "chip_id": self.chip_id,
            "key_id": self.ak_name().hex(),
            "public_key": public.decode(),
            "tpm_public": self.ak_public().hex(),
        }

    def _extra_data(self, transcript: bytes) -> bytes:
        wrong = self.wrong
        whole = hashlib.sha256(transcript).digest() if wrong.extra_data is None else wrong.extra_data
        return whole if wrong.extra_data_bytes is None else whole[: wrong.extra_data_bytes]

    def _signature_hash(self) -> HashName:
        is_p384 = isinstance(self.key, ec.EllipticCurvePrivateKey) and self.key.key_size == 384
        return "sha384" if is_p384 else "sha256"


class _Ca:
    """A root and one CA below it that certifies attestation keys."""

    def __init__(self) -> None:
        self.root_key, self.key = keys.make_key("p384"), keys.make_key("p256")
        self.root = self._issue("TPM root", self.root_key, "TPM root", self.root_key, path_length=1)
        self.intermediate = self._issue("TPM root", self.root_key, "AK CA", self.key, path_length=0)

    @staticmethod
    def _issue(
        issuer: str, by: keys.PrivateKey, subject: str, key: keys.PrivateKey, *, path_length: int
    ) -> x509.Certificate:
        usage = _key_usage(ca=True)
        builder = _builder(issuer, by, key.public_key(), _name(subject), timedelta(days=3650))
        builder = builder.add_extension(x509.BasicConstraints(True, path_length), True)
        return builder.add_extension(usage, True).sign(by, hashes.SHA256())

    def chain_for(self, chip_id: str, key: PublicKey, kind: Certificate) -> tuple[bytes, ...]:
        """The AK's certificate and its issuer's."""
        subject = x509.Name(
            [
                x509.NameAttribute(NameOID.COMMON_NAME, "attestation key"),
                x509.NameAttribute(
                    NameOID.SERIAL_NUMBER, f"{chip_id}-2" if kind == "other chip" else chip_id
                ),
            ]
        )
        lifetime = timedelta(hours=1) if kind == "expired" else timedelta(days=3650)
        builder = _builder("AK CA", self.key, key, subject, lifetime)
        builder = builder.add_extension(x509.BasicConstraints(False, None), True)
        builder = builder.add_extension(_key_usage(ca=False), True)
        if kind != "no purpose":
            purpose = ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE if kind == "any purpose" else AK_PURPOSE
            builder = builder.add_extension(x509.ExtendedKeyUsage([purpose]), False)
        leaf = builder.sign(self.key, hashes.SHA256())
        path = (leaf,) if kind == "without issuer" else (leaf, self.intermediate)
        return tuple(certificate.public_bytes(Encoding.DER) for certificate in path)


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _key_usage(*, ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not ca,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=ca,
        crl_sign=ca,
        encipher_only=False,
        decipher_only=False,
    )


def _builder(
    issuer: str, by: keys.PrivateKey, key: PublicKey, subject: x509.Name, lifetime: timedelta
) -> x509.CertificateBuilder:
    begin = datetime.now(UTC).replace(microsecond=0) - timedelta(days=2)
    authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(by.public_key())
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(_name(issuer))
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(begin + lifetime)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), False)
        .add_extension(authority, False)
    )


class Tpm2Vendor:
    """TPMs whose AKs are certified under the vendor's root, or, with `certified=False`, imported.

    Wrong TPMs: the members of `Wrong`, by name. `cleared=("sensitiveDataOrigin",)` has a key that was
    imported, `kind="quote"` signs a quote, `certificate="other root"` has another vendor's.
    """

    def __init__(
        self,
        *,
        certified: bool = True,
        key_type: str = "p256",
        scheme: Literal["ecdsa", "rsassa", "rsapss"] | None = None,
        name_hash: HashName = "sha256",
    ) -> None:
        """`key_type` and `scheme` are the attestation keys'."""
        self.certified = certified
        self.key_type = key_type
        default: Literal["rsassa", "ecdsa"] = "rsassa" if key_type.startswith("rsa") else "ecdsa"
        self.scheme: Literal["ecdsa", "rsassa", "rsapss"] = scheme or default
        self.name_hash: HashName = name_hash
        self._ca = _Ca()
        self._other_ca = _Ca()
        self._keys: dict[str, keys.PrivateKey] = {}

    def product_section(self) -> str:
        if not self.certified:
            return "[evidence.tpm2]\nroots = []\n"
        pem = self._ca.root.public_bytes(Encoding.PEM).decode()
        return f'[evidence.tpm2]\nroots = ["""{pem}"""]\nchip_id = "serialNumber"\n'

    def attester(self, chip_id: str, **wrong: Any) -> Tpm2Attester:
        """A TPM; `wrong`: members of `Wrong`."""
        is_wrong = Wrong(**wrong)
        if chip_id not in self._keys:
            self._keys[chip_id] = keys.make_key(self.key_type)
        key = self._keys[chip_id]
        chain: tuple[bytes, ...] = ()
        if self.certified and is_wrong.certificate != "none":
            ca = self._other_ca if is_wrong.certificate == "other root" else self._ca
            chain = ca.chain_for(chip_id, key.public_key(), is_wrong.certificate)
        return Tpm2Attester(chip_id, key, chain, self.scheme, self.name_hash, is_wrong)

    def certify(self, chip_id: str, ak: bytes, kind: Certificate = "own") -> tuple[bytes, ...]:
        """The chain of an attestation key that some other TPM holds.

        Args:
            chip_id: goes into the certificate's subject.
            ak: SubjectPublicKeyInfo, DER.
            kind: what is wrong with it.
        """
        key = load_der_public_key(ak)
        if not isinstance(key, ec.EllipticCurvePublicKey | rsa.RSAPublicKey):
            raise TypeError("not an attestation key")
        ca = self._other_ca if kind == "other root" else self._ca
        return ca.chain_for(chip_id, key, kind)
