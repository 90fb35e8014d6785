from __future__ import annotations

import pytest
import structlog
from structlog.testing import capture_logs

from signerd.adapters.metrics import Metrics
from signerd.adapters.rpc.accounting import accountant
from signerd.adapters.rpc.gate import Account
from signerd.adapters.rpc.status import status_of
from signerd.errors import Code, Refused

STATION = "birthmark://dev/station/plant1/pc1"


@pytest.mark.parametrize(("code", "level"), [(Code.ORDER_FULL, "info"), (Code.RATE_LIMITED, "debug")])
def test_only_calls_within_the_rate_have_a_line_each(code: Code, level: str) -> None:
    metrics, refusal = Metrics(), Refused(code, "detail")
    with capture_logs() as lines:
        account = accountant(metrics, structlog.get_logger())
        account(Account("OpenSession", STATION, 0.001, status_of(refusal), refusal))
    assert [(line["code"], line["log_level"]) for line in lines] == [(code.value, level)]
    labels = {"rpc": "OpenSession", "code": code.value}
    assert metrics.registry.get_sample_value("signerd_calls_total", labels) == 1
