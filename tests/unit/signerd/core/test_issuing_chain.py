"""What chains of CAs allow: signerd at the desk. Agent, auditor and OpenSSL judge the same cases."""

from __future__ import annotations

from dataclasses import replace

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import given
from hypothesis import strategies as st

from harness.ca_chain_cases import CASES, NAME_CASES
from harness.ca_chains import CLIENT, END, MIDDLE, ROOT, SUB, Case, Terms, constrained, constraints, dns, make
from signerd.core.issuing_chain import Allowance, chain_problems
from signerd.core.name_constraints import Names, alternatives, read_constraints
from signerd.core.profile import Issuer
from signerd.errors import ConfigError


def problems(case: Case) -> list[str]:
    if found := chain_problems(case.chain, case.root):
        return found
    allowed = Allowance.of(case.chain, case.root)
    more = case.leaf.alternatives
    encoded = alternatives(x509.SubjectAlternativeName(more).public_bytes()) if more else ()
    names = Names(case.leaf.subject.public_bytes(), encoded)
    purposes = [usage.dotted_string for usage in case.leaf.purposes]
    return [*allowed.name_problems(names), *allowed.purpose_problems(purposes)]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.title)
def test_a_chain_and_a_board_below_it(case: Case) -> None:
    found = problems(case)
    assert (found == []) is case.valid, found
    assert all(len(line) < 400 for line in found)


def test_name_cases_are_about_the_board_alone() -> None:
    """Else a case would be refused for its chain, whatever the board."""
    for case in NAME_CASES:
        if case.leaf.alternatives:
            assert chain_problems(case.chain, case.root) == [] or "maximum" in case.title


def test_times_of_all_that_stands_above() -> None:
    late, early = END.replace(year=2021), END.replace(year=2050)
    case = Case("", (replace(ROOT, end=early), replace(MIDDLE, begin=late), SUB), valid=True)
    allowed = Allowance.of(case.chain, case.root)
    assert (allowed.begins, allowed.ends) == (late, early)
    issuer = Issuer.of(case.chain, root=case.root)
    assert issuer.allows == allowed
    assert len(issuer.chain) == 2


def test_an_issuer_whose_constraints_cannot_be_read() -> None:
    wrong = x509.UnrecognizedExtension(x509.ObjectIdentifier("2.5.29.30"), b"\x30\x03\x02\x01\x00")
    sub_ca = make(replace(SUB, extra=((wrong, True),)), make(ROOT)).certificate
    with pytest.raises(ConfigError, match="cannot be read"):
        Issuer.of((sub_ca,))


@pytest.mark.parametrize(
    "value",
    ["", "3000ff", "3002a200", "3006a104300282ff", "300aa1083006870401020304", "3004a0023000"],
)
def test_constraints_that_are_none(value: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 -- whatever it says
        read_constraints(bytes.fromhex(value))


def test_what_is_said_names_both() -> None:
    case = Case("", constrained(constraints(dns("a.example"))), valid=False)
    allowed = Allowance.of(case.chain, case.root)
    names = Names(
        x509.Name([]).public_bytes(), alternatives(x509.SubjectAlternativeName(dns("b")).public_bytes())
    )
    assert list(allowed.name_problems(names)) == ["DNS b is not within DNS a.example"]
    assert list(allowed.purpose_problems([CLIENT.dotted_string])) == []


def test_a_weak_key_above() -> None:
    weak = replace(ROOT, key=rsa.generate_private_key(65537, 1024))
    case = Case("", (weak, SUB), valid=False)
    assert chain_problems(case.chain, case.root) == ["CN=Root,O=Example has a key that is too weak"]


def test_a_root_is_whatever_is_pinned() -> None:
    """Of a chain of four, each CA above the sub-CA can be the root, with what is above it left away."""
    case = Case("", (ROOT, Terms("A"), Terms("B"), SUB), valid=True)
    for above in range(1, len(case.chain)):
        assert chain_problems(case.chain[:above], case.chain[above]) == []
    assert chain_problems(case.chain, case.chain[2]) != []


@given(st.binary(max_size=60))
def test_any_bytes_as_name_constraints(data: bytes) -> None:
    try:
        read = read_constraints(data)
    except ValueError:
        return
    for problem in read.problems(Names(b"\x30\x00", (b"\x82\x01a",))):
        assert problem
