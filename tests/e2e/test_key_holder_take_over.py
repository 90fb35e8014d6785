"""`signerd key-holder take-over`, killed at each of its writes and given again; and what it takes along."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.forged_leaves import Forger
from harness.held_factory import ADMINISTRATORS, HeldFactory, Line
from harness.installation import DEPLOYMENT
from harness.key_holder_that_dies import COMMAND, ENVIRONMENT
from harness.process import run
from signerd.adapters.keyholder.protocol import Operation, Outcome
from signerd.core.approval.administrators import namespace_of

pytestmark = pytest.mark.check

KILLED = -9
# Before signerd's settings name the service: after that nothing is left to do.
POINTS = (
    "after settings",
    "before notes",
    "commit 1",
    "commit 2",
    "close 2",
    "after filling",
    "after giving",
)


class Interrupted(HeldFactory):
    """Orders were approved and closed, and administrators came and went, before a service took over."""

    shown: dict[str, tuple[bytes, ...]]  # by name: a statement and its signatures

    def take_over(self, *options: str | Path, expect: int = 0) -> str:
        self.installation.start_signerd()
        self._history()
        self.installation.process.stop()
        control = self.installation.directory / "point"
        dying: list[str | Path] = [*COMMAND, control]
        where = ("--to", self.settings, "--state", self.notes.parent, "--socket", self.service_socket)
        given = ("--config", self.installation.config, "--client", "root")
        before = self.installation.config.read_text("utf-8")
        for point in POINTS:
            control.write_text(point, "ascii")
            run([*dying, "key-holder", "take-over", *where, *given], expect=KILLED, environment=ENVIRONMENT)
            assert self.installation.config.read_text("utf-8") == before, point
        control.unlink()
        return super().take_over(*options, expect=expect)

    def _history(self) -> None:
        self.shown = {}
        self._approved("closed", "order", "open", self.order("WO-CLOSED", quantity=5))
        self.installation.admin("order", "close", "WO-CLOSED")
        self._approved("open", "order", "open", self.order("WO-OPEN", quantity=5))
        shared = self.order("WO-SHARED", quantity=5)
        shares = "quantity = 5\nshares = { main = 1, spare = 4 }\n"
        shared.write_text(shared.read_text("utf-8").replace("quantity = 5\n", shares), "utf-8")
        self._approved("shared", "order", "open", shared)
        give = ("order", "give-share", "WO-SHARED", "--places")
        self._approved("to main", *give, "3", "--from", "spare", "--to", "main")
        self._approved("from main", *give, "1", "--from", "main", "--to", "spare")
        for name, who in (("two", ADMINISTRATORS[:2]), ("three", ADMINISTRATORS)):
            keys = self.installation.directory / f"administrators-{name}"
            keys.write_text("".join(f"{each} {self.signers[each].public_text}\n" for each in who), "utf-8")
            self._approved(name, "approval", "administrators", keys, "--threshold", "2")

    def _approved(self, name: str, *command: str | Path) -> None:
        """As `approved`; and keeps what was signed."""
        self.approved(*command)
        directory = self.installation.directory
        request = max(
            (file for file in directory.glob("request-*") if file.suffix != ".sig"),
            key=lambda file: file.stat().st_mtime_ns,
        )
        text = request.read_bytes()
        self.shown[name] = (
            text,
            *(self.signers[each].sign(text, namespace_of(DEPLOYMENT)) for each in ("ann", "bob")),
        )


@pytest.fixture(scope="module")
def factory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Interrupted]:
    with Interrupted(tmp_path_factory.mktemp("interrupted")) as factory:
        yield factory


def test_after_each_crash_it_is_given_again_and_boards_are_made(factory: Interrupted) -> None:
    run = factory.run_of("WO-OPEN", boards=1)
    assert run.start_agent().wait() == 0
    assert {each["work_order"]: each["closed"] for each in factory.status()["orders"]}["WO-CLOSED"]
    assert factory.verify()


def test_what_was_approved_before_does_not_count_again(factory: Interrupted) -> None:
    forger = Forger(factory)
    before = factory.status()
    assert [each["name"] for each in before["administrators"]] == list(ADMINISTRATORS)
    assert {each["work_order"]: each["share"] for each in before["orders"]}["WO-SHARED"] == 1 + 3 - 1
    with Line(factory.service_socket, factory.issuer) as line:
        for name, shown in factory.shown.items():
            assert line.ask(Operation.SHOW_APPROVAL, *shown) == (Outcome.DONE, True), name
        assert factory.status()["administrators"] == before["administrators"]
        assert factory.status()["orders"] == before["orders"]
        order = forger.order("WO-CLOSED", quantity=5)
        assert line.ask(Operation.SIGN_CERTIFICATE, *forger.leaf(order, 1))[0] is Outcome.REFUSED
        assert forger.show(line, forger.statement(order))[0] is Outcome.REFUSED
