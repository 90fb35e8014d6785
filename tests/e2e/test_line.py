"""The whole line by the real programs, boards on ptys and a real token."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from birthmark.proof.receipt import Receipt
from birthmark.v1 import audit_pb2, audit_pb2_grpc
from harness.audited import RPC_TIMEOUT_S
from harness.factory import LINE, WORK_ORDER, Factory
from harness.paper_tiles import files_of, write_tiles
from harness.process import run


def test_four_boards_at_once(factory: Factory) -> None:
    made = factory.new_run(boards=4, **LINE)
    assert made.start_agent().wait() == 0
    factory.finished_once(made)
    assert all(made.farm.view(board.number).sealed for board in made.farm.boards)
    factory.verify()


def test_boards_that_are_done_stay_as_they_are(factory: Factory) -> None:
    made = factory.new_run(boards=2, **LINE)
    assert made.start_agent().wait() == 0
    before = [record.SerializeToString() for record in factory.records(made)]
    assert made.start_agent().wait() == 0
    assert [record.SerializeToString() for record in factory.records(made)] == before


def _is_logged(factory: Factory, *arguments: str) -> list[dict[str, Any]]:
    command = factory.installation.commands / "birthmark-auditor"
    said = run([command, "is-logged", *arguments, "--config", factory.auditor.config])
    return [json.loads(line) for line in said.splitlines() if line.startswith("{")]


def test_a_board_is_in_the_ledger_by_each_way_of_asking(factory: Factory, tmp_path: Path) -> None:
    made = factory.new_run(boards=1, **LINE)
    factory.verify()
    assert made.start_agent().wait() == 0
    (record,) = factory.records(made)
    certificate, receipt, data = (tmp_path / name for name in ("board.der", "receipt", "entry"))
    certificate.write_bytes(record.certificate_der)
    (live,) = _is_logged(factory, str(certificate), "--live")
    factory.verify()
    assert _is_logged(factory, record.serial_number) == [live | {"asked": record.serial_number}]
    with factory.audit_channel() as channel:
        audit = audit_pb2_grpc.AuditServiceStub(channel)
        head = audit.GetCheckpoint(audit_pb2.GetCheckpointRequest(), timeout=RPC_TIMEOUT_S).checkpoint
        size = int(head.split(b"\n")[1])
        asked = audit_pb2.StreamEntriesRequest(start=0, end=size)
        answers = audit.StreamEntries(asked, timeout=RPC_TIMEOUT_S)
        entries = [entry for answer in answers for entry in answer.entries]
        request = audit_pb2.GetInclusionProofRequest(index=record.issued_index, tree_size=size)
        proof = tuple(audit.GetInclusionProof(request, timeout=RPC_TIMEOUT_S).hashes)
    write_tiles(tmp_path / "tiles", files_of(entries), head)
    (by_tiles,) = _is_logged(factory, str(certificate), "--tiles", str(tmp_path / "tiles"))
    assert by_tiles == live | {"tree_size": size}
    assert (live["state"], live["issued_entry"]) == ("stamped", record.issued_index)
    receipt.write_bytes(Receipt(record.issued_index, proof, head).data())
    data.write_bytes(entries[record.issued_index])
    (shown,) = _is_logged(factory, str(certificate), "--receipt", str(receipt), "--entry", str(data))
    assert (shown["issued_entry"], shown["whole"]) == (record.issued_index, False)


@pytest.mark.check
def test_the_production_file_of_the_order_holds(factory: Factory, tmp_path: Path) -> None:
    made = factory.new_run(boards=2, **LINE)
    assert made.start_agent().wait() == 0
    factory.installation.admin("crl", "--out", tmp_path / "crl.der")
    factory.verify()
    command: list[str | Path] = [factory.installation.commands / "birthmark-auditor", "report"]
    config: list[str | Path] = ["--config", factory.auditor.config]
    archive = tmp_path / "order.zip"
    asked: list[str | Path] = ["--order", WORK_ORDER, "--out", archive, "--crl", tmp_path / "crl.der"]
    produced = json.loads(run([*command, *asked, *config]))
    assert produced["stamped"] >= 2
    assert (produced["records"], produced["open_findings"]) == (True, 0)
    verified = json.loads(run([*command, "--verify", archive, *config]))
    assert (verified["holds"], verified["problems"]) == (True, [])
    assert verified["sha256"] == produced["sha256"]
    assert verified["certificates"] == produced["certificates"] == sum(verified["evidence"].values())
