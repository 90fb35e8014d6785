"""A genuine log whose evidence lies: signerd certified what its evidence does not show.

The ledger and the record agree in each of these lies; only who verifies the evidence again can tell.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from cryptography import x509

from auditor.cli.values import report_values
from auditor.core.books import Basis
from auditor.core.identities import Identities, read_identities
from boards.attesters.nrf91 import Nrf91Vendor
from boards.attesters.nrf91 import Wrong as WrongModem
from boards.attesters.port import Attester, Vendor
from boards.attesters.psa_token import PsaVendor
from boards.attesters.tpm2 import Tpm2Vendor
from boards.attesters.x509 import X509Vendor
from harness.audit_bench import bench, opened
from harness.paper_certificates import csr, new_key, spki
from harness.paper_log import Board, PaperLog, product_with, spki_of

OID = "1.3.6.1.4.1.32473.1"
APP = {"app": "1.2.0"}
FIRST, SECOND = "50363154-3931-44f0-8022-121b6401627d", "50363154-3931-44f0-8022-121b6401627e"


@dataclass
class Plant:
    """A log with an order, and boards of one method."""

    log: PaperLog
    vendor: Any
    measured: dict[str, str]
    chips: tuple[str, str] = ("CHIP-000001", "CHIP-000002")
    made: list[Attester] = field(default_factory=list)

    def issue(
        self,
        number: int = 1,
        *,
        attester: Attester | None = None,
        wrong: dict[str, Any] | None = None,
        **rest: Any,
    ) -> Board:
        """A board of the vendor, `wrong` in what the vendor knows; `rest` as `PaperLog.issue` has it."""
        chip = self.chips[number - 1]
        attester = attester or self.vendor.attester(chip, **(wrong or {}))
        self.made.append(attester)
        return self.log.issue(number, attester=attester, **{"chip": chip, "measured": self.measured} | rest)

    def list(self) -> Identities:
        """The company's own list, of the chips as the vendor made them."""
        return read_identities(json.dumps(self.vendor.attester(chip).identity()) for chip in self.chips)


def plant(
    vendor: Vendor, measured: dict[str, str], *, rules: str = "", level: str = "key", **terms: Any
) -> Plant:
    now = datetime.now(UTC).replace(microsecond=0)
    log = opened(product=product_with(vendor, rules=rules), level=level, now=now, **terms)
    return Plant(log, vendor, measured)


def dice(**terms: Any) -> Plant:
    return plant(X509Vendor(), APP, **terms)


def psa(**terms: Any) -> Plant:
    made = plant(PsaVendor(), {"spe": "2.1.0"} | APP, **terms)
    made.log.import_identities("psa-token", 2)
    return made


def psa_mac(**terms: Any) -> Plant:
    vendor = PsaVendor(algorithm="HMAC384", secrets={f"CHIP-00000{number}": bytes(48) for number in (1, 2)})
    made = plant(vendor, {"spe": "2.1.0"} | APP, **terms)
    made.log.personalize(2, key="psa-iak-sha384")
    return made


def modem(**terms: Any) -> Plant:
    made = plant(Nrf91Vendor(), {"modem": "1.3.6"}, **terms)
    made.chips = (FIRST, SECOND)
    made.log.import_identities("nrf91", 2)
    return made


def tpm(**terms: Any) -> Plant:
    return plant(Tpm2Vendor(), {}, **terms)


def tpm_imported(**terms: Any) -> Plant:
    made = plant(Tpm2Vendor(certified=False), {}, **terms)
    made.log.import_identities("tpm2", 2)
    return made


PLANTS: dict[str, tuple[Callable[[], Plant], Basis]] = {
    "x509": (dice, Basis.SIGNATURE),
    "psa-token": (psa, Basis.SIGNATURE),
    "psa-token with a MAC": (psa_mac, Basis.MAC),
    "nrf91": (modem, Basis.SIGNATURE),
    "tpm2": (tpm, Basis.SIGNATURE),
    "tpm2 imported": (tpm_imported, Basis.SIGNATURE),
}


@pytest.mark.parametrize("name", PLANTS)
def test_genuine_evidence_is_rechecked(tmp_path: Path, name: str) -> None:
    make, basis = PLANTS[name]
    made = make()
    made.log.stamp(made.issue(1))
    made.issue(2)
    with bench(made.log, tmp_path) as audit:
        report = audit.verify()
        assert [finding.detail for finding in report.new] == []
        assert report.bases == {made.made[0].method: {basis: 2}}


