"""Keys of the log that follow one another: an auditor that pinned any of them follows, and takes no key that
the keys of before have not announced."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from auditor.verify import Report
from harness.audit_bench import bench, small
from harness.paper_log import PaperLog, cosigned, note, vkey

SECOND, THIRD = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
STRANGER = Ed25519PrivateKey.generate()


def announced() -> PaperLog:
    log = small()
    log.announce_key(SECOND)
    return log


def rotated() -> PaperLog:
    """Three keys, one after the other; the newest alone signs."""
    log = announced()
    log.activate_key(SECOND)
    log.retire_key(log.log_key)
    log.announce_key(THIRD, place="sealed", recipients=["00" * 32])
    log.activate_key(THIRD)
    log.retire_key(SECOND)
    return log


def found(report: Report) -> list[tuple[str, str]]:
    return [(finding.code.name, finding.detail) for finding in report.new]


def test_an_auditor_that_sees_each_step_follows(tmp_path: Path) -> None:
    with bench(announced(), tmp_path) as audit:
        log = audit.log
        steps: list[Callable[[], object]] = [
            lambda: log.activate_key(SECOND),
            lambda: log.retire_key(log.log_key, "compromised"),
            lambda: log.announce_key(THIRD),
            lambda: log.activate_key(THIRD),
            lambda: log.retire_key(THIRD, "lost"),
            lambda: log.issue(4),
        ]
        for step in steps:
            assert audit.verify().clean
            step()
        report = audit.verify()
        assert report.clean
        assert report.head
        assert report.head.size == audit.log.tree.size


@pytest.mark.parametrize("pin", [None, SECOND, THIRD], ids=["first", "second", "third"])
def test_an_auditor_that_pinned_any_of_them_reads_the_whole_log_at_once(
    tmp_path: Path, pin: Ed25519PrivateKey | None
) -> None:
    with bench(rotated(), tmp_path, key=pin) as audit:
        assert audit.verify().clean
        audit.log.stamp(audit.log.issue(4))
        assert audit.verify().clean
        assert audit.verify(from_scratch=True).clean


def test_a_successor_that_alone_is_sealed_has_recipients(tmp_path: Path) -> None:
    log = small()
    log.announce_key(SECOND, place="sealed", recipients=["00" * 32])
    places = {"checkpoint": "token", "chip_master": "none", "chip_master_commitment": None}
    log.append("keys_committed", **places, recipients=["00" * 32, "01" * 32])
    with bench(log, tmp_path) as audit:
        assert audit.verify().clean


def test_an_auditor_that_was_away_meanwhile_follows(tmp_path: Path) -> None:
    log = small()
    with bench(log, tmp_path) as audit:
        assert audit.verify().clean
        log.announce_key(SECOND)
        log.activate_key(SECOND)
        log.retire_key(log.log_key)
        assert audit.verify().clean


def test_a_key_that_was_announced_and_taken_back_never_signs(tmp_path: Path) -> None:
    log = announced()
    log.retire_key(SECOND)
    with bench(log, tmp_path) as audit:
        assert audit.verify().clean
        log.activate_key(SECOND)
        log.signing = [log.log_key]
        assert found(audit.verify()) == [("CHECKPOINT_KEY_HISTORY", "activated, and was not just announced")]


def _proof_of_a_stranger(log: PaperLog) -> None:
    log.activate_key(SECOND, log.checkpoint(key=STRANGER))


def _proof_of_the_key_itself(log: PaperLog) -> None:
    log.activate_key(SECOND, log.checkpoint(key=SECOND))


def _proof_before_the_announcement(log: PaperLog) -> None:
    log.activate_key(SECOND, log.checkpoint(size=log.tree.size - 1))


def _proof_of_another_size(log: PaperLog) -> None:
    log.activate_key(SECOND, log.checkpoint().replace(b"\n12\n", b"\n13\n"))


def _never_announced(log: PaperLog) -> None:
    log.activate_key(THIRD)


LIES = [
    _proof_of_a_stranger,
    _proof_of_the_key_itself,
    _proof_before_the_announcement,
    _proof_of_another_size,
    _never_announced,
]


@pytest.mark.parametrize("lie", LIES, ids=lambda lie: lie.__name__.strip("_"))
@pytest.mark.parametrize("away", [False, True], ids=["there", "away"])
def test_a_key_without_the_word_of_the_one_before_is_not_taken(
    tmp_path: Path, lie: Callable[[PaperLog], None], away: bool
) -> None:
    log = announced()
    with bench(log, tmp_path) as audit:
        if not away:
            assert audit.verify().clean
        lie(log)
        log.signing = log.signing[1:]  # the first key is not there any more
        report = audit.verify()
        assert [code for code, _ in found(report)] == ["CHECKPOINT_SIGNATURE"]
        assert report.head is None
        log.signing = [log.log_key]  # the honest head over the same entries
        assert [code for code, _ in found(audit.verify())] == ["CHECKPOINT_KEY_HISTORY"]


def test_the_old_key_alone_is_not_enough_while_both_sign_and_after_it_is_retired(tmp_path: Path) -> None:
    log = announced()
    log.activate_key(SECOND)
    with bench(log, tmp_path) as audit:
        log.lie_checkpoint = lambda _text: log.checkpoint(key=log.log_key)
        assert [code for code, _ in found(audit.verify())] == ["CHECKPOINT_SIGNATURE"]
        log.retire_key(log.log_key)
        report = audit.verify()
        assert report.head is None
        assert "CHECKPOINT_SIGNATURE" in {finding.finding.code.name for finding in report.findings}


def test_a_damaged_signature_of_one_of_two_is_found(tmp_path: Path) -> None:
    log = announced()
    log.activate_key(SECOND)
    with bench(log, tmp_path) as audit:
        body = log.checkpoint().rpartition(b"\n\n")[0].decode() + "\n"
        log.lie_checkpoint = lambda _text: cosigned(note(log.log_key, body), STRANGER)
        assert [code for code, _ in found(audit.verify())] == ["CHECKPOINT_SIGNATURE"]


def test_the_old_key_signed_another_tree_before_it_announced(tmp_path: Path) -> None:
    log, other = announced(), announced()
    other.log_key, other.signing = log.log_key, [log.log_key]
    log.activate_key(SECOND, other.checkpoint())
    with bench(log, tmp_path) as audit:
        assert [code for code, _ in found(audit.verify())] == ["FORK"]


def test_no_key_is_retired_when_no_other_signs(tmp_path: Path) -> None:
    log = announced()
    log.append("checkpoint_key_retired", vkey=vkey(log.log_key), reason="lost")
    with bench(log, tmp_path) as audit:
        assert found(audit.verify()) == [("CHECKPOINT_KEY_HISTORY", "retired, and no other key signs")]


@pytest.mark.parametrize(
    ("members", "detail"),
    [
        ({"vkey": "no key"}, "announced, and is no verifier key"),
        ({"vkey": vkey(SECOND, name="elsewhere")}, "announced, and is of another log's name"),
        ({"vkey": vkey(SECOND)}, "announced, and is a key of this log already"),
        ({"place": "sealed"}, "what is sealed is sealed to token keys, and nothing else is"),
    ],
)
def test_what_is_announced_is_a_new_key_of_this_log(
    tmp_path: Path, members: dict[str, str], detail: str
) -> None:
    log = announced()
    log.announce_key(THIRD, **members)
    with bench(log, tmp_path) as audit:
        code = "ENTRY_FORM" if members.get("vkey") == "no key" else "CHECKPOINT_KEY_HISTORY"
        assert [each for each, _ in found(audit.verify())] == [code]
        if code != "ENTRY_FORM":
            assert detail in {finding.finding.detail for finding in audit.verify().findings}


def test_an_unknown_key_of_the_head_is_told_apart_from_nothing(tmp_path: Path) -> None:
    """A head that nobody whom we know has signed says nothing, not even of a fork."""
    log = small()
    with bench(log, tmp_path) as audit:
        assert audit.verify().clean
        shorter = log.tree.size - 1
        log.lie_checkpoint = lambda _text: log.checkpoint(size=shorter, key=STRANGER)
        assert [code for code, _ in found(audit.verify())] == ["CHECKPOINT_SIGNATURE"]
