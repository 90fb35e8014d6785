"""Which keys must have signed a checkpoint, on values: each step of a succession, and a lie in one thing."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from auditor.core.findings import Rejected
from auditor.core.log_keys import check_signers, has_successors, in_succession, signers
from auditor.core.proofs import claimed_checkpoint
from birthmark.proof import Checkpoint
from harness.audit_bench import opened
from harness.audit_of_values import ValueAudit
from harness.paper_log import PaperLog, vkey

CODE = "CHECKPOINT_KEY_HISTORY"
Second = Ed25519PrivateKey


@pytest.fixture
def log() -> PaperLog:
    return opened()


@pytest.fixture
def second() -> Second:
    return Ed25519PrivateKey.generate()


def who_signs(audit: ValueAudit, size: int) -> list[str]:
    return [key.text() for key in signers(audit.state, size)]


def test_who_signs_a_tree_of_each_size(log: PaperLog, second: Second) -> None:
    audit, first = ValueAudit(log), log.log_key
    added = log.announce_key(second)
    log.add_station("birthmark://paper/station/plant1/pc9")
    activated = log.activate_key(second)
    log.add_station("birthmark://paper/station/plant1/pc8")
    retired = log.retire_key(first)
    assert audit.read() == []
    old, new = vkey(first), vkey(second)
    for size in range(1, activated + 1):
        assert who_signs(audit, size) == [old], size
    for size in range(activated + 1, retired + 1):
        assert who_signs(audit, size) == [old, new], size
    for size in (retired + 1, retired + 100):
        assert who_signs(audit, size) == [new], size
    assert added < activated < retired
    assert has_successors(audit.state)
    assert in_succession(audit.state, new)
    assert in_succession(audit.state, old)


def test_one_that_is_announced_alone_signs_nothing(log: PaperLog, second: Second) -> None:
    audit = ValueAudit(log)
    assert not has_successors(audit.state)
    log.announce_key(second)
    assert audit.read() == []
    assert who_signs(audit, 1_000) == [vkey(log.log_key)]
    assert not in_succession(audit.state, vkey(second))


Lie = Callable[[PaperLog, Second], int]


def _announced_twice(log: PaperLog, second: Second) -> int:
    log.announce_key(second)
    return log.announce_key(second)


def _announced_of_another_log(log: PaperLog, second: Second) -> int:
    return log.announce_key(second, vkey=vkey(second, name="other.example/line"))


def _announced_as_sealed_to_nobody(log: PaperLog, second: Second) -> int:
    return log.announce_key(second, place="sealed", recipients=[])


def _announced_in_a_token_and_sealed(log: PaperLog, second: Second) -> int:
    return log.announce_key(second, place="token", recipients=["11" * 32])


def _activated_and_never_announced(log: PaperLog, second: Second) -> int:
    return log.activate_key(second)


def _activated_by_its_own_signature(log: PaperLog, second: Second) -> int:
    log.announce_key(second)
    return log.activate_key(second, log.checkpoint(key=second))


def _activated_over_a_tree_without_it(log: PaperLog, second: Second) -> int:
    proof = log.checkpoint()
    log.announce_key(second)
    return log.activate_key(second, proof)


def _activated_twice(log: PaperLog, second: Second) -> int:
    log.announce_key(second)
    log.activate_key(second)
    log.signing = [log.log_key, second]
    return log.activate_key(second)


def _activated_after_it_was_retired(log: PaperLog, second: Second) -> int:
    log.announce_key(second)
    log.retire_key(second)
    return log.activate_key(second)


def _retired_and_never_announced(log: PaperLog, second: Second) -> int:
    return log.retire_key(second)


def _retired_twice(log: PaperLog, second: Second) -> int:
    log.announce_key(second)
    log.activate_key(second)
    log.retire_key(second)
    return log.retire_key(second)


def _retired_the_only_one(log: PaperLog, second: Second) -> int:
    log.announce_key(second)
    return log.retire_key(log.log_key)


LIES: list[Lie] = [
    _announced_twice,
    _announced_of_another_log,
    _announced_as_sealed_to_nobody,
    _announced_in_a_token_and_sealed,
    _activated_and_never_announced,
    _activated_by_its_own_signature,
    _activated_over_a_tree_without_it,
    _activated_twice,
    _activated_after_it_was_retired,
    _retired_and_never_announced,
    _retired_twice,
    _retired_the_only_one,
]


@pytest.mark.parametrize("lie", LIES, ids=[lie.__name__[1:] for lie in LIES])
def test_each_lie_is_one_finding_and_moves_nobody(log: PaperLog, second: Second, lie: Lie) -> None:
    audit = ValueAudit(log)
    index = lie(log, second)
    assert audit.read() == [(CODE, index)]
    assert who_signs(audit, index + 1) == who_signs(audit, index)


def test_a_checkpoint_has_the_signatures_of_all_who_sign_then(log: PaperLog, second: Second) -> None:
    audit = ValueAudit(log)
    log.announce_key(second)
    log.activate_key(second)
    assert audit.read() == []
    keys = signers(audit.state, audit.size)
    log.signing = [log.log_key, second]
    check_signers(head_of(log), keys)
    for signing in ([log.log_key], [second], [log.log_key, Ed25519PrivateKey.generate()]):
        log.signing = signing
        with pytest.raises(Rejected) as raised:
            check_signers(head_of(log), keys)
        assert raised.value.finding.code.name == "CHECKPOINT_SIGNATURE"


def head_of(log: PaperLog) -> Checkpoint:
    return claimed_checkpoint(log.checkpoint(), log.origin)
