"""Boards of every method through the whole line by the real programs: agent, signerd, token, auditor."""

from __future__ import annotations

import pytest

from boards.vendors import METHODS
from harness.factory import Factory

pytestmark = pytest.mark.check

ATTESTED = [method for method in METHODS if method != "none"]


@pytest.mark.parametrize("method", ATTESTED)
def test_a_board_of_each_method(factory: Factory, method: str) -> None:
    run = factory.new_evidence_run(method, level="key", baud=115_200, buffer=512)
    assert run.start_agent().wait() == 0
    factory.finished_once(run)
    (entry,) = factory.entries("issued", run)
    assert (entry["method"], entry["level"]) == (method, "key")


def test_five_methods_in_one_order(factory: Factory) -> None:
    run = factory.new_evidence_run(*ATTESTED, level="key")
    assert run.start_agent().wait() == 0
    factory.finished_once(run)
    methods = {board.chip_id: board.method for board in run.farm.boards}
    assert sorted(methods.values()) == sorted(ATTESTED)
    assert {entry["chip_id"]: entry["method"] for entry in factory.entries("issued", run)} == methods


def test_evidence_inside_the_csr(factory: Factory) -> None:
    run = factory.new_evidence_run("psa-token", "tpm2", level="key", evidence_in_csr=True)
    assert run.start_agent().wait() == 0
    factory.finished_once(run)


def test_wrong_boards_beside_a_genuine_one(factory: Factory) -> None:
    wrong = {"0": {"lifecycle": "unknown"}, "1": {"firmware": "replaced"}}
    run = factory.new_evidence_run("psa-token", boards=3, level="key", wrong=wrong)
    assert run.start_agent().wait() == 1
    debugged, replaced, genuine = (board.chip_id for board in run.farm.boards)
    assert run.outcomes() == {debugged: "evidence_rejected", replaced: "level_insufficient", genuine: ""}
    assert [entry["chip_id"] for entry in factory.entries("issued", run)] == [genuine]
    refused = {entry["chip_id"]: entry["code"] for entry in factory.entries("refused", run)}
    assert refused == {debugged: "evidence_rejected", replaced: "level_insufficient"}


def test_replaced_firmware_is_enough_where_the_order_demands_a_chip(factory: Factory) -> None:
    wrong = {"0": {"firmware": "replaced"}}
    run = factory.new_evidence_run("psa-token", level="chip", wrong=wrong)
    assert run.start_agent().wait() == 0
    (entry,) = factory.entries("issued", run)
    assert (entry["level"], entry["measured"]) == ("chip", {})


def test_a_board_without_accepted_evidence_makes_no_key(factory: Factory) -> None:
    run = factory.new_evidence_run("x509", accepted=["tpm2"])
    assert run.start_agent().wait() == 1
    (board,) = run.farm.boards
    assert run.outcomes() == {board.chip_id: "no_common_method"}
    assert run.farm.view(board.number).spki_sha256 is None
    assert factory.entries("issued", run) == []


def test_everything_verifies_after_all_that(factory: Factory) -> None:
    factory.verify()
