"""Chains of CAs, as the agent judges them: signerd, auditor and OpenSSL judge the same cases."""

from __future__ import annotations

import pytest
from cryptography import x509

from agent.core.chain import MAX_CHAIN, check_chain
from agent.errors import BadAnswer
from harness.ca_chain_cases import CASES
from harness.ca_chains import Case


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.title)
def test_a_chain_and_a_board_below_it(case: Case) -> None:
    leaf = x509.load_der_x509_certificate(case.leaf_der)
    if case.valid:
        check_chain(leaf, case.chain, [case.root])
        if len(case.chain) < MAX_CHAIN:
            check_chain(leaf, [*case.chain, case.root], [case.root])  # the root may be sent along
        return
    with pytest.raises(BadAnswer):
        check_chain(leaf, case.chain, [case.root])
