"""A chip is what its anchors say, under whatever name it comes: in the log's history, and held against the
evidence of each certificate."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from boards.attesters.certificate_writer import Key, make_key, spki_of
from boards.attesters.x509 import FWID, X509Attester, X509Vendor
from harness.audit_bench import bench, opened
from harness.chip_chains import Chain, Made
from harness.paper_certificates import new_key, spki
from harness.paper_log import Board, PaperLog, product_with

VENDOR = "ab" * 32


def anchored(log: PaperLog, number: int, *anchors: str, chip: str = "", **changes: Any) -> Board:
    """A certificate whose entry says that its chip has these keys."""
    keys = sorted(["key", None, sha256(name.encode()).hexdigest()] for name in anchors)
    chip = chip or f"chip-{number}"
    members = {"anchors": keys, "method": "x509", "attester_sha256": VENDOR} | changes
    return log.issue(number, chip=chip, **members)


def history(log: PaperLog, directory: Path) -> list[tuple[str, int | None]]:
    """What the entries alone tell: their evidence is not that of the method that they name."""
    with bench(log, directory) as made:
        return [
            (finding.code.name, finding.index)
            for finding in made.verify().new
            if finding.code.value.startswith(("F2", "F3"))
        ]


def test_one_chip_under_a_second_name(tmp_path: Path) -> None:
    log = opened()
    anchored(log, 1, "device")
    second = anchored(log, 2, "device", attester_sha256="cd" * 32)
    assert history(log, tmp_path) == [("CHIP_TWICE", second.issued_index)]


def test_one_chip_under_a_second_name_on_another_order(tmp_path: Path) -> None:
    log = opened()
    log.open_order("WO-2")
    anchored(log, 1, "device")
    second = anchored(log, 1, "device", chip="other", work_order="WO-2", attester_sha256="cd" * 32)
    assert history(log, tmp_path) == [("CHIP_TWICE", second.issued_index)]


def test_one_chip_that_shares_one_anchor_of_several(tmp_path: Path) -> None:
    log = opened()
    anchored(log, 1, "device", "ueid")
    second = anchored(log, 2, "other", "ueid", attester_sha256="cd" * 32)
    assert history(log, tmp_path) == [("CHIP_TWICE", second.issued_index)]


def test_a_chip_that_is_two_others(tmp_path: Path) -> None:
    log = opened()
    anchored(log, 1, "first")
    anchored(log, 2, "second", attester_sha256="cd" * 32)
    third = anchored(log, 3, "first", "second", attester_sha256="ef" * 32)
    assert history(log, tmp_path) == [
        ("ANCHOR_HISTORY", third.issued_index),
        ("CHIP_TWICE", third.issued_index),
    ]


def test_an_anchor_is_one_chips_also_in_a_later_run(tmp_path: Path) -> None:
    log = opened()
    anchored(log, 1, "device")
    assert history(log, tmp_path) == []
    second = anchored(log, 2, "device", attester_sha256="cd" * 32)
    assert history(log, tmp_path) == [("CHIP_TWICE", second.issued_index)]


def test_a_chip_may_come_again_under_another_name_where_its_order_allows_it(tmp_path: Path) -> None:
    log = opened(reissue="always")
    key = new_key()
    first = anchored(log, 1, "device", chip="old-release")
    log.revoke(first, reason="superseded", superseded_by=sha256(spki(key)).hexdigest())
    anchored(
        log, 1, "device", chip="new-release", key=key, supersedes=first.certificate_sha256,
        attester_sha256="cd" * 32,
    )  # fmt: skip
    assert history(log, tmp_path) == []


def test_two_chips_may_have_the_name_that_firmware_writes(tmp_path: Path) -> None:
    log = opened()
    anchored(log, 1, "first", chip="release-7")
    anchored(log, 2, "second", chip="release-7", attester_sha256="cd" * 32)
    assert history(log, tmp_path) == []


def test_one_chip_among_many_of_one_name(tmp_path: Path) -> None:
    log = opened(quantity=30)
    for number in range(1, 22):
        anchored(log, number, f"device {number}", chip="release-7", attester_sha256=f"{number:064x}")
    again = anchored(log, 22, "device 1", chip="release-8", attester_sha256="ef" * 32)
    assert history(log, tmp_path) == [("CHIP_TWICE", again.issued_index)]


def test_a_name_that_was_imported_or_personalized_is_one_chips(tmp_path: Path) -> None:
    log = opened()
    log.issue(1, chip="one")
    second = log.issue(2, chip="one", anchors=[["personalized", None, "another"]])
    with bench(log, tmp_path) as made:
        codes = made.codes()
    assert ("CHIP_TWICE", second.issued_index) in codes


def stated(chip: str, device: str, *, by: str = VENDOR) -> dict[str, Any]:
    """What a chain proves whose chip id `by` states; without `by`, a layer under the DeviceID key."""
    key = sha256(device.encode()).hexdigest()
    return {"anchors": [["key", None, key], ["serial", by or key, chip]], "method": "x509", "chip": chip}


def test_a_name_that_two_cas_of_a_vendor_state_is_one_chips(tmp_path: Path) -> None:
    log = opened()
    log.issue(1, **stated("S1", "first"), attester_sha256=VENDOR)
    second = log.issue(2, **stated("S1", "second", by="cd" * 32), attester_sha256="cd" * 32)
    assert ("CHIP_TWICE", second.issued_index) in history(log, tmp_path)


@pytest.mark.parametrize("by", [VENDOR, ""])
@pytest.mark.parametrize("certified_first", [True, False])
def test_two_methods_that_one_name_links_are_one_chip(
    tmp_path: Path, by: str, *, certified_first: bool
) -> None:
    """A vendor states the name, or the order's list does what firmware then says."""
    log = opened(reissue="always")
    key = new_key()
    ways: list[dict[str, Any]] = [{"chip": "S1"}, stated("S1", "device", by=by) | {"attester_sha256": VENDOR}]
    first_way, second_way = reversed(ways) if certified_first else ways
    first = log.issue(1, **first_way)
    log.revoke(first, reason="superseded", superseded_by=sha256(spki(key)).hexdigest())
    log.issue(1, key=key, supersedes=first.certificate_sha256, **second_way)
    assert history(log, tmp_path) == []


