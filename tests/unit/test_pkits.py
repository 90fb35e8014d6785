"""NIST's PKITS, as far as it is about paths alone: signerd and the auditor decide as RFC 5280 §6.1 has it."""

from __future__ import annotations

import base64
import json
import tomllib
from pathlib import Path
from typing import Any

import pytest

from harness.chain_pair import path_refused

FOLDER = Path(__file__).parents[1] / "vectors" / "pkits"
CERTIFICATES = {
    name: base64.b64decode(data)
    for name, data in json.loads((FOLDER / "certificates.json").read_text()).items()
}
TESTS: list[dict[str, Any]] = tomllib.loads((FOLDER / "paths.toml").read_text())["test"]


def test_nothing_of_the_suite_is_kept_for_nothing() -> None:
    assert set(CERTIFICATES) == {
        "TrustAnchorRootCertificate",
        *(name for test in TESTS for name in test["path"]),
    }


@pytest.mark.parametrize("test", TESTS, ids=[test["section"] for test in TESTS])
def test_a_path_of_the_suite(test: dict[str, Any]) -> None:
    path = [CERTIFICATES[name] for name in test["path"]]
    reason = path_refused(path, CERTIFICATES["TrustAnchorRootCertificate"])
    if "refused" in test:
        assert test["refused"] in reason
    else:
        assert (reason == "") is test["valid"], reason
