"""What a production file adds up to, on values: the pruned tree, lines, names, sums, the page."""

from __future__ import annotations

import random
import re
from dataclasses import replace
from datetime import UTC, datetime

import pytest
import typer
from typer.main import get_command

from auditor.cli.app import app
from auditor.core.codes import Code
from auditor.core.entry import parse_entry
from auditor.core.findings import Finding
from auditor.core.report import form
from auditor.core.report.account import Account
from auditor.core.report.choice import Window, is_of_order, needle_of
from auditor.core.report.form import Manifest, Names, RecordBytes, Subtree
from auditor.core.report.page import Page, page_text
from auditor.core.report.plots import bars
from auditor.core.report.pruned_tree import Joined, Pruning
from auditor.errors import Malformed
from birthmark.proof import leaf_hash
from harness.audit_bench import opened
from harness.paper_log import ORDER, PaperLog
from harness.paper_tree import PaperTree
from harness.production_files import four_boards, six_days


def pruned(size: int, shown: set[int]) -> tuple[list[Subtree], bytes]:
    """The subtrees, and the root that they and the leaves shown lead to."""
    pruning, joined = Pruning(), Joined()
    for index in range(size):
        if index in shown:
            pruning.show(index)
        else:
            pruning.hide(Subtree(index, 1, leaf_hash(b"%d" % index)))
    subtrees = pruning.end()
    parts = [(each.first, each.count, each.hash) for each in subtrees]
    parts += [(index, 1, leaf_hash(b"%d" % index)) for index in shown]
    for part in sorted(parts):
        joined.add(*part)
    return subtrees, joined.root()


def root_of(size: int) -> bytes:
    tree = PaperTree()
    for index in range(size):
        tree.append(b"%d" % index)
    return tree.root(size)


def test_subtrees_and_leaves_give_the_root_of_any_tree() -> None:
    choose = random.Random(1)
    for size in (*range(1, 34), 255, 256, 257, 700):
        for part in (0.0, 0.1, 0.5, 1.0):
            shown = {index for index in range(size) if choose.random() < part}
            subtrees, root = pruned(size, shown)
            assert root == root_of(size)
            assert len(subtrees) <= size - len(shown)


def test_what_stands_together_takes_few_hashes() -> None:
    subtrees, _ = pruned(700, set(range(200, 460)))
    assert len(subtrees) <= 2 * 10
    assert all(each.count.bit_count() == 1 and each.first % each.count == 0 for each in subtrees)
    assert [each.count for each in pruned(512, set())[0]] == [512]


def test_a_gap_or_an_entry_twice_is_no_tree() -> None:
    joined = Joined()
    joined.add(0, 1, bytes(32))
    for first in (0, 2):
        with pytest.raises(Malformed, match="twice or not there"):
            joined.add(first, 1, bytes(32))


RECORD = RecordBytes(7, b"", b"certificate", b"claims", b"csr", b"evidence", b"settings", b"", b"")


def test_lines_have_one_spelling() -> None:
    line = form.record_line(RECORD)
    assert form.parse_record_line(line) == RECORD
    for other in (line.replace(b":", b": ", 1), line[:-1], line.replace(b'"index":7', b'"index":true')):
        with pytest.raises(Malformed):
            form.parse_record_line(other)
    entry = form.entry_line(12, b'{"a":1}')
    assert form.parse_entry_line(entry) == (12, b'{"a":1}')
    for other in (entry.replace(b"12", b"012"), entry[:-1], entry.replace(b"}}", b"}"), b"\n"):
        with pytest.raises(Malformed):
            form.parse_entry_line(other)
    subtree = form.subtree_line(Subtree(8, 4, bytes(32)))
    assert form.parse_subtree_line(subtree) == Subtree(8, 4, bytes(32))
    for other in (subtree.replace(b"8 4", b"8 3"), subtree.replace(b"8 4", b"6 4"), subtree[:-1]):
        with pytest.raises(Malformed):
            form.parse_subtree_line(other)


