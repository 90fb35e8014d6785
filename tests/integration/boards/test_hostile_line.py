"""The line that attacks are tried on: genuine boards of every method pass, so that refusals say something."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import pytest

from boards.attesters.port import Vendor
from boards.attesters.psa_token import PsaVendor
from boards.attesters.tpm2 import Tpm2Vendor
from boards.vendors import METHODS
from harness.hostile_line import HostileLine
from harness.installation import Installation

pytestmark = pytest.mark.check

ATTESTED = [method for method in METHODS if method != "none"]


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HostileLine]:
    with Installation(tmp_path_factory.mktemp("line")) as installation:
        hostile = HostileLine(installation)
        yield hostile
        hostile.close()


@pytest.mark.parametrize("method", ATTESTED)
def test_genuine_boards_pass_under_a_product_of_their_own_and_of_all(line: HostileLine, method: str) -> None:
    for product in (line.product(method), line.product(*ATTESTED)):
        order = line.open_order(product=product, level="key")
        board = line.board(method)
        session, signed = line.pc1.certify(order, board)
        line.pc1.stamp(board, session, signed)
        (entry,) = [e for e in line.entries() if e["type"] == "issued" and e["chip_id"] == board.chip_id]
        assert (entry["method"], entry["level"]) == (method, "key")


@pytest.mark.parametrize("method", ["psa-token", "tpm2"])
def test_genuine_evidence_inside_the_csr_passes(line: HostileLine, method: str) -> None:
    order = line.open_order(product=line.product(method), level="key")
    line.pc1.certify(order, line.board(method, in_csr=True))


def test_a_bare_board_passes_on_the_list_of_an_order_that_demands_nothing(line: HostileLine) -> None:
    order, board = line.open_order(product=line.product("none"), level="none"), line.board("none")
    line.refused("chip_unknown", lambda: line.pc1.certify(order, board))
    line.installation.import_chips(order, [board.chip_id])
    line.pc1.certify(order, board)


def test_a_chip_that_was_not_locked_reaches_level_chip(line: HostileLine) -> None:
    board = line.board(locked=False)
    line.refused("level_insufficient", lambda: line.pc1.certify(line.open_order(level="key"), board))
    line.pc1.certify(line.open_order(level="chip"), board)


@pytest.mark.parametrize("method", ["psa-token", "nrf91"])
def test_a_genuine_chip_that_nobody_imported_is_unknown(line: HostileLine, method: str) -> None:
    order = line.open_order(product=line.product(method))
    line.refused("chip_unknown", lambda: line.pc1.certify(order, line.board(method, known=False)))
    line.pc1.certify(order, line.board(method))


@pytest.mark.parametrize(
    ("method", "vendor", "code"),
    [
        ("psa-token", PsaVendor(algorithm="ES384"), "chip_unknown"),
        ("tpm2", Tpm2Vendor(certified=False), "evidence_rejected"),
    ],
)
def test_another_vendor_is_trusted_by_the_product_that_names_it(
    line: HostileLine, method: str, vendor: Vendor, code: str
) -> None:
    theirs = line.open_order(product=line.product(method, vendor=vendor), level="key")
    line.pc1.certify(theirs, line.board(method, vendor=vendor))
    usual = line.open_order(product=line.product(method), level="key")
    line.refused(code, lambda: line.pc1.certify(usual, line.board(method, vendor=vendor)))


@pytest.mark.parametrize("algorithm", ["HMAC256", "HMAC512"])
def test_psa_tokens_under_keys_that_the_company_burned(
    line: HostileLine, algorithm: Literal["HMAC256", "HMAC512"]
) -> None:
    vendor = line.burned_psa_vendor(algorithm)
    order = line.open_order(product=line.product("psa-token", vendor=vendor), level="key")
    line.pc1.certify(order, line.board("psa-token", vendor=vendor))
    wrong = line.board("psa-token", vendor=vendor, key="other")
    line.refused("evidence_rejected", lambda: line.pc1.certify(order, wrong))


def test_a_twin_is_the_same_chip_with_another_key(line: HostileLine) -> None:
    order = line.open_order(product=line.product("x509"), level="key")
    board = line.board("x509")
    line.pc1.certify(order, board)
    line.refused("chip_already_certified", lambda: line.pc1.certify(order, board.twin()))


def test_parts_of_two_boards_change_places_by_hand(line: HostileLine) -> None:
    order = line.open_order(product=line.product("nrf91"))
    board, other = line.board("nrf91"), line.board("nrf91")
    session = line.pc1.open(order, board.chip_id)
    csr, evidence = board.request(session.challenge)
    swapped = board.evidence_for(session.challenge, other.csr())
    line.refused("evidence_rejected", lambda: line.pc1.sign(session, csr, swapped))
    line.pc1.sign(session, csr, evidence)
