"""The key holder as a service: boards of orders that administrators signed, and of no others."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest

from harness.factory import WORK_ORDER
from harness.held_factory import HeldFactory
from harness.process import run
from harness.signerd_commands import signerd

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


def test_an_order_of_which_another_key_holder_has_a_share(factory: HeldFactory) -> None:
    order = factory.order("WO-3", quantity=3)
    terms = order.read_text("utf-8")

    def share(main: int, other: int) -> None:
        said = f"quantity = 3\nshares = {{ main = {main}, other = {other} }}\n"
        order.write_text(terms.replace("quantity = 3\n", said), "utf-8")

    share(1, 1)
    assert "shares come to 2, not to the quantity" in signerd(factory.installation, "order", "open", order)[1]
    share(1, 2)
    factory.approved("order", "open", order)
    line = factory.run_of("WO-3", boards=2)
    assert line.start_agent().wait() == 1
    assert sorted(line.outcomes().values()) == ["", "order_full"]
    give = ("order", "give-share", "WO-3", "--from", "other", "--to", "main", "--places", "2")
    assert "2 places of WO-3 are main's" in factory.approved(*give)
    assert line.start_agent().wait() == 0
    factory.finished_once(line)
    release = (factory.installation.commands / "signerd", "key-holder", "release", "-c", factory.settings)
    run([*release, "WO-3", "2"], expect=1)
    assert "2 places of WO-3 stay with this key holder" in run([*release, "WO-3", "1"])
    assert {each["share"] for each in factory.status()["orders"] if each["work_order"] == "WO-3"} == {2}
    assert factory.verify()


def test_the_logs_key_gets_a_successor_in_the_service(factory: HeldFactory) -> None:
    add = ("checkpoint-key", "add", "--key-holder", factory.settings)
    said = factory.approved(*add)
    key = re.search(r"^key ([0-9a-f]{8}) is announced", said, re.MULTILINE)
    assert key is not None
    factory.restart()
    factory.installation.admin("checkpoint-key", "activate", key[1])
    certified(factory)
    first, second = json.loads(factory.installation.admin("checkpoint-key", "list", "--json"))
    with (factory.station.directory / "log.vkey").open("a", encoding="utf-8") as pinned:
        pinned.write(f"{second['vkey']}\n")
    factory.approved("checkpoint-key", "retire", first["key"], "--reason", "superseded")
    certified(factory)
    assert factory.verify()


def certified(factory: HeldFactory) -> None:
    line = factory.new_run(boards=1)
    assert line.start_agent().wait() == 0
    factory.finished_once(line)
