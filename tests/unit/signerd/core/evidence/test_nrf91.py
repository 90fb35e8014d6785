from __future__ import annotations

import base64
import hashlib
import json
import tomllib
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import cbor2
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA384
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from boards import formats, keys
from boards.attesters import nrf91 as modem
from boards.attesters.nrf91 import COMPONENT, FIRMWARE, VERSION, Context, Nrf91Attester, Nrf91Vendor, Wrong
from signerd.core.anchors import Anchor
from signerd.core.csr import check_csr
from signerd.core.evidence import METHODS
from signerd.core.evidence.claims import Claims
from signerd.core.evidence.method import EvidenceError, IdentityKey, Proved, Request, Trust
from signerd.core.evidence.nrf91 import Nrf91, verify_attesttoken, verify_keygen
from signerd.core.evidence.rules import EvidenceRules
from signerd.core.names import KeyType, Level

VECTORS = json.loads((Path(__file__).parents[4] / "vectors" / "nrf91" / "nrf91.json").read_text())
CHIP = "7c4f2a90-1d3e-4b58-9a6c-0f1e2d3c4b5a"
OTHER_CHIP = UUID("00000000-1d3e-4b58-9a6c-0f1e2d3c4b5a")
OTHER_KEY = ec.generate_private_key(ec.SECP256R1())
VENDOR = Nrf91Vendor()
ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
CHALLENGE = bytes([7]) * 32


def rules_of(section: str) -> EvidenceRules:
    text = f'[evidence]\nmethods = ["nrf91"]\n{section}'
    return EvidenceRules.model_validate(tomllib.loads(text)["evidence"])


def spki_of(key: ec.EllipticCurvePublicKey) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def make_csr() -> bytes:
    """One whose base64 has a character of the URL alphabet alone, and bits left over."""
    while True:
        csr = keys.make_csr(keys.make_key("p256"), CHIP, null_parameters=True)
        if len(csr) % 3 and set("-_") & set(modem.text(csr)):
            return csr


CSR = make_csr()


def transcript_of(csr: bytes) -> bytes:
    return formats.transcript(CHALLENGE, CHIP, csr, {}, {})


def request_of(csr: bytes) -> Request:
    return Request(
        chip_id=CHIP,
        csr=csr,
        spki=check_csr(csr, accepted=tuple(KeyType)).spki,
        claims=Claims({}, {}),
        transcript=transcript_of(csr),
        now=datetime(2026, 11, 21, tzinfo=UTC),
    )


def identity_of(attester: Nrf91Attester) -> IdentityKey:
    line = attester.identity()
    assert line["chip_id"] == CHIP
    key = load_pem_public_key(line["public_key"].encode())
    assert isinstance(key, ec.EllipticCurvePublicKey)
    return IdentityKey(bytes.fromhex(line["key_id"]), spki_of(key))


ATTESTER = VENDOR.attester(CHIP)
IDENTITY = identity_of(ATTESTER)
ANCHORS = (Anchor.of_key(IDENTITY.spki), Anchor.imported(IDENTITY.key_id))
REQUEST = request_of(CSR)
TRUST = Trust(
    personalized=False,
    locked=False,
    listed=False,
    identity=IDENTITY,
    rules=rules_of(VENDOR.product_section()),
)


def evidence_of(wrong: Wrong | None = None, context: Context = "bytes") -> bytes:
    return VENDOR.attester(CHIP, context=context, wrong=wrong).attest(REQUEST.transcript, CSR)


def verify(evidence: bytes, request: Request = REQUEST, trust: Trust = TRUST) -> Proved:
    return Nrf91().verify(request, evidence, trust)


GOOD = {context: evidence_of(context=context) for context in ("bytes", "empty")}
KEYGEN, TOKEN = cbor2.loads(GOOD["bytes"])


def texts(keygen: str = KEYGEN, token: str = TOKEN) -> bytes:
    return cbor2.dumps([keygen, token])


