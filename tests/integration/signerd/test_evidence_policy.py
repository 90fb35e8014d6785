"""What a product and a work order demand of evidence, and what is recorded of it, over a real store."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio

from birthmark.v1 import admin_pb2
from boards.attesters.nrf91 import Nrf91Vendor
from boards.attesters.port import Attester, Vendor
from boards.attesters.psa_token import PsaVendor
from boards.attesters.tpm2 import Tpm2Vendor
from boards.attesters.x509 import X509Vendor
from harness.installation import SENSOR, order_toml
from harness.issuance_world import IssuanceWorld, issuance_world
from harness.order_desk import order_desk
from harness.paper_board import DEFAULT_FIRMWARE, PaperBoard
from signerd.adapters.rpc import fields
from signerd.core.evidence.method import EvidenceSubmission
from signerd.core.identity_list import parse_line
from signerd.core.names import Level
from signerd.core.session import CHALLENGE_BYTES, Session
from signerd.errors import Code, Refused

CLAIMED = {"app": DEFAULT_FIRMWARE["app"]}


@pytest_asyncio.fixture
async def world(tmp_path: Path) -> AsyncIterator[IssuanceWorld]:
    async with issuance_world(tmp_path) as made:
        yield made


async def refused(code: Code, awaitable: Any) -> Refused:
    with pytest.raises(Refused) as caught:
        await awaitable
    assert caught.value.code is code, caught.value.detail
    return caught.value


def product_of(method: str, section: str = "", *, rules: str = "", name: str = "gateway") -> str:
    """The harness's product with another name and method; `rules` are lines of its section [evidence]."""
    own = SENSOR.replace('name = "sensor"', f'name = "{name}"', 1)
    own = own.replace('methods = ["hmac-sha256"]', f'methods = ["{method}"]\n{rules}', 1)
    return f"{own}\n{section}"


def firmware(**versions: str) -> dict[str, list[Any]]:
    return {name: [version, hashlib.sha256(version.encode()).digest()] for name, version in versions.items()}


# The level.


async def test_no_order_opens_below_the_least_level_of_its_product(world: IssuanceWorld) -> None:
    await world.add_product(product_of("hmac-sha256", rules='level = "chip"'))
    orders = order_desk(world)

    def opening(level: str) -> Any:
        file = order_toml("WO-P", quantity=1, stations=[world.pc1.uri], product="gateway", level=level)
        return orders.open_work_order(None, admin_pb2.OpenWorkOrderRequest(work_order_toml=file))

    refusal = await refused(Code.INVALID, opening("none"))
    assert "'gateway' wants at least 'chip'" in refusal.detail
    await opening("chip")


async def test_replaced_firmware_is_a_genuine_chip_and_no_more(world: IssuanceWorld) -> None:
    vendor = X509Vendor()
    terms = await world.add_product(product_of("x509", vendor.product_section()))
    replaced = PaperBoard("CHIP-1", attester=vendor.attester("CHIP-1", digest=bytes(32)))
    demanding = await world.open_order(level=Level.KEY, **terms)
    await refused(Code.LEVEL_INSUFFICIENT, world.certify(demanding, replaced))
    _, answer = await world.certify(await world.open_order(level=Level.CHIP, **terms), replaced)
    assert (answer.record.level, answer.record.measured) == (Level.CHIP, {})
    genuine = PaperBoard("CHIP-2", attester=vendor.attester("CHIP-2"))
    assert (await world.certify(demanding, genuine))[1].record.level is Level.KEY


async def test_a_method_that_the_product_does_not_name_counts_nothing(world: IssuanceWorld) -> None:
    vendor = X509Vendor()
    terms = await world.add_product(product_of("x509", vendor.product_section()))
    order = await world.open_order(level=Level.NONE, **terms)
    personalized = world.board()
    await world.store.import_chips(order, [personalized.chip_id, "CHIP-1"], now=world.now)
    await refused(Code.EVIDENCE_REJECTED, world.certify(order, personalized))
    await refused(Code.EVIDENCE_REJECTED, world.certify(order, PaperBoard("CHIP-1")))
    await world.certify(order, PaperBoard("CHIP-1", attester=vendor.attester("CHIP-1")))


# Firmware.


