"""signerd and the auditor agree on mutations of the silicon zoo that are signed again under a CA of ours.

Seeded: the same mutants in each run, but for the bits of signatures and RSA keys. A mutant that fails prints
itself, so that it can become an item of the zoo. To see one again:

    make_mutant(SEED, number)
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterable

import pytest

from harness import both_sides
from harness.both_sides import Verdict, both
from harness.mutants import make_mutant

SEED = 9
MANY = 5_000
VERY_MANY = 100_000
LEAST_ACCEPTED = 0.30
FIRST = 300  # looked at by `make test`


def disagreement(number: int) -> tuple[str, bool]:
    """What is wrong with the verdicts on a mutant, or an empty text; and whether it is accepted."""
    mutant = make_mutant(SEED, number)
    try:
        signerd, auditor = both(mutant.case)
    except Exception as error:  # noqa: BLE001 - whatever one side raises is what is looked for
        return f"{type(error).__name__}: {error}: {mutant.case.report()}", False
    said = f"signerd {signerd.level or signerd.words!r}, auditor {auditor.level or auditor.words!r}"
    if mutant.right and not signerd.accepted:
        return f"refused, and nothing is wrong with it: {said}: {mutant.case.report()}", False
    if (signerd.accepted, signerd.level) != (auditor.accepted, auditor.level):
        return f"two verdicts: {said}: {mutant.case.report()}", signerd.accepted
    if mutant.one_flaw and signerd.reason != auditor.reason:
        return f"two reasons: {said}: {mutant.case.report()}", signerd.accepted
    return "", signerd.accepted


def hold(numbers: Iterable[int]) -> None:
    """Looks at all of them, and tells the first few that fail."""
    accepted = Counter[bool]()
    failed = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the cryptography package on names and serial numbers
        for number in numbers:
            problem, is_accepted = disagreement(number)
            accepted[is_accepted] += 1
            if problem:
                failed.append(problem)
    assert not failed, f"{len(failed)} of {accepted.total()}, the first: " + "\n".join(failed[:3])
    assert accepted[True] >= LEAST_ACCEPTED * accepted.total()


def test_they_agree_on_the_first_mutants() -> None:
    hold(range(FIRST))


@pytest.mark.check
def test_they_agree_on_5000_mutants() -> None:
    hold(range(MANY))


@pytest.mark.soak
@pytest.mark.parametrize("part", range(10))
def test_they_agree_on_100000_mutants(part: int) -> None:
    hold(range(part, VERY_MANY, 10))


def test_a_disagreement_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """If one side's verdict were another, or what it raised."""
    right = next(
        number
        for number in range(FIRST)
        if (mutant := make_mutant(SEED, number)).right and mutant.case.method != "csr"
    )
    monkeypatch.setattr(
        both_sides, "by_the_auditor", lambda *_: Verdict(accepted=False, level="", reason="chip")
    )
    assert disagreement(right)[0].startswith("two verdicts")
    monkeypatch.setattr(both_sides, "by_signerd", lambda *_: Verdict(accepted=False, level="", reason="chip"))
    assert disagreement(right)[0].startswith("refused, and nothing is wrong")
    monkeypatch.setattr(both_sides, "by_signerd", lambda *_: 1 // 0)
    assert disagreement(right)[0].startswith("ZeroDivisionError")
    with pytest.raises(AssertionError, match="1 of 1, the first: ZeroDivisionError"):
        hold([right])


def test_a_mutant_is_the_same_each_time() -> None:
    """But for ECDSA's random part."""
    for number in range(20):
        first, second = make_mutant(SEED, number).case, make_mutant(SEED, number).case
        assert (first.story, first.method, first.chip_id) == (second.story, second.method, second.chip_id)
        assert len(first.evidence) - len(second.evidence) in range(-24, 25)
