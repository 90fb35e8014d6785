"""The production file of an order of 100,000 boards: made in under a minute, verified in bounded memory."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from auditor.adapters.report.making import Subject
from birthmark.v1 import audit_pb2
from harness.audit_bench import bench, opened
from harness.paper_certificates import pem
from harness.paper_log import ORDER, vkey
from harness.paper_server import PaperService
from harness.production_files import made

BOARDS = 100_000
MAKE_S = 60.0  # of CPU, the paper log's in the same process included: what else runs here does not count
VERIFY_MB = 300  # of the largest of its processes
# Of a process that this one starts itself, Linux tells the size of this one, which holds the whole log.
MEASURED = (
    "import resource, subprocess, sys; done = subprocess.run(sys.argv[1:])\n"
    "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024); sys.exit(done.returncode)"
)


class ByNumber(PaperService):
    """Finds a page of records by their ids, as a database does: looking at each would take longer than all
    that is measured."""

    def FindRecords(self, request: Any, context: Any) -> audit_pb2.FindRecordsResponse:  # noqa: ARG002, N802
        begin, records = request.after_record_id, self.log.records
        end = begin + request.page_size
        return audit_pb2.FindRecordsResponse(records=records[begin:end], more=end < len(records))


@pytest.mark.soak
@pytest.mark.timeout(6_000)
def test_an_order_of_a_hundred_thousand(tmp_path: Path) -> None:
    log = opened(quantity=BOARDS)
    log.personalize(BOARDS)
    for number in range(1, BOARDS + 1):
        log.stamp(log.issue(number))
    archive = tmp_path / "order.zip"
    with bench(log, tmp_path / "state", ByNumber(log)) as verified:
        # Records are not judged here, which takes minutes: `report` holds them against their entries anyway.
        verified.grpc_log.has_records = False
        assert verified.verify().clean
        verified.grpc_log.has_records = True
        began = time.monotonic(), time.process_time()
        produced = made(verified, archive, Subject(order=ORDER))
        took, cpu = time.monotonic() - began[0], time.process_time() - began[1]
    print(f"{BOARDS} boards, {produced.size} bytes: made in {took:.1f} s, {cpu:.1f} s of CPU with the log's")
    assert produced.manifest.counts["stamped"] == BOARDS
    assert cpu < MAKE_S
    (tmp_path / "log.vkey").write_text(vkey(log.log_key))
    (tmp_path / "root.pem").write_bytes(pem(log.root.certificate))
    command = [
        "-m",
        "auditor",
        "report",
        "--verify",
        str(archive),
        "--json",
        "--vkey",
        str(tmp_path / "log.vkey"),
    ]
    command += ["--root", str(tmp_path / "root.pem")]
    began = time.monotonic(), 0.0
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, sys.executable, *command],
        check=False, capture_output=True, text=True, timeout=3_000,
    )  # fmt: skip
    *_, said, largest = done.stdout.splitlines()
    print(f"verified in {time.monotonic() - began[0]:.1f} s, {largest} MB")
    found = json.loads(said)
    assert (done.returncode, found["holds"], found["evidence"]) == (0, True, {"mac": BOARDS})
    assert int(largest) < VERIFY_MB