@pytest.mark.parametrize("name", ["psa-token", "nrf91", "tpm2 imported"])
def test_keys_on_the_companys_own_list(tmp_path: Path, name: str) -> None:
    made = PLANTS[name][0]()
    made.issue(1)
    with bench(made.log, tmp_path / "with", identities=made.list()) as audit:
        assert audit.codes() == []
    with bench(made.log, tmp_path / "without", identities=Identities({})) as audit:
        assert audit.codes() == [("ATTESTER", _last(made))]


@pytest.mark.parametrize("make", [psa, tpm])
def test_evidence_inside_the_csr(tmp_path: Path, make: Callable[[], Plant]) -> None:
    made = make()
    made.issue(1, inside=True)
    with bench(made.log, tmp_path) as audit:
        assert audit.codes() == []


@pytest.mark.parametrize("make", [psa, tpm])
def test_other_evidence_than_the_one_inside_the_csr(tmp_path: Path, make: Callable[[], Plant]) -> None:
    made = make()
    first = made.issue(1, inside=True)
    made.issue(2, inside=True, evidence=first.record.evidence.evidence)
    with bench(made.log, tmp_path) as audit:
        assert audit.codes() == [("EVIDENCE", _last(made))]


def _last(made: Plant) -> int:
    return len(made.log.entries) - 1


@pytest.mark.parametrize("name", PLANTS)
@pytest.mark.parametrize("lie", ["challenge", "chip", "csr", "missing", "cut", "swapped"])
def test_evidence_of_another_session_chip_or_request(tmp_path: Path, name: str, lie: str) -> None:
    made = PLANTS[name][0]()
    first = made.issue(1).record.evidence.evidence
    match lie:
        case "challenge":
            made.issue(2, over={"challenge": bytes(32)})
        case "chip":
            made.issue(2, over={"chip": made.chips[0]})
        case "csr":
            made.issue(2, over={"csr": csr(new_key())})
        case "missing":
            made.issue(2, evidence=b"")
        case "cut":
            made.issue(2, evidence=first[:-1])
        case _:
            made.issue(2, evidence=first)
    with bench(made.log, tmp_path) as audit:
        assert audit.codes() == [("EVIDENCE_FALSE", _last(made))]


@pytest.mark.parametrize("name", ["psa-token", "nrf91", "tpm2 imported"])
def test_evidence_and_key_of_another_chip(tmp_path: Path, name: str) -> None:
    made = PLANTS[name][0]()
    first = made.issue(1).record
    index = made.issue(2, evidence=first.evidence.evidence, attester_spki=first.attester_spki).issued_index
    with bench(made.log, tmp_path) as audit:
        assert audit.codes() == [("ATTESTER", index), ("EVIDENCE_FALSE", index)]


@pytest.mark.parametrize(
    ("make", "wrong"),
    [
        (dice, {"root": "another"}),
        (dice, {"validity": "expired"}),
        (dice, {"leaf_ca": True}),
        (dice, {"path": "too-long"}),
        (dice, {"names": ("CHIP-000002",)}),
        (dice, {"flags": (3,)}),
        (psa, {"lifecycle": "unknown"}),
        (psa, {"implementation_id": bytes(32)}),
        (psa, {"key": "other"}),
        (psa_mac, {"lifecycle": "provisioning"}),
        (modem, {"wrong": WrongModem(nonce=bytes(16))}),
        (tpm, {"certificate": "other root"}),
        (tpm, {"certificate": "expired"}),
        (tpm, {"cleared": ("sensitiveDataOrigin",)}),
        (tpm_imported, {"also_set": ("restricted",)}),
        (tpm_imported, {"hash": "sha1"}),
    ],
)  # fmt: skip
def test_evidence_that_never_held(tmp_path: Path, make: Callable[[], Plant], wrong: dict[str, Any]) -> None:
    made = make()
    made.issue(1, wrong=wrong)
    with bench(made.log, tmp_path) as audit:
        report = audit.verify()
        assert [(finding.code.name, finding.index) for finding in report.new] == [
            ("EVIDENCE_FALSE", _last(made))
        ]
        assert report.bases == {made.made[0].method: {Basis.FALSE: 1}}


