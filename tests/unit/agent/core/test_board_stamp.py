"""A board's stamp: the one that agrees with what was issued, and each that differs in one thing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.certificate import Answer, Asked, check_answer
from agent.core.stamp import Expected, check_stamp, check_stamp_receipt
from agent.errors import BadAnswer, BoardError
from agent.ports import BoardRequest, BoardStamp
from boards import keys
from harness.agent_world import AgentWorld, MemoryDriver
from harness.paper_company import PaperCompany, PaperLog

CHALLENGE = bytes(range(32))


@dataclass(frozen=True)
class Stamped:
    """A board that has all it was issued, and what is expected of its stamp."""

    company: PaperCompany
    session: bytes
    driver: MemoryDriver
    expected: Expected

    def sign(self, items: Any) -> tuple[bytes, bytes]:
        stamp = cbor2.dumps(items, canonical=True)
        key = self.driver.board.key
        assert key is not None
        return stamp, keys.sign(key, stamp)

    def items(self) -> list[Any]:
        return list(cbor2.loads(cbor2.loads(self.driver.board.make_stamp(CHALLENGE))[0]))


@pytest.fixture(name="stamped", params=["p256", "p384"])
async def make_stamped(request: pytest.FixtureRequest) -> Stamped:
    company = PaperCompany()
    driver = AgentWorld.board("CHIP-1", key_types=(request.param,))
    await driver.keygen(request.param)
    session = await company.open_session("WO-1", "CHIP-1")
    wish: BoardRequest = await driver.request(session.challenge)
    issued = await company.sign_csr(session.session, wish)
    receipt = issued.receipt
    answer = Answer(
        issued.certificate_der,
        issued.chain_der,
        issued.serial_number,
        issued.settings,
        receipt.index,
        receipt.entry,
        receipt.proof,
    )
    checked = check_answer(Asked("WO-1", "CHIP-1", wish.csr_der), answer, company.trust)
    await driver.install(checked.credential)
    await driver.configure(checked.settings)
    expected = Expected(CHALLENGE, "CHIP-1", ("secure_boot",), checked)
    return Stamped(company, session.session, driver, expected)


async def test_agrees(stamped: Stamped) -> None:
    stamp = await stamped.driver.stamp(CHALLENGE)
    assert check_stamp(stamp.stamp, stamp.signature, stamped.expected).stamp == stamp.stamp


def put(position: int, value: object) -> Callable[[list[Any]], list[Any]]:
    return lambda items: [*items[:position], value, *items[position + 1 :]]


CHANGES: dict[str, tuple[Callable[[list[Any]], Any], str]] = {
    "label": (put(0, "birthmark-stamp-v2"), "stamp_malformed"),
    "challenge": (put(1, bytes(32)), "stamp_differs"),
    "chip id": (put(2, "CHIP-2"), "stamp_differs"),
    "serial number": (put(3, "BM-000002"), "stamp_differs"),
    "certificate": (put(4, bytes(32)), "stamp_differs"),
    "settings": (put(5, bytes(32)), "stamp_differs"),
    "firmware that is no map": (put(6, []), "stamp_malformed"),
    "firmware name": (put(6, {"a b": ["1", bytes(32)]}), "stamp_malformed"),
    "firmware digest": (put(6, {"app": ["1", bytes(31)]}), "stamp_malformed"),
    "too much firmware": (put(6, {f"c{n}": ["1", bytes(32)] for n in range(17)}), "stamp_malformed"),
    "lock that is no boolean": (put(7, {"secure_boot": 1}), "stamp_malformed"),
    "lock open": (put(7, {"secure_boot": False}), "stamp_locks_open"),
    "lock missing": (put(7, {}), "stamp_locks_open"),
    "commitment": (put(8, bytes(31)), "stamp_malformed"),
    "too few": (lambda items: items[:8], "stamp_malformed"),
    "too many": (lambda items: [*items, None], "stamp_malformed"),
    "no array": (lambda _items: {"a": 1}, "stamp_malformed"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_differs(stamped: Stamped, change: str) -> None:
    alter, code = CHANGES[change]
    with pytest.raises(BoardError) as caught:
        check_stamp(*stamped.sign(alter(stamped.items())), stamped.expected)
    assert caught.value.code == code


def test_signed_with_another_key(stamped: Stamped) -> None:
    stamp, _ = stamped.sign(stamped.items())
    signature = keys.sign(keys.make_key("p256"), stamp)
    with pytest.raises(BoardError, match="stamp_signature"):
        check_stamp(stamp, signature, stamped.expected)


def test_not_the_one_encoding(stamped: Stamped) -> None:
    key = stamped.driver.board.key
    assert key is not None
    stamp = b"\x98\x09" + stamped.sign(stamped.items())[0][1:]  # the array's length in two bytes
    with pytest.raises(BoardError, match="stamp_malformed"):
        check_stamp(stamp, keys.sign(key, stamp), stamped.expected)


@given(stamp=st.binary(max_size=200), signature=st.binary(max_size=600))
def test_any_bytes(stamp: bytes, signature: bytes) -> None:
    expected: Any = None
    with pytest.raises(BoardError):
        check_stamp(stamp, signature, expected)


async def test_receipt_of_the_stamp(stamped: Stamped) -> None:
    stamp, signature = stamped.sign(stamped.items())
    receipt = await stamped.company.record_stamp(stamped.session, BoardStamp(stamp, signature))
    digest = stamped.expected.certificate.certificate_sha256

    def check(*, stamp: bytes = stamp, digest: bytes = digest, log: PaperLog = stamped.company.log) -> None:
        check_stamp_receipt(
            stamp=stamp,
            certificate_sha256=digest,
            index=receipt.index,
            entry=receipt.entry,
            proof=receipt.proof,
            log_key=PaperCompany(log=log).trust.log_key
            if log is not stamped.company.log
            else stamped.company.trust.log_key,
        )

    check()
    for change in ({"stamp": stamp + b"\0"}, {"digest": bytes(32)}, {"log": PaperLog()}):
        with pytest.raises(BadAnswer):
            check(**change)
