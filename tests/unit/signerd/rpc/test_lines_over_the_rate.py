"""Who may write nothing writes no line; once a minute one line says how many such calls there were."""

from __future__ import annotations

import asyncio

import pytest
import structlog
from structlog.testing import capture_logs

from signerd.adapters.metrics import Metrics
from signerd.adapters.rate_limit import RateLimiter
from signerd.adapters.rpc import accounting
from signerd.adapters.rpc.accounting import UnrecordedCalls, accountant
from signerd.adapters.rpc.gate import Account
from signerd.adapters.rpc.status import status_of
from signerd.errors import Code, Refused, Unrecorded

AUDITOR = "birthmark://dev/auditor/eve"
STATION = "birthmark://dev/station/plant1/pc1"


def call(refusal: Refused, caller: str | None = STATION) -> Account:
    return Account("OpenSession", caller, 0.001, status_of(refusal), refusal)


async def test_only_what_may_be_recorded_has_a_line_each() -> None:
    metrics = Metrics()
    with capture_logs() as lines:
        log = structlog.get_logger()
        unrecorded = UnrecordedCalls(log)
        account = accountant(metrics, log, unrecorded, RateLimiter(lambda: 0.0))
        account(call(Refused(Code.ORDER_FULL, "detail")))
        for _ in range(100):
            account(call(Unrecorded(Code.RATE_LIMITED, "detail")))
        for _ in range(7):
            account(call(Unrecorded(Code.PEER_REVOKED, "detail"), None))
        assert [(line["event"], line["code"]) for line in lines] == [("call", "order_full")]
        unrecorded.close()
    assert lines[1:] == [
        {
            "event": "calls_unrecorded",
            "log_level": "info",
            "codes": {"rate_limited": 100, "peer_revoked": 7},
            "callers": {STATION: 100, "nobody": 7},
        }
    ]
    for code, count in (("order_full", 1), ("rate_limited", 100), ("peer_revoked", 7)):
        labels = {"rpc": "OpenSession", "code": code}
        assert metrics.registry.get_sample_value("signerd_calls_total", labels) == count


async def test_the_line_comes_by_itself_and_only_where_there_is_something_to_say(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(accounting, "SUMMARY_S", 0.0)
    with capture_logs() as lines:
        unrecorded = UnrecordedCalls(structlog.get_logger())
        unrecorded.note(call(Unrecorded(Code.RATE_LIMITED, "")), "rate_limited")
        later = asyncio.Event()
        asyncio.get_running_loop().call_later(0.0, later.set)
        await later.wait()
        unrecorded.close()
    assert len(lines) == 1


async def test_the_line_and_its_memory_are_bounded() -> None:
    with capture_logs() as lines:
        unrecorded = UnrecordedCalls(structlog.get_logger())
        for number in range(10_000):
            unrecorded.note(call(Unrecorded(Code.RATE_LIMITED, ""), f"peer {number}"), "rate_limited")
        assert len(unrecorded._callers) == accounting._CALLERS + 1
        unrecorded.close()
    (line,) = lines
    assert len(line["callers"]) == accounting.NAMED
    assert line["codes"] == {"rate_limited": 10_000}


async def test_each_caller_has_so_many_lines() -> None:
    """Also of calls that are answered, as an auditor's are."""
    with capture_logs() as lines:
        log = structlog.get_logger()
        unrecorded = UnrecordedCalls(log)
        account = accountant(Metrics(), log, unrecorded, RateLimiter(lambda: 0.0))
        for _ in range(int(accounting.LINES.burst) + 7):
            account(Account("GetRecord", AUDITOR, 0.001, None, None))
        account(call(Refused(Code.ORDER_FULL, "detail")))
        unrecorded.close()
    assert sum(line.get("peer") == AUDITOR for line in lines) == accounting.LINES.burst
    assert lines[-2]["peer"] == STATION
    assert (lines[-1]["codes"], lines[-1]["callers"]) == ({"ok": 7}, {AUDITOR: 7})