@pytest.mark.parametrize(
    ("make", "wrong"),
    [
        (dice, {"digest": sha256(b"replaced").digest()}),
        (dice, {"digest": None}),
        (dice, {"flags": (4,)}),
        (psa, {"firmware": "replaced"}),
        (psa_mac, {"firmware": "one more"}),
        (modem, {"wrong": WrongModem(firmware=UUID(int=1))}),
    ],
)
def test_replaced_firmware_that_is_called_level_key(
    tmp_path: Path, make: Callable[..., Plant], wrong: dict[str, Any]
) -> None:
    made = make(level="chip")
    made.issue(1, wrong=wrong, level="chip", measured={})
    made.issue(2, wrong=wrong)
    with bench(made.log, tmp_path) as audit:
        assert audit.codes() == [("EVIDENCE_LEVEL", _last(made))]


@pytest.mark.parametrize("measured", [{}, {"boot": "1.0.0"}, APP | {"boot": "1.0.0"}])
@pytest.mark.parametrize("make", [dice, psa, modem])
def test_measured_is_what_the_evidence_measures(
    tmp_path: Path, make: Callable[[], Plant], measured: dict[str, str]
) -> None:
    made = make()
    made.issue(1, measured=measured)
    with bench(made.log, tmp_path) as audit:
        assert audit.codes() == [("EVIDENCE_LEVEL", _last(made))]


def test_measured_otherwise_in_the_record(tmp_path: Path) -> None:
    made = dice()
    board = made.issue(1)
    board.record.measured["app"] = "1.3.0"
    with bench(made.log, tmp_path) as audit:
        assert audit.codes() == [("RECORD_DIFFERS", board.issued_index)]


def test_another_key_than_the_ledgers(tmp_path: Path) -> None:
    made = modem()
    made.issue(1, attester_sha256="00" * 32)
    with bench(made.log, tmp_path) as audit:
        assert audit.codes() == [("ATTESTER", _last(made))]


def test_a_certified_key_other_than_the_one_that_signed(tmp_path: Path) -> None:
    made = dice()
    other = made.vendor.attester("other")
    made.issue(1, attester_spki=spki_of(other, other.attest(b"", b"")))
    with bench(made.log, tmp_path) as audit:
        assert audit.codes() == [("ATTESTER", _last(made))]


def test_one_imported_key_for_two_chips(tmp_path: Path) -> None:
    for form, code in ((1, "ATTESTER"), (2, "CHIP_TWICE")):
        made = psa(form=form)
        made.issue(1)
        made.issue(2, attester=made.made[0])
        with bench(made.log, tmp_path / f"two {form}") as audit:
            assert audit.codes() == [(code, _last(made))]
    key = new_key()
    made = psa(reissue="always")
    first = made.issue(1)
    made.log.revoke(first, reason="superseded", superseded_by=sha256(spki(key)).hexdigest())
    made.issue(1, key=key, supersedes=first.certificate_sha256)
    with bench(made.log, tmp_path / "one again") as audit:
        assert audit.codes() == []


def test_one_certified_key_for_two_chips(tmp_path: Path) -> None:
    """The vendor certified it anew, under another name: all that each certificate proves is true."""
    made = dice(form=1)
    first = made.issue(1)
    key = made.made[0].key  # type: ignore[attr-defined]  # an x509 attester's
    made.issue(2, attester=made.vendor.attester(made.chips[1], key=key))
    with bench(made.log, tmp_path) as audit:
        (finding,) = audit.verify().new
    assert (finding.code.name, finding.index) == ("ATTESTER", _last(made))
    assert (
        finding.detail == f"the attestation key is that of chip {made.chips[0]} in entry {first.issued_index}"
    )
    assert (finding.expected, finding.found) == made.chips


def test_one_key_for_two_chips_by_two_methods(tmp_path: Path) -> None:
    made = dice()
    attester = made.issue(1).record.attester_spki
    made.issue(2, attester_sha256=sha256(attester).hexdigest(), method="tpm2")
    with bench(made.log, tmp_path) as audit:
        details = [each.detail for each in audit.verify().new if each.code.name == "ATTESTER"]
    assert any(
        detail.startswith(f"the attestation key is that of chip {made.chips[0]}") for detail in details
    )


