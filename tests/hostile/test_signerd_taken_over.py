"""A signerd that was taken over, with the line to its key holder: what it has signed there is a board's leaf,
and nothing that others would take for the CA, or whose key they could break."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.name import _ASN1Type
from cryptography.x509.oid import NameOID

from harness.key_holders import TokenAtHand, make_token, running
from harness.signing_samples import leaf_tbs
from signerd.adapters.keyholder.channel import KeyHolderRefusal

pytestmark = pytest.mark.check

# The sub-CA's name, as RFC 5280 §7.1 and those who are laxer compare names.
SPELLINGS: dict[str, Callable[[str], x509.NameAttribute[str]]] = {
    "as it stands": lambda name: common_name(name, _ASN1Type.UTF8String),
    "PrintableString": lambda name: common_name(name, _ASN1Type.PrintableString),
    "IA5String": lambda name: common_name(name, _ASN1Type.IA5String),
    "upper case": lambda name: common_name(name.upper()),
    "upper case, PrintableString": lambda name: common_name(name.upper(), _ASN1Type.PrintableString),
    "blanks": lambda name: common_name("  " + name.replace(" ", "   ")),
    "an invisible character": lambda name: common_name(name[:3] + "\u2060" + name[3:]),
    "a long s": lambda name: common_name(name.replace("s", "\u017f")),
    "BMPString": lambda name: common_name(name, _ASN1Type.BMPString),
}
KEYS: dict[str, Callable[[], ec.EllipticCurvePublicKey | rsa.RSAPublicKey]] = {
    "RSA of 1024 bits": lambda: odd_modulus(1024),
    "RSA of 2047 bits": lambda: odd_modulus(2047),
    "RSA of 8192 bits": lambda: odd_modulus(8192),
    "RSA with exponent 3": lambda: odd_modulus(2048, exponent=3),
    "P-521": lambda: ec.generate_private_key(ec.SECP521R1()).public_key(),
    "secp256k1": lambda: ec.generate_private_key(ec.SECP256K1()).public_key(),
}


def common_name(text: str, kind: _ASN1Type = _ASN1Type.UTF8String) -> x509.NameAttribute[str]:
    return x509.NameAttribute(NameOID.COMMON_NAME, text, kind)


def odd_modulus(bits: int, *, exponent: int = 65537) -> rsa.RSAPublicKey:
    """Nobody has its factors, which a guard that has the public key alone cannot know."""
    return rsa.RSAPublicNumbers(exponent, (1 << (bits - 1)) | 1).public_key()


@pytest.fixture
def token(tmp_path: Path) -> TokenAtHand:
    return make_token(tmp_path / "dev")


async def test_neither_the_cas_name_nor_a_weak_key_is_signed(token: TokenAtHand) -> None:
    ca = token.sub_ca
    (own,) = ca.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    assert isinstance(own.value, str)
    signed = []
    async with running(token.settings, token.pin) as holder:
        rest = [attribute for attribute in ca.subject if attribute is not own]
        forged = {
            how: leaf_tbs(ca, subject=x509.Name([*rest, spelled(own.value)]))
            for how, spelled in SPELLINGS.items()
        }
        forged |= {how: leaf_tbs(ca, key=key()) for how, key in KEYS.items()}
        for how, tbs in forged.items():
            try:
                await holder.sign_certificate(tbs)
            except KeyHolderRefusal:
                continue
            signed.append(how)
        # A board's, beside them.
        assert await holder.sign_certificate(leaf_tbs(ca, subject=x509.Name([common_name("BM-000001")])))
        assert await holder.sign_certificate(leaf_tbs(ca, key=odd_modulus(3072)))
    assert signed == []
