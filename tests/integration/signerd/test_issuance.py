from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from cryptography import x509

from birthmark.v1 import signing_pb2 as pb
from harness.issuance_world import LIFETIME, IssuanceWorld, issuance_world
from harness.paper_board import PaperBoard
from signerd.adapters.store.values import RecordFilter
from signerd.core import strict_cbor
from signerd.core.approved_order import MAX_RECORDS
from signerd.core.evidence.method import EvidenceSubmission
from signerd.core.leaf import Leaf
from signerd.core.names import Level, MacQuestion, Reissue
from signerd.core.order import FirmwareBundle
from signerd.errors import Code, Fault, Refused, Unavailable
from signerd.ports import RecordState


@pytest_asyncio.fixture
async def world(tmp_path: Path) -> AsyncIterator[IssuanceWorld]:
    async with issuance_world(tmp_path) as made:
        yield made


async def refused(code: Code, awaitable: Any) -> None:
    with pytest.raises(Refused) as caught:
        await awaitable
    assert caught.value.code is code


def rekeyed(board: PaperBoard) -> PaperBoard:
    return PaperBoard(board.chip_id, board.chip_key)


async def test_a_board_is_certified_and_stamped(world: IssuanceWorld) -> None:
    board = world.board()
    session, answer = await world.certify(await world.open_order(), board)
    certificate = x509.load_der_x509_certificate(answer.record.certificate_der)
    certificate.verify_directly_issued_by(world.issuer.certificate)
    assert certificate.public_key() == board.key.public_key()
    assert answer.record.level is Level.KEY
    settings = strict_cbor.decode(answer.record.settings, max_bytes=1000)
    assert settings == {"serial": answer.record.place.serial_number}
    await world.stamp(board, session, answer)
    assert (await world.certify("WO-1", board))[1].stamped


async def test_an_open_chip_reaches_chip_and_no_more(world: IssuanceWorld) -> None:
    board = world.board(locked=False)
    strict = await world.open_order(level=Level.KEY)
    await refused(Code.LEVEL_INSUFFICIENT, world.certify(strict, board))
    assert (await world.certify(await world.open_order(), board))[1].record.level is Level.CHIP


async def test_level_none_needs_the_list_and_the_orders_word(world: IssuanceWorld) -> None:
    bare = PaperBoard("bare:1", None)
    order = await world.open_order(level=Level.NONE)
    await refused(Code.CHIP_UNKNOWN, world.certify(order, bare))
    await world.store.import_chips(order, ["bare:1"], now=world.now)
    assert (await world.certify(order, bare))[1].record.level is Level.NONE
    demanding = await world.open_order(level=Level.CHIP)
    await world.store.import_chips(demanding, ["bare:2"], now=world.now)
    await refused(Code.CHIP_UNKNOWN, world.certify(demanding, PaperBoard("bare:2", None)))


async def test_a_lost_answer_is_given_again_in_the_same_session(world: IssuanceWorld) -> None:
    board, order = world.board(), await world.open_order()
    session = await world.issuance.open_session(world.pc1, order, board.chip_id)
    csr, evidence = board.request(session.challenge)
    submission = submission_of(evidence)
    first = await world.issuance.sign_csr(world.pc1, session.session, csr, submission)
    world.restart()  # the seal is gone; the grant is not
    world.now += 2 * LIFETIME
    again = await world.issuance.sign_csr(world.pc1, session.session, csr, submission)
    assert again.record == first.record
    assert again.position.entry == first.position.entry


def submission_of(evidence: pb.Evidence) -> EvidenceSubmission:
    return EvidenceSubmission(evidence.method, evidence.claims, evidence.evidence)


async def test_a_session_expires_and_dies_with_the_process(world: IssuanceWorld) -> None:
    board, order = world.board(), await world.open_order()
    session = await world.issuance.open_session(world.pc1, order, board.chip_id)
    world.now += LIFETIME
    await refused(Code.SESSION_UNKNOWN, world.sign(session, board))
    world.now -= LIFETIME
    world.restart()
    await refused(Code.SESSION_UNKNOWN, world.sign(session, board))


