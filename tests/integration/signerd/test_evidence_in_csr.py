"""Evidence inside the CSR, from the request to the record: what is stored is what was verified."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from boards.attesters.csr_attestation import Parts
from boards.attesters.tpm2 import Tpm2Vendor
from harness.installation import SENSOR
from harness.issuance_world import IssuanceWorld, issuance_world
from harness.paper_board import PaperBoard
from signerd.core.csr import check_csr
from signerd.core.evidence.method import EvidenceSubmission
from signerd.core.names import KeyType, Level
from signerd.errors import Code, Refused

VENDOR = Tpm2Vendor()
PRODUCT = (
    SENSOR.replace('name = "sensor"', 'name = "tpm"').replace('["hmac-sha256"]', '["tpm2"]')
    + VENDOR.product_section()
)


@pytest_asyncio.fixture
async def world(tmp_path: Path) -> AsyncIterator[IssuanceWorld]:
    async with issuance_world(tmp_path) as made:
        await made.store.add_product("tpm", PRODUCT, made.now)
        yield made


async def open_order(world: IssuanceWorld) -> str:
    sha256 = hashlib.sha256(PRODUCT.encode()).digest()
    return await world.open_order(product="tpm", product_sha256=sha256, level=Level.KEY)


def board_of(chip_id: str, *, in_csr: bool) -> PaperBoard:
    return PaperBoard(chip_id, attester=VENDOR.attester(chip_id), in_csr=in_csr)


async def test_the_unpacked_evidence_is_recorded_beside_the_csr_as_it_came(world: IssuanceWorld) -> None:
    board = board_of("CHIP-1", in_csr=True)
    session = await world.issuance.open_session(world.pc1, await open_order(world), board.chip_id)
    csr, sent = board.request(session.challenge)
    assert sent.evidence == b""
    submission = EvidenceSubmission(sent.method, sent.claims, sent.evidence)
    record = (await world.issuance.sign_csr(world.pc1, session.session, csr, submission)).record
    inside = check_csr(csr, accepted=tuple(KeyType)).attestation
    assert inside is not None
    assert record.evidence == inside.evidence != b""
    assert record.csr_der == csr
    assert (record.method, record.level) == ("tpm2", Level.KEY)


async def test_the_same_key_with_evidence_inside_or_beside_gets_the_same_certificate(
    world: IssuanceWorld,
) -> None:
    inside, order = board_of("CHIP-2", in_csr=True), await open_order(world)
    _, first = await world.certify(order, inside)
    beside = PaperBoard(inside.chip_id, key=inside.key, attester=inside.attester)
    _, second = await world.certify(order, beside)
    assert first.record.certificate_der == second.record.certificate_der
    assert second.record.evidence == first.record.evidence


async def test_a_csr_whose_attribute_is_another_boards_gets_no_certificate(world: IssuanceWorld) -> None:
    board, other = board_of("CHIP-3", in_csr=True), board_of("CHIP-3", in_csr=True)
    session = await world.issuance.open_session(world.pc1, await open_order(world), board.chip_id)
    csr, sent = board.request(session.challenge)
    stolen = Parts.of(csr).attributes
    parts = Parts.of(other.csr())
    forged = parts.signed(other.key, parts.info(*stolen))
    submission = EvidenceSubmission(sent.method, sent.claims, sent.evidence)
    with pytest.raises(Refused) as caught:
        await world.issuance.sign_csr(world.pc1, session.session, forged, submission)
    assert caught.value.code is Code.EVIDENCE_REJECTED
    await world.issuance.sign_csr(world.pc1, session.session, csr, submission)
