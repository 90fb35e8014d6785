"""Chains of CAs, as the auditor judges them: signerd, agent and OpenSSL judge the same cases."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from auditor.core import name_constraints
from auditor.core.certificate import read_leaf, verify_issuer
from auditor.errors import CheckFailed, Malformed
from harness.ca_chain_cases import CASES
from harness.ca_chains import Case


def verify(case: Case) -> None:
    chain = [each.public_bytes(Encoding.DER) for each in case.chain]
    read_leaf(case.leaf_der, verify_issuer(chain, case.root))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.title)
def test_a_chain_and_a_board_below_it(case: Case) -> None:
    if case.valid:
        verify(case)
        return
    with pytest.raises(CheckFailed, match="F411"):
        verify(case)


@given(st.binary(max_size=60))
def test_any_bytes_as_name_constraints(data: bytes) -> None:
    try:
        read = name_constraints.read(data)
        read.check(b"\x30\x00", [b"\x82\x01a"], leaf=True)
    except Malformed:
        return