def test_lines_are_bounded_however_they_come() -> None:
    assert list(form.lines(iter([b"a\nb", b"c\n", b"\n"]), 4, "x")) == [b"a\n", b"bc\n", b"\n"]
    for chunks in ([b"abcd\n"], [b"ab", b"cd", b"e"], [b"a\nb"]):
        with pytest.raises(Malformed):
            list(form.lines(iter(chunks), 4, "x"))


FIRST = [form.README, form.CHECKPOINT, form.VKEY, form.ENTRIES, form.SUBTREES, form.RECORDS, form.ISSUERS]
LAST = [form.FINDINGS, form.PAGE, form.MANIFEST]
PRODUCT, OTHER, CRL = (form.product_name(bytes(32)), form.product_name(b"\1" * 32), form.crl_name(bytes(32)))


@pytest.mark.parametrize(
    ("middle", "holds"),
    [
        ([], True), ([PRODUCT, OTHER, CRL], True), ([CRL], True),
        ([OTHER, PRODUCT], False), ([CRL, PRODUCT], False), ([PRODUCT, PRODUCT], False),
        (["products/x.toml"], False), (["../x"], False), ([form.README], False),
    ],
)  # fmt: skip
def test_names_come_once_and_in_their_order(middle: list[str], *, holds: bool) -> None:
    names = Names()
    try:
        for name in (*FIRST, *middle, *LAST):
            names.take(name)
        names.end()
    except Malformed:
        assert not holds
    else:
        assert holds


def account_of(log: PaperLog) -> Account:
    account = Account.of_order(ORDER)
    for index, data in enumerate(log.entries):
        account.take(index, parse_entry(data))
    account.end()
    return account


def test_sums_of_an_order() -> None:
    account = account_of(six_days(24))
    counts = account.counts()
    assert account.problems == []
    assert (counts["ordered"], counts["boards"], counts["made"]) == (28, 24, 24)
    assert counts["stamped"] == 24 - sum(number % 23 == 9 for number in range(1, 25))
    assert sum(count for (_, _, what), count in account.cells.items() if what == "made") == 24
    assert {station.rpartition("/")[2] for _, station, _ in account.cells} == {"pc1", "pc2", "pc3"}


def test_a_board_that_was_certified_again_is_not_scrapped() -> None:
    log = opened(reissue="always")
    first = log.issue(1)
    log.stamp(first)
    log.revoke(first)
    assert account_of(log).counts()["scrapped"] == 1
    log.issue(1, chip=first.record.chip_id, serial_number=first.record.serial_number)
    counts = account_of(log).counts()
    assert (counts["scrapped"], counts["boards"], counts["certificates"], counts["made"]) == (0, 1, 2, 1)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda log: log.issue(3), "boards are left out: places 2"),
        (lambda log: log.issue(2**53 - 1), "boards are left out: places 2, 3, 4, 5, 6, 7, 8, 9, 10, 11 …"),
        (lambda log: log.issue(1, chip="another"), "place 1 is another chip's"),
        (lambda log: log.issue(2, level="none"), "level of evidence is below"),
        (lambda log: log.issue(2, station="birthmark://paper/station/plant1/pc9"), "product or station"),
        (lambda log: [log.issue(number) for number in (2, 3, 4, 5)], "is for 4 boards, and 5 were made"),
        (lambda log: log.open_order(), "a second time"),
    ],
)
def test_what_does_not_fit_together(change: object, problem: str) -> None:
    log = opened()
    log.issue(1)
    assert account_of(log).problems == []
    assert callable(change)
    change(log)
    assert problem in " ".join(account_of(log).problems)


def test_an_order_is_named_by_its_member_and_by_no_text() -> None:
    needle = needle_of("WO-1")
    assert is_of_order(b'{"work_order":"WO-1"}', needle)
    assert not is_of_order(b'{"work_order":"WO-12"}', needle)
    assert not is_of_order(b'{"statement":"\\"work_order\\":\\"WO-1\\""}', needle)