def decoded(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


# The vectors: a real modem.

DEVICE_KEY = spki_of(
    ec.EllipticCurvePublicKey.from_encoded_point(
        ec.SECP256R1(), bytes.fromhex(VECTORS["identity_public_key_p256_uncompressed_hex"])
    )
)
REAL_KEYGEN: str = VECTORS["accept"]["keygen_csr"]
REAL_TOKEN: str = VECTORS["accept"]["attesttoken"]


def test_a_real_modems_answers_are_accepted() -> None:
    uuid = UUID(VECTORS["device_uuid"]).bytes
    keygen = verify_keygen(REAL_KEYGEN, DEVICE_KEY)
    assert keygen.uuid == uuid
    token = verify_attesttoken(REAL_TOKEN, DEVICE_KEY)
    assert token.uuid == uuid
    assert UUID(bytes=token.firmware) == UUID("1aff3acb-f1a6-4764-a263-4c2646c1c654")
    assert token.nonce.hex() == "d3efdd7f04f1fc60e5858b2087343d6a"


def test_a_real_modems_csr_passes_and_is_digested_as_it_was_sent() -> None:
    keygen = verify_keygen(REAL_KEYGEN, DEVICE_KEY)
    assert bytes.fromhex("06082a8648ce3d0403020500") in keygen.csr  # ecdsa-with-SHA256 and NULL
    csr = check_csr(keygen.csr, accepted=tuple(KeyType))
    assert csr.evidence_digest == hashlib.sha256(decoded(REAL_KEYGEN.partition(".")[0])).digest()


def test_a_csr_that_was_encoded_again_is_refused() -> None:
    with pytest.raises(EvidenceError, match="digest"):
        verify_keygen(VECTORS["reject"]["keygen_csr_normalized"]["value"], DEVICE_KEY)


def test_the_vectors_hold_under_their_own_key_alone() -> None:
    with pytest.raises(EvidenceError, match="verify"):
        verify_keygen(REAL_KEYGEN, spki_of(OTHER_KEY.public_key()))
    with pytest.raises(EvidenceError, match="verify"):
        verify_attesttoken(REAL_TOKEN, spki_of(OTHER_KEY.public_key()))


def characters_changed(text: str) -> list[str]:
    """Each position: the character with its last bit and its first bit changed, a dot, padding, nothing."""
    changed = []
    for position, character in enumerate(text):
        at = ALPHABET.find(character)
        others = {".", "=", "", " "} - {character}
        if at >= 0:
            others |= {ALPHABET[at ^ 1], ALPHABET[at ^ 32]}
        changed += [text[:position] + other + text[position + 1 :] for other in sorted(others)]
    return changed


def bits_changed(text: str) -> list[str]:
    """Each bit of the bytes that the two parts encode, encoded again."""
    parts = [decoded(part) for part in text.split(".")]
    changed = []
    for index, part in enumerate(parts):
        for bit in range(8 * len(part)):
            other = bytearray(part)
            other[bit // 8] ^= 1 << bit % 8
            both = [*parts[:index], bytes(other), *parts[index + 1 :]]
            changed.append(".".join(modem.text(one) for one in both))
    return changed


@pytest.mark.parametrize("change", [characters_changed, bits_changed])
def test_every_change_of_a_real_modems_answers_is_refused(change: object) -> None:
    assert callable(change)
    for text in change(REAL_KEYGEN):
        with pytest.raises(EvidenceError):
            verify_keygen(text, DEVICE_KEY)
    for text in change(REAL_TOKEN):
        with pytest.raises(EvidenceError):
            verify_attesttoken(text, DEVICE_KEY)


# Simulated modems, the whole method.


@pytest.mark.parametrize("context", ["bytes", "empty"])
def test_both_signature_contexts_reach_key(context: Context) -> None:
    proved = verify(GOOD[context])
    assert proved == Proved(Level.KEY, {COMPONENT: VERSION}, IDENTITY.spki, ANCHORS)


def test_the_method_counts() -> None:
    assert isinstance(METHODS["nrf91"], Nrf91)


def test_firmware_that_the_product_does_not_name_reaches_chip() -> None:
    evidence = evidence_of(Wrong(firmware=UUID(int=1)))
    assert verify(evidence) == Proved(Level.CHIP, {}, IDENTITY.spki, ANCHORS)


def test_without_named_firmware_any_reaches_key_and_none_is_measured() -> None:
    trust = replace(TRUST, rules=rules_of(""))
    assert verify(evidence_of(Wrong(firmware=UUID(int=1))), trust=trust) == Proved(
        Level.KEY, {}, IDENTITY.spki, ANCHORS
    )


def test_firmware_that_stands_for_two_versions_is_no_rule() -> None:
    entry = f'{{ component = "{COMPONENT}", version = "%s", digest = "{FIRMWARE.hex}" }}'
    twice = rules_of(f"[evidence.nrf91]\nmeasurements = [{entry % VERSION}, {entry % VERSION}]")
    assert verify(GOOD["bytes"], trust=replace(TRUST, rules=twice)).level is Level.KEY
    with pytest.raises(ValidationError, match="two components or versions"):
        rules_of(f"[evidence.nrf91]\nmeasurements = [{entry % VERSION}, {entry % '9.9.9'}]")
    with pytest.raises(ValidationError, match="16 bytes"):
        rules_of(f"[evidence.nrf91]\nmeasurements = [{(entry % VERSION).replace(FIRMWARE.hex, '00' * 32)}]")


NONCE = hashlib.sha256(REQUEST.transcript).digest()


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        (Wrong(keygen_uuid=OTHER_CHIP), "UUID"),
        (Wrong(token_uuid=OTHER_CHIP), "UUID"),
        (Wrong(keygen_uuid=OTHER_CHIP, token_uuid=OTHER_CHIP), "UUID"),
        (Wrong(keygen_type=8), "bare public key"),
        (Wrong(keygen_type=1), "not the message of a CSR"),
        (Wrong(token_type=9), "not a device identity message"),
        (Wrong(token_type=2), "not a device identity message"),
        (Wrong(nonce=NONCE[16:]), "not of this transcript"),
        (Wrong(nonce=NONCE[:15]), "size"),
        (Wrong(nonce=NONCE[:17]), "size"),
        (Wrong(nonce=b""), "size"),
        (Wrong(csr=make_csr()), "digest"),
        (Wrong(keygen_key=OTHER_KEY), "does not verify"),
        (Wrong(token_key=OTHER_KEY), "does not verify"),
        (Wrong(keygen_key=OTHER_KEY, token_key=OTHER_KEY), "does not verify"),
        (Wrong(kid=b"\x23"), "key id"),
        (Wrong(kid=b""), "key id"),
        (Wrong(protected=bytes.fromhex("a1013822")), "size"),  # ES384, with a signature of ES256
        (Wrong(protected=bytes.fromhex("a0")), "nothing else protected"),
        (Wrong(swapped=True), "no payload"),
        (Wrong(encoding="padded"), "padded"),
        (Wrong(encoding="standard"), "base64url"),
        (Wrong(encoding="trailing bits"), "canonical"),
        (Wrong(encoding="newline"), "base64url"),
        (Wrong(keygen_context=KEYGEN.partition(".")[0].encode()), "does not verify"),
        (Wrong(keygen_context=make_csr()), "does not verify"),
        (Wrong(token_context=CSR), "does not verify"),
        (Wrong(token_context=b""), "does not verify"),  # a signature of nothing
        (Wrong(detached_null=False), "does not verify"),
    ],
)
def test_one_thing_wrong_and_it_does_not_hold(wrong: Wrong, reason: str) -> None:
    verify(evidence_of(Wrong()))
    with pytest.raises(EvidenceError, match=reason):
        verify(evidence_of(wrong))


