"""A signerd that was taken over, with its database, its key holder and its ledger: what it then signs of the
anchors of chips, and an auditor that has nothing but the root and the log's key."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from boards.attesters.certificate_writer import make_key, pem, root_authority
from boards.attesters.port import Vendor
from boards.attesters.tpm2 import Tpm2Attester, Tpm2Vendor
from boards.attesters.x509 import X509Attester
from harness.chip_chains import Chain, Made
from harness.hostile_line import HostileLine
from harness.installation import Installation, product_toml
from harness.paper_board import PaperBoard
from harness.process import COMMANDS, REPOSITORY
from harness.signerd_that_lies import DISORDER, IMPORT, LIES

pytestmark = pytest.mark.check

SCRIPT = REPOSITORY / "tests" / "harness" / "signerd_that_lies.py"
FOUND = 1  # exit code of the auditor


class LyingLine:
    """One installation whose signerd lies on command, and its auditor."""

    def __init__(self, directory: Path) -> None:
        self._control = directory / "lie"
        signerd: list[str | Path] = [sys.executable, SCRIPT, self._control]
        self.installation = Installation(directory / "installation", signerd=signerd)
        with self.installation.config.open(
            "a", encoding="utf-8"
        ) as config:  # it looks for no lies of its own
            config.write("\n[hygiene]\ndatabase_every_h = 0\n")
        self.line = HostileLine(self.installation)
        self._config = self.installation.add_auditor("mallory-watcher").config

    def tell(self, lie: str) -> None:
        """From the next entry on."""
        self._control.write_text(lie, encoding="utf-8")

    def forget(self, chip_id: str, *, kind: str = "") -> None:
        """What the database knows to be this chip's alone; all of it, or what is of one kind."""
        connection = sqlite3.connect(self.installation.home / "signerd.sqlite", timeout=10)
        with connection:
            gone = connection.execute(
                "DELETE FROM anchors WHERE chip IN (SELECT id FROM certified_chips WHERE chip_id = ?1)"
                " AND (?2 = '' OR kind = ?2)",
                (chip_id, kind),
            )
        connection.close()
        assert gone.rowcount > 0

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


def test_an_import_of_a_certified_key_that_never_was(lying: LyingLine) -> None:
    """A certified key may be imported as well, and its name stands in the import alone: imports count."""
    line, vendor = lying.line, Tpm2Vendor()
    product = line.product("tpm2", vendor=vendor)
    order = line.open_order(product=product, level="chip")
    lying.tell(IMPORT)
    line.pc1.certify(order, line.board("tpm2", vendor=vendor))
    lying.tell("")
    assert lying.findings() == {"": ["F316"]}
    # The same with an import is the truth.
    honest = Tpm2Vendor()
    product = line.product("tpm2", vendor=honest)
    board = line.board("tpm2", vendor=honest)
    assert isinstance(board.attester, Tpm2Attester)
    alone = replace(board.attester, chain=()).identity()
    assert alone is not None
    line.installation.add_identities([alone], product, "tpm2")
    line.pc1.certify(line.open_order(product=product, level="chip"), board)
    (issued,) = [e for e in line.entries() if e["type"] == "issued" and e["chip_id"] == board.chip_id]
    assert [kind for kind, *_ in issued["anchors"]] == ["imported", "key", "serial"]
    assert lying.findings() == {}


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


@pytest.mark.parametrize("name", VENDORS)
def test_a_store_that_forgot_a_chip(lying: LyingLine, name: str) -> None:
    """Its anchors are deleted, and signerd makes the chip another board."""
    line, (method, vendor) = lying.line, VENDORS[name]
    product = line.product(method, vendor=vendor)
    board = line.board(method, vendor=vendor)
    lying.tell("")
    line.pc1.certify(line.open_order(product=product, level="chip"), board)
    assert lying.findings() == {}
    again, order = board.twin(), line.open_order(product=product, level="chip")
    line.refused("chip_already_certified", lambda: line.pc1.certify(order, again))
    lying.forget(board.chip_id)
    line.pc1.certify(order, again)
    assert "F310" in lying.findings()[board.chip_id]


SILICON = root_authority("Doctored Silicon Root", make_key("p256"))
CAS = [Made(f"Doctored CA {number}", key=make_key("p256")) for number in (1, 2)]
SECTION = f'[evidence.x509]\nroots = ["""{pem(SILICON.certificate)}"""]\n'


def certified(chip_id: str, ca: Made) -> PaperBoard:
    """A chip of this name that one of the vendor's CAs certified."""
    chain = Chain(ca, Made(chip_id), root=SILICON)
    return PaperBoard(chip_id, attester=X509Attester(chain.key, chain.certificates))


def test_a_store_that_forgot_a_name(lying: LyingLine) -> None:
    line, names = lying.line, "one-name-each"
    line.installation.add_product(product_toml(names, methods=["x509"], sections=[SECTION]))
    order = line.open_order(product=names, level="chip")
    first, second = (certified("SERIAL-1", ca) for ca in CAS)
    line.pc1.certify(order, first)
    line.refused("chip_already_certified", lambda: line.pc1.certify(order, second))
    lying.forget("SERIAL-1", kind="name")
    line.pc1.certify(order, second)
    assert "F310" in lying.findings()["SERIAL-1"]


def test_two_methods_of_one_chip_are_no_finding(lying: LyingLine) -> None:
    """Its vendor's name, a personalization and a list say that it is one; nothing here is doctored."""
    line, names = lying.line, "two-ways"
    text = product_toml(names, methods=["x509", "hmac-sha256"], sections=[SECTION], chips="listed")
    line.installation.add_product(text)
    for ways in (0, 1), (1, 0):
        order = line.open_order(product=names, level="chip", reissue="always", quantity=1)
        burned = line.board()
        boards = burned, certified(burned.chip_id, CAS[0])
        line.installation.import_chips(order, [burned.chip_id])
        for way in ways:
            line.pc1.certify(order, boards[way])
        assert line.counts(order).places == 1
    assert lying.findings() == {}
