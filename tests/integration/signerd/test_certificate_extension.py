"""Certificates that speak of their evidence, from the request to the record, over a crash too."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import pytest_asyncio
from cryptography import x509

from harness.issuance_world import PRODUCT, IssuanceWorld, issuance_world
from harness.paper_board import PaperBoard
from harness.software_key_holder import make_device_tree
from signerd.adapters.linting import SampleLinter
from signerd.adapters.store.values import RecordFilter
from signerd.core.evidence_extension import EvidenceStatement, parse
from signerd.core.names import Level, MacQuestion
from signerd.core.product import parse_product
from signerd.core.profile import Issuer
from signerd.errors import Refused, Unavailable
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
    (intent,) = (await world.store.find_records(RecordFilter(chip_id=board.chip_id))).records
    assert intent.state is RecordState.INTENT
    world.restart()
    # The retry's evidence is over another challenge: other bytes, of which the certificate must not speak.
    session = await world.issuance.open_session(world.pc2, order, board.chip_id)
    assert session.challenge != intent.challenge
    answer = await world.sign(session, board, world.pc2)
    assert (answer.record.tbs, answer.record.evidence) == (intent.tbs, intent.evidence)
    assert statement_of(answer.record) == EvidenceStatement.about(Level.KEY, "hmac-sha256", intent.evidence)


def openssl(*arguments: str, data: bytes) -> str:
    done = subprocess.run(["openssl", *arguments], input=data, capture_output=True, check=True, timeout=30)
    return done.stdout.decode()


async def test_openssl_reads_it_as_the_page_says(world: IssuanceWorld) -> None:
    _, answer = await world.certify(await open_order(world), world.board())
    certificate = answer.record.certificate_der
    lines = openssl("asn1parse", "-inform", "DER", data=certificate).splitlines()
    (at,) = (number for number, line in enumerate(lines) if line.endswith(":1.3.6.1.4.1.32473.1"))
    offset = lines[at + 1].partition(":")[0].strip()  # of the OCTET STRING that holds the statement
    shown = openssl("asn1parse", "-inform", "DER", "-strparse", offset, data=certificate)
    values = [line.rpartition(":")[2].strip() for line in shown.splitlines()[1:]]
    digest = hashlib.sha256(answer.record.evidence).hexdigest().upper()
    assert values == ["01", "key", "hmac-sha256", digest]


def make_linter() -> SampleLinter:
    issuer = Issuer.of((make_device_tree().sub_ca,))
    return SampleLinter(
        lambda _ca: issuer,
        max_validity=timedelta(days=10_950),
        allow_no_expiry=True,
        clock=lambda: datetime.now(UTC),
    )


async def test_the_full_linter_has_nothing_against_it() -> None:
    # It says of the product that speaks what it says of the one that does not.
    silent, speaking = parse_product(PRODUCT), parse_product(SPEAKING)
    assert await make_linter().lint(speaking) == await make_linter().lint(silent)


async def test_an_oid_that_has_another_meaning_is_refused_with_the_product() -> None:
    wrong = SPEAKING.replace(OWN_OID.dotted_string, "1.3.6.1.4.1.11129.2.4.2")
    with pytest.raises(Refused, match="no certificate can be made by this profile"):
        await make_linter().lint(parse_product(wrong))
