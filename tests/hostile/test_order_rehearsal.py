"""Profiles and orders that no line could finish: they are refused at the desk, and what fails all the same on
the line takes no place."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from birthmark.v1 import admin_pb2, audit_pb2, signing_pb2
from harness.edge import Edge, EdgePeer, code_of
from harness.installation import SENSOR, order_toml
from harness.paper_board import PaperBoard
from harness.signerd_commands import changed, signerd

pytestmark = pytest.mark.check


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    with Edge(tmp_path_factory.mktemp("desk")) as edge:
        edge.start()
        edge.add_sensor()
        yield edge


@pytest.fixture(scope="module")
def station(edge: Edge) -> EdgePeer:
    return edge.add_peer("station/plant1/pc1")


def certify(station: EdgePeer, order: str, board: PaperBoard) -> signing_pb2.SignCsrResponse:
    """The honest way to a certificate."""
    session = station.signing.OpenSession(
        signing_pb2.OpenSessionRequest(work_order=order, chip_id=board.chip_id),
        timeout=20,
        wait_for_ready=True,
    )
    csr, evidence = board.request(session.challenge)
    return station.signing.SignCsr(
        signing_pb2.SignCsrRequest(session=session.session, csr_der=csr, evidence=evidence),
        timeout=20,
        wait_for_ready=True,
    )


def counts(edge: Edge, order: str) -> audit_pb2.WorkOrderCounts:
    request = audit_pb2.GetWorkOrderRequest(work_order=order)
    return edge.auditor.audit.GetWorkOrder(request, timeout=20, wait_for_ready=True).counts


def test_a_profile_that_fails_on_the_line_has_a_code_of_its_own_and_takes_no_place(
    edge: Edge, station: EdgePeer
) -> None:
    order = edge.open_order(station, quantity=1)
    keys = edge.installation.personalize(["desk:1"])
    board = PaperBoard("desk:1", keys["desk:1"])
    # The order is open and right; then somebody changes the settings under it.
    edge.installation.process.stop()
    with changed(edge.installation, "[authority]\n", "[authority]\nmax_validity_days = 7299\n"):
        edge.installation.start_signerd()
        assert code_of(lambda: certify(station, order, board)) == "profile_fails"
        assert counts(edge, order).places == counts(edge, order).open_intents == 0
        edge.installation.process.stop()
    edge.installation.start_signerd()
    assert certify(station, order, board).serial_number.endswith("0001")
    assert (counts(edge, order).places, counts(edge, order).issued) == (1, 1)


PROFILES = Path(__file__).parents[1] / "vectors" / "profiles"
VERDICTS = json.loads((PROFILES / "verdicts.json").read_text("utf-8"))


@pytest.mark.parametrize("name", sorted(VERDICTS))
def test_profiles_that_no_line_could_finish_are_refused_at_the_desk(
    edge: Edge, station: EdgePeer, tmp_path: Path, name: str
) -> None:
    """Each is accepted before, and fails on the first board."""
    verdict = VERDICTS[name]
    code, said = signerd(edge.installation, "product", "add", PROFILES / f"{name}.toml")
    if verdict["at"] == "product":
        assert (code, verdict["reason"] in said) == (1, True), said
        return
    assert code == 0, said
    file = tmp_path / "order.toml"
    file.write_text(
        order_toml(
            f"WO-{name}", quantity=2, stations=[station.uri], product=name, level=verdict["level"],
            serial_pattern=verdict["serial_pattern"],
        ),
        "utf-8",
    )  # fmt: skip
    before = len(list(edge.entries()))
    for command in ("rehearse", "open"):
        code, said = signerd(edge.installation, "order", command, file)
        assert (code, verdict["reason"] in " ".join(said.split())) == (verdict["code"], True), said
        if command == "rehearse" or verdict["code"]:
            assert len(list(edge.entries())) == before
    opened = [each for each in edge.entries() if each.get("work_order") == f"WO-{name}"]
    assert [each["rehearsed"] for each in opened] == ([] if verdict["code"] else [True])


def test_two_boards_with_one_subject(edge: Edge, station: EdgePeer, tmp_path: Path) -> None:
    product = SENSOR.replace('name = "sensor"', 'name = "numbered"').replace("{serial}", "{number}")
    edge.installation.add_product(product)
    file = tmp_path / "order.toml"
    file.write_text(order_toml("WO-N", quantity=2, stations=[station.uri], product="numbered"), "utf-8")
    code, said = signerd(edge.installation, "order", "open", file)
    assert code == 1
    assert "subjects: two boards would have one subject" in said


def test_a_certificate_that_would_outlive_its_sub_ca(edge: Edge, station: EdgePeer, tmp_path: Path) -> None:
    """At the beginning of the window it would not: the line would stop within it."""
    now = datetime.now(UTC)
    edge.installation.add_product(SENSOR.replace('name = "sensor"', 'name = "old"'))
    file = tmp_path / "order.toml"
    terms = {"quantity": 2, "stations": [station.uri], "product": "old", "serial_pattern": "O-{number}"}
    file.write_text(order_toml("WO-O", not_after=now + timedelta(days=16 * 365), **terms), "utf-8")  # type: ignore[arg-type]
    code, said = signerd(edge.installation, "order", "rehearse", file, "--json")
    answer = json.loads(said)
    assert (code, answer["passed"]) == (1, False)
    (validity,) = [check for check in answer["checks"] if check["check"] == "validity"]
    assert validity["outcome"] == "refused"
    assert "after its sub-CA" in validity["text"]
    file.write_text(order_toml("WO-O", not_after=now + timedelta(days=14 * 365), **terms), "utf-8")  # type: ignore[arg-type]
    assert signerd(edge.installation, "order", "rehearse", file)[0] == 0


def test_a_list_with_a_chip_that_gets_no_certificate(edge: Edge, station: EdgePeer, tmp_path: Path) -> None:
    product = SENSOR.replace('name = "sensor"', 'name = "listed"')
    product = product.replace('["hmac-sha256"]', '["hmac-sha256"]\nchips = "listed"')
    edge.installation.add_product(product.replace("san_uri = [", 'san_dns = ["{chip_id}"]\nsan_uri = ['))
    file, chips = tmp_path / "order.toml", tmp_path / "chips.txt"
    terms = order_toml(
        "WO-L", quantity=2, stations=[station.uri], product="listed", serial_pattern="L-{number}"
    )
    file.write_text(terms, "utf-8")
    chips.write_text("CHIP-1\nCHIP_2\n", "utf-8")
    for command in ("rehearse", "open"):
        code, said = signerd(edge.installation, "order", command, file, "--chips", chips)
        assert code == 1
        assert "'_' is not in a DNS name" in " ".join(said.split())
    chips.write_text(f"key={'0a' * 32}\nCHIP-1\n", "utf-8")  # by which its product lists no chip
    for command in ("rehearse", "open"):
        code, said = signerd(edge.installation, "order", command, file, "--chips", chips)
        assert (code, "lists chips by id (listed_by)" in " ".join(said.split())) == (1, True), said
    chips.write_text("CHIP-1\n", "utf-8")
    code, said = signerd(edge.installation, "order", "open", file, "--chips", chips)
    assert (code, "1 chips are on its list" in said) == (0, True), said
    chips.write_text("CHIP-3\nCHIP_2\n", "utf-8")
    code, said = signerd(edge.installation, "chips", "import", chips, "--order", "WO-L")
    assert code == 1
    assert "chip CHIP_2" in said
    # More than one call takes: nothing of the first is entered where the second would be refused.
    chips.write_text("".join(f"CHIP-{number}\n" for number in range(2, 10_003)) + "CHIP_2\n", "utf-8")
    code, said = signerd(edge.installation, "chips", "import", chips, "--order", "WO-L")
    assert (code, "Nothing of the list is entered" in " ".join(said.split())) == (1, True), said
    listed = edge.admin.ListChips(admin_pb2.ListChipsRequest(), timeout=20).chips
    assert {chip.chip_id for chip in listed if "WO-L" in chip.work_orders} == {"CHIP-1"}


def test_a_chip_id_that_is_not_of_the_products_form(edge: Edge, station: EdgePeer) -> None:
    product = SENSOR.replace('name = "sensor"', 'name = "formed"')
    form = 'chip_ids = "desk:[0-9]{1,3}"'
    edge.installation.add_product(product.replace('["hmac-sha256"]', f'["hmac-sha256"]\n{form}'))
    edge.installation.open_order(
        order_toml("WO-F", quantity=2, stations=[station.uri], product="formed", serial_pattern="F-{number}")
    )
    keys = edge.installation.personalize(["desk:777", "desk:7777"])
    odd, right = (PaperBoard(chip, keys[chip]) for chip in ("desk:7777", "desk:777"))
    assert code_of(lambda: certify(station, "WO-F", odd)) == "chip_unknown"
    assert certify(station, "WO-F", right).serial_number == "F-1"
