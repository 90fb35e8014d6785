"""Approvals in a log: what honest ones leave, and each lie about them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from harness.approvals import Administrators
from harness.audit_bench import bench, opened
from harness.paper_approvals import PEOPLE, PRODUCT, approve, ask, signed, statement_of
from harness.paper_certificates import der
from harness.paper_log import DEPLOYMENT, Board, PaperLog
from harness.ssh_signing import PRESENT, SshSigner

STICK = SshSigner.sk_ed25519()


def found(log: PaperLog, directory: Path) -> list[tuple[str, int | None]]:
    with bench(log, directory) as made:
        return made.codes()


@pytest.fixture
def log() -> PaperLog:
    made = opened()
    ask(made)
    return made


def test_approved_actions_are_clean(log: PaperLog, tmp_path: Path) -> None:
    approve(log, statement_of(log, "product_added", PRODUCT), "ann", "carol")
    log.append("product_added", **PRODUCT)
    board = log.issue(1)  # boards ask nobody
    log.stamp(board)
    new = Administrators.of(DEPLOYMENT, 1, "dan")
    entry = {
        "threshold": 1,
        "administrators": [{"name": "dan", "key": new.signers["dan"].public_text, "verify_required": False}],
    }
    approve(log, statement_of(log, "administrators_set", entry), "ann", "bob", "carol")
    log.append("administrators_set", **entry)
    other = {**PRODUCT, "product_sha256": "22" * 32}
    approve(log, statement_of(log, "product_added", other), "dan", people=new)
    log.append("product_added", **other)
    with bench(log, tmp_path) as made:
        assert made.verify().clean
        assert made.verify(from_scratch=True).clean


def test_several_parts_of_one_text_are_clean(log: PaperLog, tmp_path: Path) -> None:
    parts = [{**PRODUCT, "product_sha256": f"{number:064x}"} for number in range(2)]
    statement = statement_of(log, "product_added", *parts)
    for number, part in enumerate(parts):
        approve(log, statement, "ann", "bob", changes={"part": number})
        log.append("product_added", **part)
    assert found(log, tmp_path) == []


def test_a_run_may_end_between_any_two_actions(log: PaperLog, tmp_path: Path) -> None:
    with bench(log, tmp_path) as made:
        assert made.verify().clean
        statement = statement_of(log, "product_added", PRODUCT)
        approve(log, statement, "ann", "bob")
        log.append("product_added", **PRODUCT)
        assert made.verify().clean
        index = approve(log, statement, "ann", "bob")  # used a second time, in a later run
        log.append("product_added", **PRODUCT)
        assert made.codes() == [("APPROVAL", index)]


@pytest.mark.parametrize(
    "act",
    [
        lambda log: log.append("product_added", **PRODUCT),
        lambda log: log.personalize(1),
        lambda log: log.import_identities("tpm2", 1),
        lambda log: log.open_order("WO-2"),
        lambda log: ask(log, Administrators.of(DEPLOYMENT, 1, "mallory")),
        lambda log: log.append(
            "keys_committed",
            checkpoint="sealed",
            chip_master="sealed",
            chip_master_commitment="01" * 32,
            recipients=["02" * 32],
        ),
        lambda log: log.append(
            "issuer_added",
            issuer="second",
            ca="main",
            certificate_sha256="11" * 32,
            root_sha256=sha256(der(log.root.certificate)).hexdigest(),
            not_after="2036-01-01T00:00:00Z",
        ),
    ],
)
def test_an_action_without_its_approval(
    log: PaperLog, tmp_path: Path, act: Callable[[PaperLog], int]
) -> None:
    index = act(log)
    assert found(log, tmp_path) == [("APPROVAL", index)]


def test_a_revocation_without_its_approval_and_in_an_emergency(log: PaperLog, tmp_path: Path) -> None:
    first, second = log.issue(1), log.issue(2)
    index = log.revoke(first)
    approve(log, statement_of(log, "revoked", revocation(log, second), emergency=True), "bob")
    log.revoke(second)
    assert found(log, tmp_path) == [("APPROVAL", index)]


def revocation(log: PaperLog, board: Board) -> dict[str, Any]:
    """What `PaperLog.revoke` enters."""
    return {
        "work_order": board.record.work_order,
        "chip_id": board.record.chip_id,
        "serial_number": board.record.serial_number,
        "certificate_serial": json.loads(log.entries[board.issued_index])["certificate_serial"],
        "certificate_sha256": board.certificate_sha256,
        "reason": "keyCompromise",
        "superseded_by": None,
    }


@dataclass(frozen=True)
class Lie:
    """One thing that is otherwise than in an approval that holds."""

    names: tuple[str, ...] = ("ann", "bob")
    people: Administrators = PEOPLE
    statement: dict[str, Any] = field(default_factory=dict)  # of what was signed
    entry: dict[str, Any] = field(default_factory=dict)
    days: int = 7  # that it is valid
    more: str = ""  # behind the text


def with_key(name: str, signer: SshSigner) -> Administrators:
    return Administrators(DEPLOYMENT, 2, {**PEOPLE.signers, name: signer})


LIES = {
    "one of two": Lie(names=("ann",)),
    "one twice": Lie(names=("ann", "ann")),
    "a stranger": Lie(names=("ann", "eve"), people=with_key("eve", SshSigner.ed25519())),
    "another's key under a name": Lie(people=with_key("bob", PEOPLE.signers["ann"])),
    "another namespace": Lie(people=Administrators("other", 2, PEOPLE.signers)),
    "another deployment": Lie(statement={"deployment": "other"}),
    "another log": Lie(statement={"log": "paper.example/line+00000000+AQ=="}),
    "another action": Lie(statement={"action": "order_opened"}, entry={"action": "product_added"}),
    "another request": Lie(entry={"request": "00" * 16}),
    "expired": Lie(days=0),
    "valid for years": Lie(days=400),
    "no such part": Lie(entry={"part": 1}),
    "a text with a line more": Lie(more="x: 1\n"),
}


@pytest.mark.parametrize("lie", [Lie(), *LIES.values()], ids=["none", *LIES])
def test_an_approval_that_does_not_hold(log: PaperLog, tmp_path: Path, lie: Lie) -> None:
    made = statement_of(log, "product_added", PRODUCT)
    expires = log.now.replace(microsecond=0) + timedelta(days=lie.days)
    statement = replace(made, expires=expires, **lie.statement)
    changes = dict(lie.entry)
    if lie.more:
        changes["statement"] = statement.text().decode() + lie.more
    index = approve(log, statement, *lie.names, people=lie.people, changes=changes)
    log.append("product_added", **PRODUCT)
    codes = found(log, tmp_path)
    assert bool(codes) == (lie != Lie())
    assert {code for code, _ in codes} <= {"APPROVAL"}
    assert {at for _, at in codes} <= {index, index + 1}


@pytest.mark.parametrize("changes", [{"product_sha256": "22" * 32}, {"product": "third"}])
def test_another_action_than_was_approved(log: PaperLog, tmp_path: Path, changes: dict[str, str]) -> None:
    index = approve(log, statement_of(log, "product_added", PRODUCT), "ann", "bob")
    log.append("product_added", **{**PRODUCT, **changes})
    assert found(log, tmp_path) == [("APPROVAL", index + 1)]


def test_an_approval_whose_action_never_came(log: PaperLog, tmp_path: Path) -> None:
    index = approve(log, statement_of(log, "product_added", PRODUCT), "ann", "bob")
    with bench(log, tmp_path) as made:
        assert made.codes() == [("APPROVAL", index)]
    approve(log, statement_of(log, "product_added", PRODUCT), "ann", "bob")
    log.append("product_added", **PRODUCT)
    assert ("APPROVAL", index) in found(log, tmp_path / "anew")


def test_an_approval_where_nobody_is_asked(tmp_path: Path) -> None:
    log = opened()
    index = approve(log, statement_of(log, "product_added", PRODUCT), "ann", "bob")
    log.append("product_added", **PRODUCT)
    assert found(log, tmp_path) == [("APPROVAL", index)]


def test_a_threshold_that_nobody_reaches(tmp_path: Path) -> None:
    log = opened()
    index = ask(log, Administrators(DEPLOYMENT, 4, PEOPLE.signers))
    assert found(log, tmp_path) == [("APPROVAL", index)]


def test_a_security_key_that_did_not_ask_for_its_pin_and_another_counter(tmp_path: Path) -> None:
    log = opened()
    people = Administrators(DEPLOYMENT, 1, {"ann": STICK})
    ask(log, people, verify=frozenset({"ann"}))
    approve(log, statement_of(log, "product_added", PRODUCT), "ann", people=people)
    log.append("product_added", **PRODUCT)
    lazy = Administrators(DEPLOYMENT, 1, {"ann": STICK.saying(flags=PRESENT)})
    other = {**PRODUCT, "product_sha256": "22" * 32}
    first = approve(log, statement_of(log, "product_added", other), "ann", people=lazy)
    log.append("product_added", **other)
    third = {**PRODUCT, "product_sha256": "33" * 32}
    statement = statement_of(log, "product_added", third)
    wrong = {**signed(people, statement.text(), "ann"), "counter": 8}
    second = approve(log, statement, "ann", people=people, changes={"signatures": [wrong]})
    log.append("product_added", **third)
    assert found(log, tmp_path) == [("APPROVAL", first), ("APPROVAL", second)]