OTHER_CSR = make_csr()


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        (replace(REQUEST, chip_id=str(OTHER_CHIP)), "chip id"),
        (replace(REQUEST, chip_id=CHIP.upper()), "chip id"),
        (replace(REQUEST, chip_id=CHIP.replace("-", "")), "chip id"),
        (replace(REQUEST, csr=OTHER_CSR), "another CSR"),
        (replace(REQUEST, transcript=transcript_of(OTHER_CSR)), "transcript"),
    ],
)
def test_another_request_is_refused(request_: Request, reason: str) -> None:
    verify(GOOD["bytes"])
    with pytest.raises(EvidenceError, match=reason):
        verify(GOOD["bytes"], request=request_)


P384 = spki_of(ec.generate_private_key(ec.SECP384R1()).public_key())


@pytest.mark.parametrize(
    ("identity", "reason"),
    [
        (None, "no identity key"),
        (IdentityKey(OTHER_CHIP.bytes, IDENTITY.spki), "UUID"),
        (IdentityKey(IDENTITY.key_id, spki_of(OTHER_KEY.public_key())), "does not verify"),
        (IdentityKey(IDENTITY.key_id, P384), "curve"),
        (IdentityKey(IDENTITY.key_id, b""), "readable"),
    ],
)
def test_another_identity_is_refused(identity: IdentityKey | None, reason: str) -> None:
    verify(GOOD["bytes"])
    with pytest.raises(EvidenceError, match=reason):
        verify(GOOD["bytes"], trust=replace(TRUST, identity=identity))