async def test_reissue_never(world: IssuanceWorld) -> None:
    board, order = world.board(), await world.open_order()
    await world.certify(order, board)
    await refused(Code.CHIP_ALREADY_CERTIFIED, world.certify(order, rekeyed(board)))


async def test_reissue_before_the_stamp_revokes_the_first(world: IssuanceWorld) -> None:
    board, order = world.board(), await world.open_order(reissue=Reissue.BEFORE_STAMP, quantity=1)
    session, first = await world.certify(order, board)
    second_board = rekeyed(board)
    second_session, second = await world.certify(order, second_board)
    assert second.record.place.serial_number == first.record.place.serial_number
    assert second.record.place.number == first.record.place.number
    old = await world.store.record_by_certificate(hashlib.sha256(first.record.certificate_der).digest())
    assert old is not None
    assert old.state is RecordState.REVOKED
    await refused(Code.CERTIFICATE_REVOKED, world.stamp(board, session, first))
    # The old key never comes back, also not for the chip that had it.
    await refused(Code.KEY_ALREADY_CERTIFIED, world.certify(order, board))
    await world.stamp(second_board, second_session, second)
    await refused(Code.CHIP_ALREADY_CERTIFIED, world.certify(order, rekeyed(board)))


async def test_reissue_always_also_after_the_stamp_and_on_another_order(world: IssuanceWorld) -> None:
    board = world.board()
    session, first = await world.certify(await world.open_order(), board)
    await world.stamp(board, session, first)
    repair = await world.open_order(reissue=Reissue.ALWAYS, quantity=1)
    _, second = await world.certify(repair, rekeyed(board))
    assert second.record.place.serial_number == first.record.place.serial_number
    assert second.record.place.work_order == repair
    await refused(Code.ORDER_FULL, world.certify(repair, world.board()))


async def test_a_chip_is_not_reissued_without_end(world: IssuanceWorld) -> None:
    board, order = world.board(), await world.open_order(reissue=Reissue.ALWAYS, quantity=1)
    for _ in range(MAX_RECORDS):
        board = rekeyed(board)
        await world.certify(order, board)
    await refused(Code.CHIP_ALREADY_CERTIFIED, world.certify(order, rekeyed(board)))
    # The last one stays valid, and is answered again.
    assert (await world.certify(order, board))[1].record.state is RecordState.ISSUED


async def test_an_intent_of_a_time_that_was_taken_back_begins_again(world: IssuanceWorld) -> None:
    right, board = world.now, world.board()
    order = await world.open_order(quantity=1, not_after=right + timedelta(days=9))
    world.now += timedelta(days=2)
    with pytest.raises(Fault, match="begins in the future"):  # the key holder's clock is right
        await world.certify(order, board)
    ahead, world.now = world.now, right
    await world.store.accept_clock(by="ann", before=ahead, now=right)
    _, answer = await world.certify(order, board)
    assert answer.record.place.moment == right.replace(microsecond=0)
    assert answer.record.place.number == 1
    assert (await world.certify(order, board))[1].record.certificate_der == answer.record.certificate_der
    await refused(Code.CHIP_ALREADY_CERTIFIED, world.certify(order, rekeyed(board)))


async def test_a_key_holder_that_fails_leaves_an_intent_that_is_resumed(world: IssuanceWorld) -> None:
    board, order = world.board(), await world.open_order(quantity=1)
    session = await world.issuance.open_session(world.pc1, order, board.chip_id)
    csr, evidence = board.request(session.challenge)
    check = world.key_holder.check_chip_mac

    async def then_fails(question: MacQuestion) -> bool:
        held = await check(question)
        world.key_holder.available = False
        return held

    world.key_holder.check_chip_mac = then_fails  # type: ignore[method-assign]
    with pytest.raises(Unavailable):
        await world.issuance.sign_csr(world.pc1, session.session, csr, submission_of(evidence))
    world.key_holder.check_chip_mac = check  # type: ignore[method-assign]
    world.key_holder.available = True
    (intent,) = (await world.store.find_records(RecordFilter(chip_id=board.chip_id))).records
    assert intent.state is RecordState.INTENT
    world.now += timedelta(hours=1)
    _, answer = await world.certify(order, board, world.pc2)
    assert answer.record.place == intent.place
    assert answer.record.tbs == intent.tbs


