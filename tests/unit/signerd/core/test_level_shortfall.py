"""Evidence that holds and reaches too little: the log says what is missing, and what would mend it."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from typing import Any

import pytest

from signerd.core.names import Level, Reissue
from signerd.core.order import WorkOrder
from signerd.core.policy import check_level
from signerd.errors import Code, Refused

ORDER = WorkOrder(
    work_order="WO-1",
    product="sensor",
    product_sha256=bytes(32),
    quantity=1,
    not_before=datetime(2026, 1, 1, tzinfo=UTC),
    not_after=datetime(2027, 1, 1, tzinfo=UTC),
    stations=(),
    level=Level.KEY,
    minimum_firmware={},
    serial_pattern="S-{number}",
    serial_start=1,
    reissue=Reissue.NEVER,
    settings=b"\xa0",
    bundle=None,
)


@dataclasses.dataclass
class Reached:
    """As far as the policy looks at evidence; the real one is only made by verifying some."""

    method: str
    level: Level


@pytest.mark.parametrize(
    ("method", "level", "said"),
    [
        ("hmac-sha256", Level.CHIP, "the chip was not personalized as locked"),
        ("psa-token", Level.CHIP, "firmware that the product does not accept, or a MAC of a chip"),
        ("x509", Level.CHIP, "no firmware, or firmware that the product does not accept"),
        ("nrf91", Level.CHIP, "no firmware, or firmware that the product does not accept"),
        ("none", Level.NONE, "the station's word alone"),
    ],
)
def test_what_is_missing(method: str, level: Level, said: str) -> None:
    enough: Any = Reached(method, Level.KEY)
    check_level(enough, ORDER)
    less: Any = Reached(method, level)
    with pytest.raises(Refused) as refused:
        check_level(less, ORDER)
    assert refused.value.code is Code.LEVEL_INSUFFICIENT
    assert f"the evidence reaches level {level.label}, and the order demands key: " in refused.value.detail
    assert said in refused.value.detail