def test_a_modem_in_software_is_found_with_the_companys_list_alone(tmp_path: Path) -> None:
    made = modem()
    made.issue(1, attester=Nrf91Vendor().attester(FIRST))
    with bench(made.log, tmp_path / "without") as audit:
        assert audit.codes() == []
    with bench(made.log, tmp_path / "with", identities=made.list()) as audit:
        assert audit.codes() == [("ATTESTER", _last(made))]


def test_another_products_file(tmp_path: Path) -> None:
    made = dice()
    opened_index = made.log.orders["WO-1"].opened_index
    board = made.issue(1)
    made.log.lie_product = lambda _: product_with(X509Vendor())
    with bench(made.log, tmp_path) as audit:
        report = audit.verify()
        assert [(finding.code.name, finding.index) for finding in report.new] == [
            ("PRODUCT_FILE", opened_index)
        ]
        assert report.bases == {"x509": {Basis.UNCHECKED: 1}}
        made.log.lie_product = str
        made.log.stamp(board)
        assert audit.verify().bases == {"x509": {Basis.SIGNATURE: 1}}


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace('"sensor"', '"other"'),
        lambda text: text.replace("chip_id =", "chip ="),
        lambda text: text.replace("[evidence]", "[evidence"),
        lambda text: text + "\n" * 32_768,
    ],
    ids=["name", "unknown rule", "no TOML", "too large"],
)
def test_a_product_file_that_cannot_be_judged_by(tmp_path: Path, change: Callable[[str], str]) -> None:
    made = dice()
    log = opened(product=change(made.log.product_toml), level="key", now=made.log.now)
    index = log.orders["WO-1"].opened_index
    Plant(log, made.vendor, APP).issue(1)
    with bench(log, tmp_path) as audit:
        assert audit.codes() == [("PRODUCT_FILE", index)]


def test_a_method_that_the_product_does_not_accept(tmp_path: Path) -> None:
    made = dice(level="chip")
    index = made.log.issue(1, level="chip").issued_index
    with bench(made.log, tmp_path) as audit:
        assert audit.codes() == [("EVIDENCE_FALSE", index)]


def test_certificates_are_judged_at_the_time_of_the_entry(tmp_path: Path) -> None:
    vendor = Tpm2Vendor()  # its `expired` certificates were valid for an hour, two days ago
    then = datetime.now(UTC).replace(microsecond=0) - timedelta(days=2) + timedelta(minutes=30)
    log = opened(product=product_with(vendor), level="key", now=then)
    made = Plant(log, vendor, {})
    made.issue(1, wrong={"certificate": "expired"})
    log.now += timedelta(hours=1)
    index = made.issue(2, wrong={"certificate": "expired"}).issued_index
    with bench(log, tmp_path) as audit:
        assert audit.codes() == [("EVIDENCE_FALSE", index)]


def test_an_intent_that_a_crash_held_up_is_judged_at_its_beginning(tmp_path: Path) -> None:
    vendor = Tpm2Vendor()
    then = datetime.now(UTC).replace(microsecond=0) - timedelta(days=2) + timedelta(minutes=30)
    log = opened(product=product_with(vendor), level="key", now=then, reissue="always")
    made = Plant(log, vendor, {})
    log.append(
        "intent_open", work_order="WO-1", chip_id=made.chips[0], serial_number="WO-1-000001", number=1,
        tbs_sha256="00" * 32, since=log.now.strftime("%Y-%m-%dT%H:%M:%SZ"),
    )  # fmt: skip
    began = log.now
    log.now += timedelta(hours=1)
    made.issue(1, wrong={"certificate": "expired"}, begin=began)
    with bench(log, tmp_path / "held up") as audit:
        assert audit.codes() == []
    key = new_key()
    superseded_by = sha256(spki(key)).hexdigest()
    first = log.records[0]
    board = Board(key, first, first.issued_index)
    log.revoke(board, reason="superseded", superseded_by=superseded_by)
    index = made.issue(
        1, wrong={"certificate": "expired"}, key=key, supersedes=board.certificate_sha256
    ).issued_index
    with bench(log, tmp_path / "once more") as audit:
        assert audit.codes() == [("EVIDENCE_FALSE", index)]


def _statement(level: str, method: str, evidence: bytes) -> x509.UnrecognizedExtension:
    """BirthmarkEvidence of docs/formats.md."""

    def tlv(tag: int, content: bytes) -> bytes:
        return bytes((tag, len(content))) + content

    said = b"\x02\x01\x01" + tlv(0x0C, level.encode()) + tlv(0x0C, method.encode())
    value = tlv(0x30, said + tlv(0x04, sha256(evidence).digest()))
    return x509.UnrecognizedExtension(x509.ObjectIdentifier(OID), value)