def test_a_chip_of_form_1_goes_on_under_the_name_that_its_firmware_has_now(tmp_path: Path) -> None:
    log = opened(reissue="always", form=1)
    key = new_key()
    first = log.issue(1, chip="old-release", method="x509", attester_sha256=VENDOR)
    log.form = 2
    log.revoke(first, reason="superseded", superseded_by=sha256(spki(key)).hexdigest())
    log.issue(
        1, key=key, supersedes=first.certificate_sha256, attester_sha256="cd" * 32,
        **stated("new-release", "device", by=""),
    )  # fmt: skip
    assert history(log, tmp_path) == []


def test_another_chip_may_have_the_name_that_firmware_wrote_in_form_1(tmp_path: Path) -> None:
    log = opened(form=1)
    log.issue(1, chip="release-7", method="x509", attester_sha256=VENDOR)
    log.form = 2
    log.issue(2, attester_sha256="cd" * 32, **stated("release-7", "another", by=""))
    assert history(log, tmp_path) == []


class Builds:
    """Firmware of DICE chips, each build a name, in a log with an order for them."""

    def __init__(self, **terms: Any) -> None:
        self._vendor = X509Vendor()
        now = datetime.now(UTC).replace(microsecond=0)
        self.log = opened(product=product_with(self._vendor), level="key", now=now, **terms)

    def issue(self, number: int, device: Key, *, build: str, **members: Any) -> Board:
        """The certificate of the chip with this DeviceID key, on this place."""
        named = Made("DEV", key=device, ueid=spki_of(device)[-17:])
        chain = Chain(Made("CA 1"), named, Made(build, digest=FWID), root=self._vendor.root)
        attester = X509Attester(chain.key, chain.certificates)
        measured = {"app": "1.2.0"}
        return self.log.issue(number, chip=build, attester=attester, measured=measured, **members)


def test_a_chip_of_form_1_that_form_2_begins_anew(tmp_path: Path) -> None:
    """Its entries of form 1 do not say its anchors, and its evidence does."""
    builds, device = Builds(form=1), make_key("p256")
    builds.issue(1, device, build="build-1")
    builds.log.form = 2
    builds.issue(2, make_key("p256"), build="build-2")
    again = builds.issue(3, device, build="build-3")
    with bench(builds.log, tmp_path) as made:
        assert made.codes() == [("CHIP_TWICE", again.issued_index)]
        assert made.codes() == []


def test_two_chips_of_form_1_that_proved_to_be_one_go_on_as_one(tmp_path: Path) -> None:
    """The board that was certified last is the chip's: said, and no finding."""
    builds, device, key = Builds(form=1, reissue="always"), make_key("p256"), new_key()
    builds.issue(1, device, build="build-1")
    last = builds.issue(2, device, build="build-2")
    with bench(builds.log, tmp_path) as made:
        assert made.verify().clean
        builds.log.form = 2
        builds.log.revoke(last, reason="superseded", superseded_by=sha256(spki(key)).hexdigest())
        builds.issue(2, device, build="build-3", key=key, supersedes=last.certificate_sha256)
        report = made.verify()
        assert report.clean
        assert len(report.one_chip) == 1
        other = builds.issue(3, device, build="build-4")
        assert ("CHIP_TWICE", other.issued_index) in made.codes()


def test_a_chip_of_form_1_goes_on_in_form_2(tmp_path: Path) -> None:
    log = opened(reissue="always", form=1)
    key = new_key()
    first = log.issue(1)
    log.form = 2
    log.revoke(first, reason="superseded", superseded_by=sha256(spki(key)).hexdigest())
    log.issue(1, key=key, supersedes=first.certificate_sha256)
    with bench(log, tmp_path) as made:
        assert made.verify().clean


@pytest.mark.parametrize(
    "said",
    [
        [],
        [["personalized", None, "another"]],
        [["key", None, VENDOR], ["personalized", None, "chip-WO-1-1"]],
        [["personalized", None, "chip-WO-1-1"], ["serial", VENDOR, "chip-WO-1-1"]],
        [["imported", None, "01"], ["personalized", None, "chip-WO-1-1"]],
    ],
)
def test_anchors_other_than_the_evidence_proves(tmp_path: Path, said: list[Any]) -> None:
    log = opened()
    honest, lying = log.issue(2), log.issue(1, anchors=said)
    with bench(log, tmp_path) as made:
        assert made.codes() == [("ANCHORS", lying.issued_index)]
    assert json.loads(log.entries[honest.issued_index])["anchors"] == [["personalized", None, "chip-WO-1-2"]]


def test_a_stations_word_proves_no_anchor(tmp_path: Path) -> None:
    log = opened(level="none")
    log.append("chips_imported", work_order="WO-1", count=2, chips_sha256="00" * 32)
    log.issue(1, level="none", method="none")
    lying = log.issue(2, level="none", method="none", anchors=[["personalized", None, "chip-WO-1-2"]])
    with bench(log, tmp_path) as made:
        assert made.codes() == [("ANCHORS", lying.issued_index)]
