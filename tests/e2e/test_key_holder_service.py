"""The key holder as a service: boards of orders that administrators signed, and of no others."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from harness.factory import WORK_ORDER
from harness.held_factory import HeldFactory

pytestmark = pytest.mark.check


@pytest.fixture(scope="module")
def factory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HeldFactory]:
    with HeldFactory(tmp_path_factory.mktemp("held")) as factory:
        yield factory


def test_boards_of_an_order_of_before_and_of_one_that_was_approved(factory: HeldFactory) -> None:
    old = factory.new_run(boards=2)
    assert old.start_agent().wait() == 0
    factory.finished_once(old)
    factory.open("WO-2", quantity=3)
    new = factory.run_of("WO-2", boards=3)
    assert new.start_agent().wait() == 0
    factory.finished_once(new)
    counted = {order["work_order"]: order["places"] for order in factory.status()["orders"]}
    assert counted == {WORK_ORDER: 2, "WO-2": 3}
    assert factory.verify()