MAC = sha256(b"a chip").digest()


@pytest.mark.parametrize(
    ("extension", "codes"),
    [
        (_statement("key", "hmac-sha256", MAC), []),
        (None, ["CERTIFICATE_DIFFERS"]),
        (_statement("chip", "hmac-sha256", MAC), ["CERTIFICATE_DIFFERS"]),
        (_statement("key", "tpm2", MAC), ["CERTIFICATE_DIFFERS"]),
        (_statement("key", "hmac-sha256", b""), ["CERTIFICATE_DIFFERS"]),
    ],
    ids=["right", "absent", "level", "method", "digest"],
)
def test_what_a_certificate_says_of_its_evidence(
    tmp_path: Path, extension: x509.UnrecognizedExtension | None, codes: list[str]
) -> None:
    rules = f'certificate_extension = "{OID}"'
    log = opened(product=product_with(methods='"hmac-sha256"', rules=rules))
    log.issue(1, evidence=MAC, extension=extension)
    with bench(log, tmp_path) as audit:
        assert [code for code, _ in audit.codes()] == codes


def test_a_statement_that_the_product_does_not_ask_for(tmp_path: Path) -> None:
    log = opened()
    index = log.issue(1, evidence=MAC, extension=_statement("key", "hmac-sha256", MAC)).issued_index
    with bench(log, tmp_path) as audit:
        assert audit.codes() == [("CERTIFICATE_DIFFERS", index)]


def test_the_products_own_demands(tmp_path: Path) -> None:
    minimum = '[evidence.minimum_firmware]\napp = "1.3.0"'
    log = opened(product=product_with(methods='"hmac-sha256"', rules=minimum))
    index = log.issue(1).issued_index
    with bench(log, tmp_path / "firmware") as audit:
        assert audit.codes() == [("FIRMWARE_TOO_OLD", index)]
    log = opened()
    board = log.issue(1)
    log.stamp(board, locks={"secure_boot": False})
    with bench(log, tmp_path / "locks") as audit:
        assert audit.codes() == [("LOCKS_OPEN", board.issued_index)]
    log = opened(product=product_with(methods='"hmac-sha256"', rules='level = "key"'))
    log.issue(1)
    with bench(log, tmp_path / "level") as audit:
        assert audit.codes() == [("ORDER_TERMS", log.orders["WO-1"].opened_index)]
    log = opened(product=product_with(methods='"hmac-sha256"', rules='chips = "listed"'))
    log.issue(1)
    with bench(log, tmp_path / "listed") as audit:
        assert audit.codes() == [("CHIPS_UNCOUNTED", None)]
        log.append("chips_imported", work_order="WO-1", count=1, chips_sha256="00" * 32)
    with bench(log, tmp_path / "now listed") as audit:
        assert audit.codes() == []


@pytest.mark.parametrize(
    ("make", "at_its_entry"),
    [
        (lambda: plant(PsaVendor(), {"spe": "2.1.0"} | APP), True),
        (lambda: plant(Tpm2Vendor(certified=False), {}), False),
    ],
    ids=["psa-token", "tpm2"],
)
def test_chips_whose_identity_was_never_imported(
    tmp_path: Path, make: Callable[[], Plant], *, at_its_entry: bool
) -> None:
    made = make()
    made.issue(1)
    with bench(made.log, tmp_path) as audit:
        assert audit.codes() == [("CHIPS_UNCOUNTED", _last(made) if at_its_entry else None)]


def test_identities_of_another_product_do_not_count(tmp_path: Path) -> None:
    made = plant(PsaVendor(), {"spe": "2.1.0"} | APP)
    made.log.append("product_added", product="other", product_sha256="00" * 32)
    made.log.import_identities("psa-token", 2, product="other")
    made.issue(1)
    with bench(made.log, tmp_path) as audit:
        assert audit.codes() == [("CHIPS_UNCOUNTED", _last(made))]


