"""Certificates that speak of their evidence, from the request to the record, over a crash too."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from cryptography import x509

from harness.issuance_world import PRODUCT, IssuanceWorld, issuance_world
from harness.paper_board import PaperBoard
from signerd.core.evidence_extension import EvidenceStatement, parse
from signerd.core.names import Level, MacQuestion
from signerd.errors import Unavailable
from signerd.ports import Record, RecordState

OWN_OID = x509.ObjectIdentifier("1.3.6.1.4.1.32473.1")
SPEAKING = PRODUCT.replace(
    "[evidence]", f'[evidence]\ncertificate_extension = "{OWN_OID.dotted_string}"'
).replace('name = "sensor"', 'name = "speaking"')


@pytest_asyncio.fixture
async def world(tmp_path: Path) -> AsyncIterator[IssuanceWorld]:
    async with issuance_world(tmp_path) as made:
        await made.store.add_product("speaking", SPEAKING, made.now)
        yield made


async def open_order(world: IssuanceWorld, level: Level = Level.CHIP) -> str:
    sha256 = hashlib.sha256(SPEAKING.encode()).digest()
    return await world.open_order(product="speaking", product_sha256=sha256, level=level)


def statement_of(record: Record) -> EvidenceStatement:
    certificate = x509.load_der_x509_certificate(record.certificate_der)
    extension = certificate.extensions.get_extension_for_oid(OWN_OID)
    assert not extension.critical
    assert isinstance(extension.value, x509.UnrecognizedExtension)
    return parse(extension.value.value)


@pytest.mark.parametrize(("locked", "level"), [(True, Level.KEY), (False, Level.CHIP)])
async def test_the_certificate_says_what_the_record_says(
    world: IssuanceWorld, locked: bool, level: Level
) -> None:
    _, answer = await world.certify(await open_order(world), world.board(locked=locked))
    record = answer.record
    assert record.evidence
    assert statement_of(record) == EvidenceStatement.about(level, "hmac-sha256", record.evidence)


async def test_a_certificate_without_evidence_says_so(world: IssuanceWorld) -> None:
    order = await open_order(world, Level.NONE)
    await world.store.import_chips(order, ["bare:1"], now=world.now)
    _, answer = await world.certify(order, PaperBoard("bare:1", None))
    assert statement_of(answer.record) == EvidenceStatement.about(Level.NONE, "none", b"")


async def test_a_resumed_intent_keeps_its_bytes_and_speaks_of_the_evidence_it_was_made_of(
    world: IssuanceWorld,
) -> None:
    board, order = world.board(), await open_order(world)
    check = world.key_holder.check_chip_mac

    async def then_fails(question: MacQuestion) -> bool:
        held = await check(question)
        world.key_holder.available = False
        return held

    world.key_holder.check_chip_mac = then_fails  # type: ignore[method-assign]
    with pytest.raises(Unavailable):
        await world.certify(order, board)
    world.key_holder.check_chip_mac = check  # type: ignore[method-assign]
    world.key_holder.available = True
    context = await world.store.call_context(
        peer_uri=world.pc1.uri, work_order=order, chip_id=board.chip_id, session_sha256=None
    )
    intent = context.active
    assert intent is not None
    assert intent.state is RecordState.INTENT
    world.restart()
    # The retry's evidence is over another challenge: other bytes, of which the certificate must not speak.
    session = await world.issuance.open_session(world.pc2, order, board.chip_id)
    assert session.challenge != intent.challenge
    answer = await world.sign(session, board, world.pc2)
    assert (answer.record.tbs, answer.record.evidence) == (intent.tbs, intent.evidence)
    assert statement_of(answer.record) == EvidenceStatement.about(Level.KEY, "hmac-sha256", intent.evidence)
