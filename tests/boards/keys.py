"""A board's private key: made, used for a CSR and for a stamp, and never handed out."""

from __future__ import annotations

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.x509.oid import NameOID

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey

KEY_TYPES = ("p256", "p384", "rsa2048", "rsa3072", "rsa4096")


def make_key(key_type: str) -> PrivateKey:
    if key_type == "p256":
        return ec.generate_private_key(ec.SECP256R1())
    if key_type == "p384":
        return ec.generate_private_key(ec.SECP384R1())
    return rsa.generate_private_key(65537, int(key_type.removeprefix("rsa")))


def to_storage(key: PrivateKey) -> bytes:
    return key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())


def from_storage(data: bytes) -> PrivateKey:
    key = serialization.load_der_private_key(data, None)
    if not isinstance(key, PrivateKey):
        raise TypeError("not a board's key")
    return key


def public_der(key: PrivateKey) -> bytes:
    """SubjectPublicKeyInfo, DER."""
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _digest_of(key: PrivateKey) -> hashes.SHA256 | hashes.SHA384:
    is_p384 = isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.name == "secp384r1"
    return hashes.SHA384() if is_p384 else hashes.SHA256()


def sign(key: PrivateKey, message: bytes) -> bytes:
    """As docs/formats.md says of the stamp's signature."""
    if isinstance(key, rsa.RSAPrivateKey):
        return key.sign(message, padding.PKCS1v15(), hashes.SHA256())
    return key.sign(message, ec.ECDSA(_digest_of(key)))


def make_csr(key: PrivateKey, chip_id: str, *, null_parameters: bool = False) -> bytes:
    """A PKCS#10 request, DER. `null_parameters`: as Mbed TLS 2.28 writes an ECDSA AlgorithmIdentifier."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, chip_id)])
    csr = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, _digest_of(key))
    if null_parameters and isinstance(key, ec.EllipticCurvePrivateKey):
        return _with_null_parameters(csr)
    return csr.public_bytes(Encoding.DER)


def _with_null_parameters(csr: x509.CertificateSigningRequest) -> bytes:
    last_arc = {"sha256": 2, "sha384": 3}[_digest_of_csr(csr)]
    algorithm = bytes.fromhex("06082a8648ce3d0403") + bytes([last_arc]) + b"\x05\x00"
    signature = _der(0x03, b"\x00" + csr.signature)
    return _der(0x30, csr.tbs_certrequest_bytes + _der(0x30, algorithm) + signature)


def _digest_of_csr(csr: x509.CertificateSigningRequest) -> str:
    algorithm = csr.signature_hash_algorithm
    if algorithm is None:
        raise TypeError("a CSR without a digest")
    return algorithm.name


def _der(tag: int, content: bytes) -> bytes:
    size = len(content)
    if size < 0x80:
        return bytes([tag, size]) + content
    head = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(head)]) + head + content


def is_for_key(certificate_der: bytes, key: PrivateKey) -> bool:
    try:
        certificate = x509.load_der_x509_certificate(certificate_der)
    except ValueError:
        return False
    spki = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return spki == public_der(key)
