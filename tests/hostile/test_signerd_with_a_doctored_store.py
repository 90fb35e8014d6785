"""A signerd that was taken over, with its database, its key holder and its ledger: what it then signs of the
anchors of chips, and an auditor that has nothing but the root and the log's key."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

from boards.attesters.port import Vendor
from boards.attesters.tpm2 import Tpm2Vendor
from harness.hostile_line import HostileLine
from harness.installation import Installation
from harness.process import COMMANDS, REPOSITORY
from harness.signerd_that_lies import DISORDER, LIES

pytestmark = pytest.mark.check

SCRIPT = REPOSITORY / "tests" / "harness" / "signerd_that_lies.py"
FOUND = 1  # exit code of the auditor


class LyingLine:
    """One installation whose signerd lies on command, and its auditor."""

    def __init__(self, directory: Path) -> None:
        self._control = directory / "lie"
        signerd: list[str | Path] = [sys.executable, SCRIPT, self._control]
        self.installation = Installation(directory / "installation", signerd=signerd)
        self.line = HostileLine(self.installation)
        self._config = self.installation.add_auditor("mallory-watcher").config

    def tell(self, lie: str) -> None:
        """From the next entry on."""
        self._control.write_text(lie, encoding="utf-8")

    def findings(self) -> dict[str, list[str]]:
        """New codes by chip id; those of no entry under ""."""
        command: list[str | Path] = [COMMANDS / "birthmark-auditor", "verify", "--json"]
        command += ["--config", self._config]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode in {0, FOUND}, done.stderr
        entries = list(self.line.entries())
        found = defaultdict(list)
        for event in map(json.loads, done.stdout.splitlines()):
            if event["event"] == "finding":
                chip = "" if event["entry"] is None else entries[event["entry"]]["chip_id"]
                found[chip].append(event["code"])
        return dict(found)


@pytest.fixture(scope="module")
def lying(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LyingLine]:
    lying = LyingLine(tmp_path_factory.mktemp("lying"))
    with lying.installation:
        yield lying
        lying.line.close()


VENDORS: dict[str, tuple[str, Vendor | None]] = {
    "hmac-sha256": ("hmac-sha256", None),
    "x509": ("x509", None),
    "psa-token": ("psa-token", None),
    "nrf91": ("nrf91", None),
    "tpm2, certified": ("tpm2", Tpm2Vendor()),
    "tpm2, imported": ("tpm2", Tpm2Vendor(certified=False)),
}


@pytest.mark.parametrize("name", VENDORS)
def test_entries_that_name_other_anchors_than_were_proved(lying: LyingLine, name: str) -> None:
    line, (method, vendor) = lying.line, VENDORS[name]
    order = line.open_order(product=line.product(method, vendor=vendor), level="chip", quantity=len(LIES) + 1)

    def certified() -> str:
        board = line.board(method, vendor=vendor)
        line.pc1.certify(order, board)
        return board.chip_id

    lying.tell("")
    certified()
    assert lying.findings() == {}
    (honest,) = [entry for entry in line.entries() if entry.get("work_order") == order and "anchors" in entry]
    truth = tuple(tuple(one) for one in honest["anchors"])
    lies = {}
    for lie, told in LIES.items():
        if sorted(told(truth), key=str) != sorted(truth, key=str):
            lying.tell(lie)
            lies[certified()] = lie
    lying.tell("")
    found = lying.findings()
    assert {lies[chip]: codes for chip, codes in found.items()} == {lie: ["F428"] for lie in lies.values()}


@pytest.mark.parametrize("lie", DISORDER)
def test_anchors_that_are_not_in_their_one_form(lying: LyingLine, lie: str) -> None:
    line = lying.line
    order, board = line.open_order(product=line.product("x509"), level="chip"), line.board("x509")
    lying.tell(lie)
    line.pc1.certify(order, board)
    lying.tell("")
    found = lying.findings()
    assert found.get(board.chip_id) == ["F202"]
    # The certificate of an entry that says nothing is one that the ledger does not have.
    assert set(found) == {board.chip_id, ""}