def test_evidence_of_two_modems_does_not_combine() -> None:
    other = VENDOR.attester(str(OTHER_CHIP)).attest(REQUEST.transcript, CSR)
    other_keygen, other_token = cbor2.loads(other)
    with pytest.raises(EvidenceError):
        verify(texts(token=other_token))
    with pytest.raises(EvidenceError):
        verify(texts(keygen=other_keygen))


def test_a_message_of_one_kind_is_not_the_other_kind() -> None:
    for context in ("bytes", "empty"):
        keygen, token = cbor2.loads(GOOD[context])
        csr, csr_cose = keygen.split(".")
        body, body_cose = token.split(".")
        with pytest.raises(EvidenceError, match="not detached"):
            verify(texts(keygen, f"{body}.{csr_cose}"))
        with pytest.raises(EvidenceError, match="no payload"):
            verify(texts(f"{csr}.{body_cose}", token))
        payload = cbor2.loads(decoded(csr_cose)).value[2]
        nil = modem.cose(modem.PROTECTED, modem.IDENTITY_KEY, None, cbor2.loads(decoded(csr_cose)).value[3])
        with pytest.raises(EvidenceError, match="does not verify"):
            verify(texts(keygen, f"{body}.{modem.text(nil)}"))
        with pytest.raises(EvidenceError, match="not a device identity message"):
            verify(texts(keygen, f"{modem.text(payload)}.{modem.text(nil)}"))


@pytest.mark.parametrize(
    "evidence",
    [
        b"",
        cbor2.dumps([]),
        cbor2.dumps([KEYGEN]),
        cbor2.dumps([KEYGEN, TOKEN, ""]),
        cbor2.dumps([KEYGEN, TOKEN.encode()]),
        cbor2.dumps([KEYGEN, None]),
        cbor2.dumps({"keygen": KEYGEN, "attesttoken": TOKEN}),
        cbor2.dumps(KEYGEN + TOKEN),
        GOOD["bytes"] + b"\x00",
        b"\x9f" + GOOD["bytes"][1:] + b"\xff",
        texts(KEYGEN + ".", TOKEN),
        texts(KEYGEN, "." + TOKEN),
        texts(KEYGEN, TOKEN.replace(".", "")),
        texts(KEYGEN, f'"{TOKEN}"'),
        texts(KEYGEN, "ü" + TOKEN[1:]),
        texts("", ""),
        texts(".", "."),
    ],
)
def test_evidence_of_another_form_is_refused(evidence: bytes) -> None:
    with pytest.raises(EvidenceError):
        verify(evidence)