def test_a_window_has_the_tolerance_of_clocks() -> None:
    window = Window(datetime(2026, 11, 1, tzinfo=UTC), datetime(2026, 11, 2, tzinfo=UTC))
    times = ["2026-10-31T23:57:59Z", "2026-10-31T23:58:00Z", "2026-11-02T00:02:00Z", "2026-11-02T00:02:01Z"]
    assert [window.near(f'{{"time":"{time}"}}'.encode()) for time in times] == [-1, 0, 0, 1]


def page_of(log: PaperLog, **changes: object) -> str:
    account = account_of(log)
    manifest = Manifest(
        deployment="paper", origin="paper.example/line", tree_size=len(log.entries), root=bytes(32),
        as_of="2026-11-01T00:00:00Z", order=ORDER, begin=None, end=None, whole=None, records=True,
        without_record=(), counts=account.counts(), made_by="test", files=(),
    )  # fmt: skip
    page = Page(account, manifest, (), (), ("key",))
    return page_text(replace(page, **changes))  # type: ignore[arg-type]


def test_what_a_log_says_is_text_on_the_page_and_nothing_else() -> None:
    mean = '<script>alert(1)</script>"><img src=x onerror=alert(1)>&'
    finding = Finding(Code.RECORD_DIFFERS, mean, 3, mean)
    page = page_of(four_boards(), findings=[(finding, [mean.encode()])], log_keys=(mean,))
    assert "&lt;script&gt;alert(1)" in page
    assert not re.search(r"<script|<img", page)
    assert "a statement that is no acknowledgement" in page
    turned = Finding(Code.RECORD_DIFFERS, "good \u202e dab \ud800", 3)
    assert "good \\u202e dab \\ud800" in page_of(four_boards(), found=(turned,))
    assert not re.search(r"<(?:script|img)", bars(mean, (mean,), [(mean, (1,))]))


def test_the_page_says_what_is_open() -> None:
    page = page_of(four_boards())
    assert "where are these boards?" in page
    log = opened(quantity=1)
    log.stamp(log.issue(1))
    assert '<p class="none">None.</p>' in page_of(log)
    assert "3 of the boards ordered were not made. The order is open." in page_of(_one_of_four())


def _one_of_four() -> PaperLog:
    log = opened()
    log.stamp(log.issue(1))
    return log


@pytest.mark.parametrize(
    ("largest", "top"), [(0, "4"), (4, "4"), (5, "8"), (13, "20"), (41, "80"), (100_000, "120000")]
)
def test_axes_end_at_whole_numbers(largest: int, top: str) -> None:
    found = re.findall(r'class="number"[^>]*>([^<]+)<', bars("x", ("y",), [("a", (largest,))]))
    assert found[-1] == top
    assert all(number.isdecimal() for number in found)


WRONG = {
    "--order WO-1": "give --out, and either --order, or --from and --to",
    "--out a.zip": "give --out, and either --order, or --from and --to",
    "--order WO-1 --from 2026-11-01 --to 2026-12-01 --out a.zip": "give --out, and either --order",
    "--from 2026-11-01 --out a.zip": "give --out, and either --order, or --from and --to",
    "--from 2026-12-01 --to 2026-11-01 --out a.zip": "--from is not before --to",
    "--from 2026-11-01 --to 2026-12-01 --out a.zip --whole": "--whole goes with --order",
    "--verify a.zip --order WO-1": "--verify verifies an archive and makes none",
    "--order WO-1 --out a.zip --vkey log.vkey": "go with --verify",
    "--order WO-1 --out a.zip --identities keys.jsonl": "go with --verify",
    "--page verify.html --order WO-1 --out a.zip": "--page writes the page alone",
}


@pytest.mark.parametrize("options", WRONG)
def test_options_that_do_not_go_together(options: str) -> None:
    with pytest.raises(typer.BadParameter) as refused:
        get_command(app).main(["report", *options.split()], standalone_mode=False)
    assert WRONG[options] in refused.value.message
