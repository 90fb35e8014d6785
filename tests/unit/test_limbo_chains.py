"""Cases of x509-limbo, as far as they are about CAs: signerd, agent and auditor decide as it does."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from agent.core.chain import check_chain
from agent.errors import BadAnswer
from auditor.core.certificate import read_leaf, verify_issuer
from auditor.errors import CheckFailed
from signerd.core.evidence.certificate import read_certificate
from signerd.core.issuing_chain import Allowance, chain_problems
from signerd.core.name_constraints import Names, alternatives

VECTORS: dict[str, Any] = json.loads(
    (Path(__file__).parents[1] / "vectors" / "limbo" / "cases.json").read_text("utf-8")
)
CERTIFICATES = {name: base64.b64decode(data) for name, data in VECTORS["certificates"].items()}
CASES: list[dict[str, Any]] = VECTORS["cases"]
_ALTERNATIVE_NAME = "2.5.29.17"


def loaded(name: str) -> x509.Certificate:
    return x509.load_der_x509_certificate(CERTIFICATES[name])


def signerd_takes(case: dict[str, Any]) -> bool:
    chain, root = [loaded(name) for name in case["chain"]], loaded(case["root"])
    if chain_problems(chain, root):
        return False
    leaf = read_certificate(CERTIFICATES[case["leaf"]])
    found = leaf.extensions.get(_ALTERNATIVE_NAME)
    names = Names(leaf.subject, alternatives(found.value) if found else ())
    return not list(Allowance.of(chain, root).name_problems(names))


def agent_takes(case: dict[str, Any]) -> bool:
    chain = [loaded(name) for name in case["chain"]]
    try:
        check_chain(loaded(case["leaf"]), chain, [loaded(case["root"])])
    except BadAnswer:
        return False
    return True


def auditor_takes(case: dict[str, Any]) -> bool:
    try:
        issuer = verify_issuer([CERTIFICATES[name] for name in case["chain"]], loaded(case["root"]))
        read_leaf(CERTIFICATES[case["leaf"]], issuer)
    except CheckFailed:
        return False
    return True


@pytest.mark.parametrize("case", CASES, ids=[case["id"] for case in CASES])
def test_a_case_of_limbo(case: dict[str, Any]) -> None:
    verdicts = [agent_takes(case), auditor_takes(case)]
    assert verdicts[0] == verdicts[1]
    if "differs" not in case:
        assert [*verdicts, signerd_takes(case)] == [case["valid"]] * 3