@pytest.mark.parametrize(
    ("product", "order", "least"),
    [
        ("1.2.0", None, "1.2.0"),
        ("1.2.0", "1.1.0", "1.2.0"),
        ("1.1.0", "1.2.0", "1.2.0"),
        (None, "1.2", "1.2"),
    ],
)
async def test_the_higher_minimum_counts(
    world: IssuanceWorld, product: str | None, order: str | None, least: str
) -> None:
    minimum = "" if product is None else f'\n[evidence.minimum_firmware]\napp = "{product}"\n'
    terms = await world.add_product(product_of("hmac-sha256", minimum))
    name = await world.open_order(minimum_firmware={} if order is None else {"app": order}, **terms)
    board = world.board()
    session = await world.issuance.open_session(world.pc1, name, board.chip_id)
    assert session.minimum_firmware == {"app": least}
    for old in (firmware(app="1.1.9"), firmware(app="1.2.0-rc1"), firmware(boot="9.9")):
        board.firmware = old
        await refused(Code.FIRMWARE_TOO_OLD, world.sign(session, board))
    board.firmware = firmware(app="1.2.0")
    await world.sign(session, board)


async def test_both_minima_count_for_their_components(world: IssuanceWorld) -> None:
    terms = await world.add_product(
        product_of("hmac-sha256", '\n[evidence.minimum_firmware]\nboot = "2.0"\n')
    )
    order = await world.open_order(minimum_firmware={"app": "1.0"}, **terms)
    for missing in (firmware(app="1.0"), firmware(boot="2.0")):
        board = world.board()
        board.firmware = missing
        await refused(Code.FIRMWARE_TOO_OLD, world.certify(order, board))
    board = world.board()
    board.firmware = firmware(app="1.0", boot="2.0")
    await world.certify(order, board)


async def test_what_was_measured_counts_against_the_minimum(world: IssuanceWorld) -> None:
    vendor = X509Vendor()  # whose accepted measurement is of app 1.2.0
    terms = await world.add_product(product_of("x509", vendor.product_section()))

    async def certify(chip_id: str, least: str, claimed: Mapping[str, list[Any]]) -> Any:
        board = PaperBoard(chip_id, attester=vendor.attester(chip_id), firmware=dict(claimed))
        return await world.certify(await world.open_order(minimum_firmware={"app": least}, **terms), board)

    _, answer = await certify("CHIP-1", "1.2.0", {})  # measured, and not even claimed
    assert answer.record.measured == {"app": "1.2.0"}
    await refused(Code.FIRMWARE_TOO_OLD, certify("CHIP-2", "1.2.1", {}))


@pytest.mark.parametrize("version", ["1.2.1", "1.1.9", "1.2", "1.2.0-rc1"])
async def test_a_claim_that_the_measurement_contradicts_is_refused(
    world: IssuanceWorld, version: str
) -> None:
    vendor = X509Vendor()
    terms = await world.add_product(product_of("x509", vendor.product_section()))
    order = await world.open_order(**terms)
    board = PaperBoard("CHIP-1", attester=vendor.attester("CHIP-1"), firmware=firmware(app=version))
    await refused(Code.EVIDENCE_REJECTED, world.certify(order, board))
    board.firmware = firmware(app="1.2.0", boot="7.0")  # beside it, more may be claimed
    await world.certify(order, board)


# Which chips.


async def test_a_product_may_want_each_chip_on_the_orders_list(world: IssuanceWorld) -> None:
    terms = await world.add_product(product_of("hmac-sha256", rules='chips = "listed"'))
    order, other = await world.open_order(**terms), await world.open_order(**terms)
    board = world.board()
    await refused(Code.CHIP_UNKNOWN, world.certify(order, board))
    await world.store.import_chips(other, [board.chip_id], now=world.now)
    await refused(Code.CHIP_UNKNOWN, world.certify(order, board))
    # Not at OpenSession alone: as if a session had been opened while the chip stood on the list.
    challenge = bytes(CHALLENGE_BYTES)
    session = Session(world.pc1.uri, order, board.chip_id, challenge, world.now + timedelta(minutes=1))
    sealed = world.issuance._sealer.seal(session)
    csr, sent = board.request(challenge)
    submission = EvidenceSubmission(sent.method, sent.claims, sent.evidence)
    await refused(Code.CHIP_UNKNOWN, world.issuance.sign_csr(world.pc1, sealed, csr, submission))
    await world.store.import_chips(order, [board.chip_id], now=world.now)
    await world.issuance.sign_csr(world.pc1, sealed, csr, submission)