@pytest.mark.parametrize(
    ("key", "locked", "codes"),
    [
        ("psa-iak-sha384", True, []),
        ("psa-iak-sha384", False, ["CHIPS_UNCOUNTED"]),  # level `key` wants chips that were locked
        ("psa-iak-sha256", True, ["CHIPS_UNCOUNTED"]),  # the record's MAC is of another hash
        ("hmac-sha256", True, ["CHIPS_UNCOUNTED", "CHIPS_UNCOUNTED"]),
    ],
)
def test_chips_with_a_mac_were_personalized_for_it(
    tmp_path: Path, key: str, codes: list[str], *, locked: bool
) -> None:
    made = plant(PsaVendor(algorithm="HMAC384", secrets={"CHIP-000001": bytes(48)}), {"spe": "2.1.0"} | APP)
    made.log.personalize(1, key=key, locked=locked)
    made.issue(1)
    with bench(made.log, tmp_path) as audit:
        assert [code for code, _ in audit.codes()] == codes


def test_a_broken_key_is_an_alarm_until_it_is_revoked(tmp_path: Path) -> None:
    log = opened()
    boards = [log.issue(number) for number in (1, 2)]
    named = [board.certificate_sha256 for board in boards]
    index = log.append("shared_primes_found", count=2, certificates=named)
    with bench(log, tmp_path) as audit:
        report = audit.verify()
        assert report.clean
        assert [(alarm.index, alarm.certificate.number) for alarm in report.alarms] == [
            (index, 1),
            (index, 2),
        ]
        log.revoke(boards[0])
        assert [alarm.certificate.number for alarm in audit.verify().alarms] == [2]
        log.revoke(boards[1])
        assert audit.verify().alarms == ()


def test_a_broken_key_of_a_certificate_that_was_not_issued(tmp_path: Path) -> None:
    log = opened()
    index = log.append("shared_primes_found", count=1, certificates=["00" * 32])
    with bench(log, tmp_path) as audit:
        assert audit.codes() == [("SHARED_PRIMES_HISTORY", index)]


@pytest.mark.parametrize(
    ("changes", "codes"),
    [
        ({"attester_sha256": "00" * 32}, {"LEVEL", "ATTESTER"}),
        ({"measured": {"boot": "1.0.0"}}, {"LEVEL", "EVIDENCE_LEVEL"}),
        ({"measured": {"app": "1.3.0"}}, {"LEVEL", "EVIDENCE_LEVEL"}),
        ({"level": "none"}, {"LEVEL"}),
    ],
)
def test_members_that_the_method_cannot_have(
    tmp_path: Path, changes: dict[str, Any], codes: set[str]
) -> None:
    log = opened()
    index = log.issue(1, **changes).issued_index
    with bench(log, tmp_path) as audit:
        found = audit.codes()
        assert {code for code, _ in found} == codes
        assert {where for _, where in found} == {index}


@pytest.mark.parametrize("name", PLANTS)
def test_anchors_are_those_that_the_evidence_proves(tmp_path: Path, name: str) -> None:
    made = PLANTS[name][0]()
    honest = json.loads(made.log.entries[made.issue(1).issued_index])["anchors"]
    assert honest
    made.issue(2, anchors=honest[:-1])
    with bench(made.log, tmp_path) as audit:
        found = [code for code in audit.codes() if code[1] == _last(made)]
    assert ("ANCHORS", _last(made)) in found


def test_chips_of_form_1_that_prove_to_be_one_are_said_and_not_found(tmp_path: Path) -> None:
    """signerd of then knew a chip by its id alone. The vendor certified one key under two names."""
    made = dice(form=1)
    first = made.issue(1)
    key = made.made[0].key  # type: ignore[attr-defined]  # an x509 attester's
    second = made.issue(2, attester=made.vendor.attester(made.chips[1], key=key))
    with bench(made.log, tmp_path) as audit:
        report = audit.verify()
        assert [code for code, _ in audit.codes()] == []
    ((earlier, later, anchor),) = report.one_chip
    assert (earlier, later, anchor.kind) == (first.issued_index, second.issued_index, "key")
    assert report_values(report)["one_chip"] == [{"entries": [earlier, later], "anchor": str(anchor)}]


def test_imported_anchors_of_a_tpm_are_held_against_the_companys_list(tmp_path: Path) -> None:
    made = tpm_imported()
    board = made.issue(1)
    told = json.loads(made.log.entries[board.issued_index])["anchors"]
    lying = made.issue(2, anchors=[["imported", None, "000b" + "00" * 32], told[1]])
    with bench(made.log, tmp_path, identities=made.list()) as audit:
        assert ("ANCHORS", lying.issued_index) in audit.codes()