def signed_keygen(*items: object, head: bytes = modem.SELF_DESCRIBED) -> str:
    payload = head + cbor2.dumps(list(items))
    signature = modem.sign(ATTESTER.key, modem.PROTECTED, CSR, payload)
    return f"{modem.text(CSR)}.{modem.text(modem.cose(modem.PROTECTED, b'!', payload, signature))}"


def signed_token(*items: object, head: bytes = modem.SELF_DESCRIBED) -> str:
    body = head + cbor2.dumps(list(items))
    signature = modem.sign(ATTESTER.key, modem.PROTECTED, body, None)
    return f"{modem.text(body)}.{modem.text(modem.cose(modem.PROTECTED, b'!', None, signature))}"


ID = IDENTITY.key_id
DIGEST = hashlib.sha256(CSR).digest()
NONCE_16 = bytes(16)


@pytest.mark.parametrize("sec_tag", [0, 17, 16842753, 2**31 - 1, 2**32 - 1, -1, -(2**31)])
def test_sec_tags_of_32_bits_are_read(sec_tag: int) -> None:
    text = signed_keygen(9, ID, cbor2.dumps(sec_tag), DIGEST, NONCE_16)
    assert verify_keygen(text, IDENTITY.spki).csr == CSR


@pytest.mark.parametrize(
    "items",
    [
        (True, ID, b"\x11", DIGEST, NONCE_16),
        (9, ID[:15], b"\x11", DIGEST, NONCE_16),
        (9, ID + b"\x00", b"\x11", DIGEST, NONCE_16),
        (9, str(UUID(bytes=ID)), b"\x11", DIGEST, NONCE_16),
        (9, ID, 17, DIGEST, NONCE_16),
        (9, ID, b"", DIGEST, NONCE_16),
        (9, ID, b"\x18\x11", DIGEST, NONCE_16),
        (9, ID, b"\x11\x11", DIGEST, NONCE_16),
        (9, ID, b"\xf5", DIGEST, NONCE_16),
        (9, ID, cbor2.dumps(2**32), DIGEST, NONCE_16),
        (9, ID, cbor2.dumps(-(2**31) - 1), DIGEST, NONCE_16),
        (9, ID, b"\x11", DIGEST[:31], NONCE_16),
        (9, ID, b"\x11", hashlib.sha384(CSR).digest(), NONCE_16),
        (9, ID, b"\x11", DIGEST, NONCE_16[:15]),
        (9, ID, b"\x11", DIGEST, NONCE_16 + b"\x00"),
        (9, ID, b"\x11", DIGEST, NONCE_16, 0),
        (9, ID, b"\x11", DIGEST),
        (),
    ],
)
def test_a_signed_csr_message_of_another_form_is_refused(items: tuple[object, ...]) -> None:
    verify_keygen(signed_keygen(9, ID, b"\x11", DIGEST, NONCE_16), IDENTITY.spki)
    with pytest.raises(EvidenceError):
        verify_keygen(signed_keygen(*items), IDENTITY.spki)


@pytest.mark.parametrize(
    "items",
    [
        (True, ID, 3, FIRMWARE.bytes, NONCE_16),
        (1, ID, True, FIRMWARE.bytes, NONCE_16),
        (1, ID, -1, FIRMWARE.bytes, NONCE_16),
        (1, ID, 2**32, FIRMWARE.bytes, NONCE_16),
        (1, ID, "3", FIRMWARE.bytes, NONCE_16),
        (1, ID[:15], 3, FIRMWARE.bytes, NONCE_16),
        (1, ID, 3, FIRMWARE.bytes[:15], NONCE_16),
        (1, ID, 3, str(FIRMWARE), NONCE_16),
        (1, ID, 3, FIRMWARE.bytes, NONCE_16 * 2),
        (1, ID, 3, FIRMWARE.bytes),
        (1, ID, 3, FIRMWARE.bytes, NONCE_16, NONCE_16),
    ],
)
def test_a_signed_identity_message_of_another_form_is_refused(items: tuple[object, ...]) -> None:
    verify_attesttoken(signed_token(1, ID, 3, FIRMWARE.bytes, NONCE_16), IDENTITY.spki)
    with pytest.raises(EvidenceError):
        verify_attesttoken(signed_token(*items), IDENTITY.spki)


