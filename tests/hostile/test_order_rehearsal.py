"""Profiles and orders that no line could finish: they are refused at the desk, and what fails all the same on
the line takes no place."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from birthmark.v1 import audit_pb2, signing_pb2
from harness.edge import Edge, EdgePeer, code_of
from harness.paper_board import PaperBoard
from harness.signerd_commands import changed


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