async def test_a_signature_that_does_not_verify_never_becomes_a_certificate(world: IssuanceWorld) -> None:
    board, order = world.board(), await world.open_order(quantity=1)
    honest = world.key_holder.sign_certificate

    async def over_other_bytes(tbs: bytes, _leaf: Leaf | None = None) -> bytes:
        await honest(tbs)
        return world.key_holder._algorithm.sign(world.key_holder._key, b"something else")

    world.key_holder.sign_certificate = over_other_bytes  # type: ignore[method-assign]
    with pytest.raises(Fault, match="does not verify"):
        await world.certify(order, board)
    world.key_holder.sign_certificate = honest  # type: ignore[method-assign]
    assert (await world.certify(order, board))[1].record.state is RecordState.ISSUED


async def test_a_hundred_at_once_for_ten_places(world: IssuanceWorld) -> None:
    order = await world.open_order(quantity=10)
    boards = [world.board() for _ in range(30)]
    sessions = [await world.issuance.open_session(world.pc1, order, board.chip_id) for board in boards]
    outcomes = await asyncio.gather(
        *(world.sign(session, board) for session, board in zip(sessions, boards, strict=True)),
        return_exceptions=True,
    )
    issued = [outcome for outcome in outcomes if not isinstance(outcome, BaseException)]
    assert sorted(answer.record.place.number for answer in issued) == list(range(1, 11))
    refusals = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
    assert {outcome.code for outcome in refusals if isinstance(outcome, Refused)} == {Code.ORDER_FULL}
    assert len(refusals) == 20


async def test_a_chip_with_its_place_comes_back_to_a_full_order(world: IssuanceWorld) -> None:
    board, order = world.board(), await world.open_order(quantity=1)
    _, first = await world.certify(order, board)
    _, again = await world.certify(order, board, world.pc2)
    assert again.record.certificate_der == first.record.certificate_der


async def test_a_revoked_station_is_refused_within_the_call(world: IssuanceWorld) -> None:
    board, order = world.board(), await world.open_order()
    session = await world.issuance.open_session(world.pc1, order, board.chip_id)
    await world.store.revoke_peer(world.pc1.uri, now=world.now)
    await refused(Code.PEER_REVOKED, world.sign(session, board))


async def test_the_stamp_says_the_firmware_that_the_order_names(world: IssuanceWorld) -> None:
    board, digest = world.board(), bytes(range(32))
    bundle = FirmwareBundle(bytes(32), {"app": ("1.4.0", digest)})
    order = await world.open_order(bundle=bundle)
    session, answer = await world.certify(order, board)
    assert session.bundle_sha256 == bundle.sha256
    changes: list[dict[str, list[Any]]] = [
        {},
        {"app": ["1.4.0", bytes(32)]},
        {"app": ["1.4", digest]},
        {"App": ["1.4.0", digest]},
    ]
    for wrong in changes:
        other = replace(board, firmware=wrong)
        await refused(Code.FIRMWARE_DIFFERS, world.stamp(other, session, answer))
    named = replace(board, firmware={"app": ["1.4.0", digest], "boot": ["1.0", bytes(32)]})
    first = await world.stamp(named, session, answer)
    assert (await world.stamp(named, session, answer)).index == first.index


async def test_an_order_that_names_a_bundle_without_firmware_compares_none(world: IssuanceWorld) -> None:
    board = world.board()
    order = await world.open_order(bundle=FirmwareBundle(bytes(range(32)), {}))
    session, answer = await world.certify(order, board)
    assert session.bundle_sha256 == bytes(range(32))
    await world.stamp(replace(board, firmware={}), session, answer)


async def test_the_stamp_needs_the_orders_firmware(world: IssuanceWorld) -> None:
    board, order = world.board(), await world.open_order(minimum_firmware={"app": "1.2.0"})
    session, answer = await world.certify(order, board)
    downgraded = replace(board, firmware={"app": ["1.1.9", bytes(32)]})
    await refused(Code.FIRMWARE_TOO_OLD, world.stamp(downgraded, session, answer))
    await world.stamp(board, session, answer)