def test_es384_is_refused_even_under_a_key_that_fits() -> None:
    key = ec.generate_private_key(ec.SECP384R1())
    protected = bytes.fromhex("a1013822")
    payload = modem.message(9, ID, b"\x11", DIGEST, NONCE_16)
    signed = cbor2.dumps(["Signature1", protected, CSR, payload])
    numbers = decode_dss_signature(key.sign(signed, ec.ECDSA(SHA384())))
    signature = b"".join(number.to_bytes(48, "big") for number in numbers)
    text = f"{modem.text(CSR)}.{modem.text(modem.cose(protected, b'!', payload, signature))}"
    with pytest.raises(EvidenceError, match="not an ES256 signature"):
        verify_keygen(text, spki_of(key.public_key()))


@pytest.mark.parametrize("head", [b"", modem.SELF_DESCRIBED * 2, b"\xda\x00\x00\xd9\xf7"])
def test_a_message_begins_with_its_one_tag(head: bytes) -> None:
    with pytest.raises(EvidenceError):
        verify_keygen(signed_keygen(9, ID, b"\x11", DIGEST, NONCE_16, head=head), IDENTITY.spki)
    with pytest.raises(EvidenceError):
        verify_attesttoken(signed_token(1, ID, 3, FIRMWARE.bytes, NONCE_16, head=head), IDENTITY.spki)


@pytest.mark.parametrize("context", ["bytes", "empty"])
def test_every_changed_bit_and_character_is_refused(context: Context) -> None:
    keygen, token = cbor2.loads(GOOD[context])
    for change in (characters_changed, bits_changed):
        for text in change(keygen):
            with pytest.raises(EvidenceError):
                verify(texts(text, token))
        for text in change(token):
            with pytest.raises(EvidenceError):
                verify(texts(keygen, text))
    for position in range(len(GOOD[context])):
        changed = bytearray(GOOD[context])
        changed[position] ^= 0x80
        with pytest.raises(EvidenceError):
            verify(bytes(changed))


@given(st.binary(max_size=300))
def test_any_bytes_give_the_domain_error(data: bytes) -> None:
    with pytest.raises(EvidenceError):
        verify(data)


@given(st.text(max_size=60), st.text(max_size=60))
def test_any_texts_give_the_domain_error(keygen: str, token: str) -> None:
    with pytest.raises(EvidenceError):
        verify(texts(keygen, token))


@given(st.binary(max_size=200), st.binary(max_size=200))
def test_any_encoded_bytes_give_the_domain_error(body: bytes, message: bytes) -> None:
    with pytest.raises(EvidenceError):
        verify_keygen(f"{modem.text(body)}.{modem.text(message)}", IDENTITY.spki)
    with pytest.raises(EvidenceError):
        verify_attesttoken(f"{modem.text(body)}.{modem.text(message)}", IDENTITY.spki)


_ITEMS = st.recursive(
    st.integers(-(2**64), 2**64 - 1)
    | st.binary(max_size=40)
    | st.text(max_size=8)
    | st.booleans()
    | st.none(),
    lambda items: st.lists(items, max_size=5),
    max_leaves=8,
)


@given(st.lists(_ITEMS, max_size=6))
def test_any_signed_message_gives_the_domain_error(items: list[object]) -> None:
    with pytest.raises(EvidenceError):
        verify_keygen(signed_keygen(9, *items), IDENTITY.spki)
    with pytest.raises(EvidenceError):
        verify_attesttoken(signed_token(1, *items), IDENTITY.spki)
