"""A chip is what its anchors say, under whatever name it comes: in the log's history, and held against the
evidence of each certificate."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from harness.audit_bench import bench, opened
from harness.paper_certificates import new_key, spki
from harness.paper_log import Board, PaperLog

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
