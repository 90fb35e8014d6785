"""OpenSSL's verdict on the chains that signerd, agent and auditor judge: it is the yardstick."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from harness.ca_chain_cases import CASES
from harness.ca_chains import CLIENT, SERVER, Case

pytestmark = pytest.mark.check
OPENSSL = shutil.which("openssl")
_PURPOSES = {CLIENT: "sslclient", SERVER: "sslserver"}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.title)
def test_openssl_says_so_too(case: Case, tmp_path: Path) -> None:
    if OPENSSL is None:
        pytest.skip("openssl is not installed")
    files = {
        "root": [case.root],
        "chain": case.chain,
        "leaf": [x509.load_der_x509_certificate(case.leaf_der)],
    }
    for name, certificates in files.items():
        pem = b"".join(each.public_bytes(Encoding.PEM) for each in certificates)
        (tmp_path / name).write_bytes(pem)
    command = [OPENSSL, "verify", "-x509_strict", "-policy_check", "-partial_chain", "-trusted", "root"]
    said = ""
    for purpose in [_PURPOSES[usage] for usage in case.leaf.purposes] or ["any"]:
        asked = [*command, "-purpose", purpose, "-untrusted", "chain", "leaf"]
        done = subprocess.run(asked, cwd=tmp_path, capture_output=True, text=True, check=False)
        said += done.stderr if done.returncode else ""
    assert (said == "") is case.by_openssl, said
