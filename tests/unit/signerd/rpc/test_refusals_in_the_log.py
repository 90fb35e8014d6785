"""Whoever has a board in hand finds what became of it in the log by what stands on the board."""

from __future__ import annotations

import structlog
from structlog.testing import capture_logs

from signerd.adapters.metrics import Metrics
from signerd.adapters.rate_limit import RateLimiter
from signerd.adapters.rpc.accounting import UnrecordedCalls, accountant
from signerd.adapters.rpc.gate import Account, Subject
from signerd.adapters.rpc.status import status_of
from signerd.errors import Code, Refused

STATION = "birthmark://dev/station/plant1/pc1"


REFUSAL = Refused(Code.EVIDENCE_REJECTED, "the lifecycle is not secured")


def line_of(subject: Subject, refusal: Refused | None = REFUSAL) -> dict[str, object]:
    with capture_logs() as lines:
        log = structlog.get_logger()
        account = accountant(Metrics(), log, UnrecordedCalls(log), RateLimiter(lambda: 0.0))
        status = None if refusal is None else status_of(refusal)
        account(Account("SignCsr", STATION, 0.001, status, refusal, subject))
    (line,) = lines
    return dict(line)


def test_a_refusal_names_the_board_and_the_reason() -> None:
    line = line_of(Subject(work_order="WO-1", chip_id="chip:a", csr_sha256=bytes(32)))
    assert (line["work_order"], line["chip_id"]) == ("WO-1", "chip:a")
    assert line["detail"] == "the lifecycle is not secured"


def test_a_session_that_never_came_to_a_request_is_found_by_its_board_with_the_version_that_tried() -> None:
    line = line_of(Subject(work_order="WO-1", chip_id="chip:a", agent="1.2.0"), refusal=None)
    assert (line["code"], line["chip_id"], line["agent"]) == ("ok", "chip:a", "1.2.0")


def test_what_is_not_known_is_left_out() -> None:
    assert not {"work_order", "chip_id", "agent"} & line_of(Subject()).keys()
