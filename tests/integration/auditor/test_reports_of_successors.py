"""Production files of a log that lost its end: they say so, and their readers follow as auditors do."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from auditor.adapters.report.making import Subject
from auditor.adapters.report.verifying import Trusted
from auditor.core.codes import Code
from auditor.core.proofs import parse_vkey
from auditor.core.report import form
from auditor.errors import CheckFailed
from harness.audit_bench import bench
from harness.paper_certificates import Authority
from harness.paper_log import ORDER, ORIGIN, PaperLog, vkey
from harness.paper_succession import succeed
from harness.production_files import (
    files_of,
    fitted,
    four_boards,
    made,
    pack,
    trusted,
    verdict,
    with_manifest,
    without_entries,
)

CA = Authority.root("Operations")
SECOND = f"{ORIGIN}/successor-2"


@dataclass(frozen=True)
class Made:
    """Archives of before and after the loss, and the log as it is by now."""

    log: PaperLog
    before: Path
    after: Path

    @property
    def pinned(self) -> Trusted:
        """The log's first key, and the operations CA."""
        return replace(trusted(self.log), operations_cas=(CA.certificate,))

    @property
    def named(self) -> Trusted:
        """The key under the successor's name, and no CA."""
        return replace(trusted(self.log), log_keys=[parse_vkey(vkey(self.log.log_key, name=SECOND))])


@pytest.fixture(scope="module")
def succeeded(tmp_path_factory: pytest.TempPathFactory) -> Made:
    log, folder = four_boards(), tmp_path_factory.mktemp("succeeded")
    with bench(log, folder / "state", cas=(CA.certificate,)) as verified:
        assert verified.verify().clean
        made(verified, folder / "before.zip", Subject(order=ORDER))
        succeed(log, CA, log.tree.size - 4)  # the third stamp, a revocation and the end of the order are lost
        assert [each.code for each in verified.verify().new] == [Code.LOG_SUCCEEDED]
        made(verified, folder / "after.zip", Subject(order=ORDER))
    return Made(log, folder / "before.zip", folder / "after.zip")


def test_it_says_what_was_lost(succeeded: Made) -> None:
    page = files_of(succeeded.after)[form.PAGE].decode()
    assert f"goes on as {SECOND}" in page
    assert "4 entries of before are lost" in page
    for trust in (succeeded.pinned, succeeded.named):
        found = verdict(succeeded.after, trust)
        assert found.problems == ()
        assert found.manifest.origin == SECOND
        assert any("4 entries of before are lost" in note for note in found.notes)


def test_a_period_has_it_too(succeeded: Made, tmp_path: Path) -> None:
    log = succeeded.log
    with bench(log, tmp_path / "state", cas=(CA.certificate,)) as verified:
        verified.verify()
        end = log.now.replace(year=2025)
        made(verified, tmp_path / "early.zip", Subject(begin=end.replace(year=2024), end=end))
    found = verdict(tmp_path / "early.zip", succeeded.pinned)
    assert found.problems == ()
    assert any("4 entries of before are lost" in note for note in found.notes)


def test_one_of_before_is_read_with_the_name_of_before(succeeded: Made) -> None:
    assert verdict(succeeded.before, succeeded.pinned).problems == ()
    with pytest.raises(CheckFailed, match="the log of before") as caught:
        verdict(succeeded.before, succeeded.named)
    assert caught.value.code is Code.ROLLBACK


def test_without_a_ca_the_error_names_what_to_take(succeeded: Made) -> None:
    with pytest.raises(CheckFailed, match="Take its verifier key from the company"):
        verdict(succeeded.after, trusted(succeeded.log))


def test_another_ca_s_word_is_not_enough(succeeded: Made) -> None:
    trust = replace(succeeded.pinned, operations_cas=(Authority.root("Other").certificate,))
    (problem,) = verdict(succeeded.after, trust).problems
    assert "no operations CA that is trusted signed the succession" in problem


def test_the_entry_of_the_loss_cannot_be_left_out(succeeded: Made, tmp_path: Path) -> None:
    files = without_entries(files_of(succeeded.after), lambda entry: entry["type"] == "log_succeeded")
    path = pack(tmp_path / "hidden.zip", fitted(files))
    for trust in (succeeded.pinned, succeeded.named):
        (problem,) = verdict(path, trust).problems
        assert f"the name {SECOND} follows from is not there" in problem


def test_a_log_of_another_name_is_no_successor(succeeded: Made, tmp_path: Path) -> None:
    other = with_manifest(files_of(succeeded.after), origin="paper.example/other/successor-2")
    note = other[form.CHECKPOINT].replace(ORIGIN.encode(), b"paper.example/other")
    path = pack(tmp_path / "other.zip", fitted(other | {form.CHECKPOINT: note}))
    with pytest.raises(CheckFailed, match="signed by none of the keys"):
        verdict(path, succeeded.pinned)