@dataclass(frozen=True)
class Kind:
    """A method whose keys are imported."""

    method: str
    make: Callable[[], Vendor]
    chip_id: Callable[[], str]
    firmware: Mapping[str, list[Any]]


KINDS = [
    Kind("psa-token", PsaVendor, lambda: f"psa:{uuid4()}", CLAIMED),
    Kind("nrf91", Nrf91Vendor, lambda: str(uuid4()), CLAIMED),
    Kind("tpm2", lambda: Tpm2Vendor(certified=False), lambda: f"tpm:{uuid4()}", CLAIMED),
]


def board_of(attester: Attester, chip_id: str, kind: Kind) -> PaperBoard:
    return PaperBoard(chip_id, attester=attester, firmware=dict(kind.firmware))


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.method)
async def test_a_chip_is_known_by_its_imported_key(world: IssuanceWorld, kind: Kind) -> None:
    vendor = kind.make()
    product = product_of(kind.method, vendor.product_section())
    order = await world.open_order(level=Level.KEY, **await world.add_product(product))
    chip_id = kind.chip_id()
    attester = vendor.attester(chip_id)
    board = board_of(attester, chip_id, kind)
    await refused(Code.CHIP_UNKNOWN, world.certify(order, board))
    # Neither the work order's list nor another product's identities make it known.
    await world.store.import_chips(order, [chip_id], now=world.now)
    await world.import_identities("sensor", attester)
    await refused(Code.CHIP_UNKNOWN, world.certify(order, board))
    await world.import_identities("gateway", attester)
    _, answer = await world.certify(order, board)
    assert answer.record.level is Level.KEY


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.method)
async def test_another_chips_imported_key_does_not_speak_for_it(world: IssuanceWorld, kind: Kind) -> None:
    vendor = kind.make()
    product = product_of(kind.method, vendor.product_section())
    order = await world.open_order(level=Level.KEY, **await world.add_product(product))
    one, two = kind.chip_id(), kind.chip_id()
    await world.import_identities("gateway", vendor.attester(one), vendor.attester(two))
    await refused(Code.EVIDENCE_REJECTED, world.certify(order, board_of(vendor.attester(two), one, kind)))
    await world.certify(order, board_of(vendor.attester(one), one, kind))


# What stays of it.


def spki_of(attester: Attester) -> bytes:
    line = attester.identity()
    assert line is not None
    return parse_line(json.dumps(line).encode()).spki


MEASURED: dict[str, dict[str, str]] = {"nrf91": {"modem": "1.3.6"}, "tpm2": {}}


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.method)
async def test_record_ledger_and_auditor_say_what_it_rests_on(world: IssuanceWorld, kind: Kind) -> None:
    vendor = kind.make()
    product = product_of(kind.method, vendor.product_section())
    order = await world.open_order(level=Level.KEY, **await world.add_product(product))
    chip_id = kind.chip_id()
    attester = vendor.attester(chip_id)
    await world.import_identities("gateway", attester)
    board = board_of(attester, chip_id, kind)
    _, answer = await world.certify(order, board)
    record = answer.record
    assert (record.method, record.level, record.attester) == (kind.method, Level.KEY, spki_of(attester))
    if kind.method in MEASURED:
        assert record.measured == MEASURED[kind.method]
    else:
        assert record.measured["app"] == "1.2.0"
    entry = json.loads(answer.position.entry)
    assert (entry["method"], entry["level"]) == (kind.method, "key")
    assert entry["claims"] == {
        "firmware": {name: [version, digest.hex()] for name, (version, digest) in board.firmware.items()},
        "security_state": board.locks,
    }
    assert entry["measured"] == record.measured
    assert entry["attester_sha256"] == hashlib.sha256(spki_of(attester)).hexdigest()
    assert entry["evidence_sha256"] == hashlib.sha256(record.evidence).hexdigest()
    stored = await world.store.record_by_certificate(hashlib.sha256(record.certificate_der).digest())
    assert stored == record
    message = fields.record_message(stored)
    assert (dict(message.measured), message.attester_spki) == (record.measured, spki_of(attester))


async def test_where_a_secret_speaks_no_attestation_key_is_named(world: IssuanceWorld) -> None:
    _, answer = await world.certify(await world.open_order(), world.board())
    assert (answer.record.attester, answer.record.measured) == (b"", {})
    entry = json.loads(answer.position.entry)
    assert (entry["attester_sha256"], entry["measured"]) == (None, {})
