"""The verdicts on records whose evidence a vendor's or imported key signed: the ledger says no more than it
shows, and names the key and the anchors that it proves."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from auditor.core.books import Basis
from auditor.core.identities import Identities, read_identities
from auditor.core.product import read_product
from auditor.errors import CheckFailed
from boards.attesters.nrf91 import Nrf91Vendor
from boards.attesters.port import Vendor
from boards.attesters.psa_token import PsaVendor
from boards.attesters.tpm2 import Tpm2Vendor
from boards.attesters.x509 import X509Vendor
from harness.audit_bench import opened
from harness.audit_of_values import ValueAudit
from harness.paper_log import Board, PaperLog, product_with

APP = {"app": "1.2.0"}
MODEM = "50363154-3931-44f0-8022-121b6401627d"
# Vendor, what its evidence measures, chip, whether its keys are imported.
PLANTS: dict[str, tuple[Callable[[], Vendor], dict[str, str], str, bool]] = {
    "x509": (X509Vendor, APP, "CHIP-000001", False),
    "psa-token": (PsaVendor, {"spe": "2.1.0"} | APP, "CHIP-000001", True),
    "nrf91": (Nrf91Vendor, {"modem": "1.3.6"}, MODEM, True),
    "tpm2": (Tpm2Vendor, {}, "CHIP-000001", False),
    "tpm2 imported": (lambda: Tpm2Vendor(certified=False), {}, "CHIP-000001", True),
}
IMPORTED = [name for name, plant in PLANTS.items() if plant[3]]


class Plant:
    """One board of a method, its entry changed in some members."""

    def __init__(self, name: str, **changes: Any) -> None:
        make, measured, chip, imported = PLANTS[name]
        vendor: Any = make()
        now = datetime.now(UTC).replace(microsecond=0)  # vendors' certificates begin today
        self.log: PaperLog = opened(product=product_with(vendor), level="chip", now=now)
        self.method = name.partition(" ")[0]
        if imported:
            self.log.import_identities(self.method, 1)
        self.attester: Any = vendor.attester(chip)
        members = {"chip": chip, "measured": measured} | changes
        self.board: Board = self.log.issue(1, attester=self.attester, **members)
        self.stranger: Any = vendor.attester(chip)

    def listed(self, attester: Any) -> Identities:
        return read_identities([json.dumps(attester.identity())])

    def basis(self, identities: Identities | None = None) -> Basis:
        audit = ValueAudit(self.log)
        audit.read()  # what the entries say against each other is of no concern here
        product = read_product(self.log.product_toml.encode())
        return audit.check(self.board, product=product, identities=identities).basis

    def code(self, identities: Identities | None = None) -> str:
        try:
            self.basis(identities)
        except CheckFailed as error:
            return error.code.name
        return ""


@pytest.mark.parametrize("name", PLANTS)
def test_genuine_evidence_is_verified_again(name: str) -> None:
    plant = Plant(name)
    assert ValueAudit(plant.log).read() == []
    assert plant.basis() is Basis.SIGNATURE


@pytest.mark.parametrize("name", PLANTS)
def test_evidence_over_another_challenge_does_not_hold(name: str) -> None:
    assert Plant(name, over={"challenge": bytes(32)}).code() == "EVIDENCE_FALSE"


@pytest.mark.parametrize("name", PLANTS)
def test_the_key_that_signed_is_the_ledgers(name: str) -> None:
    assert Plant(name, attester_sha256="00" * 32).code() == "ATTESTER"


@pytest.mark.parametrize("name", ["x509", "psa-token", "nrf91"])
def test_the_ledger_says_no_other_firmware_than_was_measured(name: str) -> None:
    assert Plant(name).code() == ""
    assert Plant(name, measured={}).code() == "EVIDENCE_LEVEL"


@pytest.mark.parametrize("name", PLANTS)
def test_anchors_are_those_that_the_evidence_proves(name: str) -> None:
    honest = Plant(name)
    said = json.loads(honest.log.entries[honest.board.issued_index])["anchors"]
    assert said
    assert Plant(name, anchors=said[:-1]).code() == "ANCHORS"


@pytest.mark.parametrize("name", IMPORTED)
def test_an_imported_key_is_on_the_companys_list_for_this_chip(name: str) -> None:
    plant = Plant(name)
    assert plant.code(plant.listed(plant.attester)) == ""
    assert plant.code(Identities.joined([])) == "ATTESTER"


def test_an_imported_tpm_has_the_name_of_its_import_among_its_anchors() -> None:
    plant = Plant("tpm2 imported")
    said = json.loads(plant.log.entries[plant.board.issued_index])["anchors"]
    assert [kind for kind, _, _ in said] == ["imported", "key"]
    name = bytes.fromhex(said[0][2])
    for wrong in (said[1:], [["imported", None, (b"\x00\x0c" + name[2:]).hex()], said[1]]):
        assert Plant("tpm2 imported", anchors=wrong).code() == "ANCHORS"


@pytest.mark.parametrize("name", ["psa-token", "tpm2"])
def test_evidence_inside_the_csr_is_the_records(name: str) -> None:
    assert Plant(name, inside=True).code() == ""
    assert Plant(name, inside=True, evidence=b"other").code() == "EVIDENCE"


def test_evidence_that_shows_less_than_the_ledgers_level() -> None:
    """Without measurements in the product, the vendor's key shows level `chip`."""
    plant = Plant("x509", measured={}, level="chip")
    higher = Plant("x509", measured={}, level="key")
    for each in (plant, higher):
        each.log.product_toml = _without_measurements(each.log.product_toml)
    assert plant.code() == ""
    assert higher.code() == "EVIDENCE_LEVEL"


def _without_measurements(product: str) -> str:
    bare = re.sub(r"\nmeasurements = [^\n]*", "", product)
    assert bare != product
    return bare
