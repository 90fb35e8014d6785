"""signerd's answer: the one that holds, and each that differs from it in one thing."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cbor2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from agent.core.certificate import Answer, Asked, Trust, check_answer, request_spki
from agent.errors import BadAnswer, BoardError
from agent.ports import BoardRequest
from boards import keys
from harness.paper_company import DeviceTree, PaperCompany, PaperLog

VECTORS = Path(__file__).parents[3] / "vectors"
COMPANY = PaperCompany()
KEY = keys.make_key("p256")
CSR = keys.make_csr(KEY, "CHIP-1")
ASKED = Asked("WO-1", "CHIP-1", CSR)


@pytest.fixture(name="answer")
async def make_answer() -> Answer:
    session = await COMPANY.open_session("WO-1", "CHIP-1")
    issued = await COMPANY.sign_csr(session.session, BoardRequest(CSR, "none", b"", b""))
    receipt = issued.receipt
    return Answer(
        issued.certificate_der,
        issued.chain_der,
        issued.serial_number,
        issued.settings,
        receipt.index,
        receipt.entry,
        receipt.proof,
    )


def test_holds(answer: Answer) -> None:
    checked = check_answer(ASKED, answer, COMPANY.trust)
    assert cbor2.loads(checked.credential) == [answer.certificate_der, list(answer.chain_der)]
    assert checked.credential_sha256 == hashlib.sha256(checked.credential).digest()
    assert checked.settings_sha256 == hashlib.sha256(answer.settings).digest()


def rogue_leaf(*, ca: bool = False, key: ec.EllipticCurvePublicKey | None = None) -> bytes:
    own = KEY.public_key()
    assert isinstance(own, ec.EllipticCurvePublicKey)
    return COMPANY.tree.leaf(key or own, 7, ca=ca).public_bytes(Encoding.DER)


def rogue_sub(*, ca: bool) -> bytes:
    tree = COMPANY.tree
    return tree.authority("sub", tree.sub_key.public_key(), "root", tree.root_key, ca=ca).public_bytes(
        Encoding.DER
    )


CHANGES: dict[str, Callable[[Answer], Answer]] = {
    "another key": lambda answer: replace(
        answer, certificate_der=rogue_leaf(key=ec.generate_private_key(ec.SECP256R1()).public_key())
    ),
    "a CA": lambda answer: replace(answer, certificate_der=rogue_leaf(ca=True)),
    "another certificate of this key": lambda answer: replace(answer, certificate_der=rogue_leaf()),
    "trailing bytes": lambda answer: replace(answer, certificate_der=answer.certificate_der + b"\0"),
    "no certificate": lambda answer: replace(answer, certificate_der=b""),
    "no chain": lambda answer: replace(answer, chain_der=()),
    "a chain of another company": lambda answer: replace(
        answer, chain_der=(DeviceTree().sub.public_bytes(Encoding.DER),)
    ),
    "an issuer that is no CA": lambda answer: replace(answer, chain_der=(rogue_sub(ca=False),)),
    "an endless chain": lambda answer: replace(answer, chain_der=answer.chain_der * 5),
    "another serial number": lambda answer: replace(answer, serial_number="BM-999999"),
    "serial number with an escape sequence": lambda answer: replace(answer, serial_number="\x1b[2J"),
    "no serial number": lambda answer: replace(answer, serial_number=""),
    "other settings": lambda answer: replace(
        answer, settings=cbor2.dumps({"serial": answer.serial_number}, canonical=True)
    ),
    "settings that are no map": lambda answer: replace(answer, settings=cbor2.dumps([1])),
    "settings with bytes behind them": lambda answer: replace(answer, settings=answer.settings + b"\0"),
    "another index": lambda answer: replace(answer, index=answer.index + 1),
    "another entry": lambda answer: replace(answer, entry=COMPANY.log.entries[0]),
    "an entry changed in one byte": lambda answer: replace(
        answer, entry=answer.entry.replace(b'"type":"issued"', b'"type": "issued"')
    ),
    "no receipt": lambda answer: replace(answer, proof=b""),
}


@pytest.mark.parametrize("change", CHANGES)
def test_differs(answer: Answer, change: str) -> None:
    check_answer(ASKED, answer, COMPANY.trust)
    with pytest.raises(BadAnswer):
        check_answer(ASKED, CHANGES[change](answer), COMPANY.trust)


@pytest.mark.parametrize(
    "asked",
    [
        replace(ASKED, chip_id="CHIP-2"),
        replace(ASKED, work_order="WO-2"),
        replace(ASKED, csr_der=keys.make_csr(keys.make_key("p256"), "CHIP-1")),
    ],
)
def test_answer_to_another_question(answer: Answer, asked: Asked) -> None:
    with pytest.raises(BadAnswer):
        check_answer(asked, answer, COMPANY.trust)


def test_other_pins(answer: Answer) -> None:
    for trust in (
        Trust((DeviceTree().root,), COMPANY.trust.log_key),
        replace(COMPANY.trust, log_key=PaperCompany(log=PaperLog()).trust.log_key),
    ):
        with pytest.raises(BadAnswer):
            check_answer(ASKED, answer, trust)


@given(st.binary(max_size=200))
def test_any_bytes_as_certificate(data: bytes) -> None:
    answer = Answer(data, (data,), "x", data, 0, data, data)
    with pytest.raises(BadAnswer):
        check_answer(ASKED, answer, COMPANY.trust)


@pytest.mark.parametrize("key_type", ["p256", "p384"])
@pytest.mark.parametrize("null_parameters", [False, True])
def test_key_of_a_request(key_type: str, null_parameters: bool) -> None:
    key = keys.make_key(key_type)
    assert request_spki(keys.make_csr(key, "c", null_parameters=null_parameters)) == keys.public_der(key)


def test_key_of_a_real_request() -> None:
    assert request_spki((VECTORS / "csr" / "mbedtls-2.28-null-params.der").read_bytes())


@given(st.binary(max_size=300))
def test_any_bytes_as_request(data: bytes) -> None:
    with pytest.raises(BoardError):
        request_spki(data)


@given(st.integers(0, len(CSR) - 1), st.integers(1, 255))
def test_damaged_requests(position: int, flip: int) -> None:
    damaged = bytes(byte ^ flip if at == position else byte for at, byte in enumerate(CSR))
    try:
        request_spki(damaged)
    except BoardError as error:
        assert error.code == "bad_answer"  # noqa: PT017 -- damage elsewhere leaves the key readable


def test_paper_requests_are_requests() -> None:
    assert x509.load_der_x509_csr(CSR).is_signature_valid
