"""`signerd explain` as it is called: no daemon, no token, no configuration."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from boards import keys
from boards.attesters.certificate_writer import pem
from boards.attesters.psa_token import PsaVendor
from boards.attesters.x509 import X509Vendor
from harness.installation import SENSOR
from harness.signerd_commands import SIGNERD


def run(*arguments: str | Path, cwd: Path) -> tuple[int, str, str]:
    """An empty environment: nothing of an installation is found by chance."""
    done = subprocess.run(
        [str(SIGNERD), "explain", *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=cwd,
        env={"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"},
    )
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def files(tmp_path: Path) -> Path:
    vendor = X509Vendor()
    chain = vendor.attester("CHIP-000001").chain
    (tmp_path / "chain.pem").write_text("".join(map(pem, chain)))
    (tmp_path / "chain.der").write_bytes(b"".join(chain))
    (tmp_path / "csr.der").write_bytes(keys.make_csr(keys.make_key("p256"), "CHIP-000001"))
    (tmp_path / "wrong.pem").write_text("".join(map(pem, X509Vendor().attester("CHIP-000002").chain)))
    (tmp_path / "key.pem").write_text("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")
    product = SENSOR.replace('["hmac-sha256"]', '["x509"]') + "\n" + vendor.product_section()
    (tmp_path / "product.toml").write_text(product)
    (tmp_path / "hello.txt").write_text("hello\n")
    return tmp_path


def test_a_chain_for_people_and_for_machines(files: Path) -> None:
    code, said, errors = run("chain.pem", "--product", "product.toml", cwd=files)
    assert (code, errors) == (0, "")
    assert "chip id CHIP-000001 (serialNumber)" in said
    assert said.endswith("nothing speaks against it\n")
    code, said, errors = run("chain.der", "--product", "product.toml", "--json", cwd=files)
    assert (code, errors) == (0, "")
    answer = json.loads(said)
    assert answer["accepted"] is True
    (method,) = answer["methods"]
    assert (method["method"], method["level"], method["chip_id"]) == ("x509", "key", "CHIP-000001")


def test_a_refusal_is_exit_code_1_with_a_remedy(files: Path) -> None:
    code, said, errors = run("wrong.pem", "-p", "product.toml", cwd=files)
    assert (code, errors) == (1, "")
    assert "→ add the CA that issued the last certificate to the product's roots" in said
    assert said.endswith("it would be refused\n")
    code, said, errors = run("chain.pem", "-p", "product.toml", "--at", "2019-01-01", "--json", cwd=files)
    assert (code, json.loads(said)["accepted"]) == (1, False)


def test_what_is_no_such_file_goes_to_standard_error(files: Path) -> None:
    for name, words in (
        ("key.pem", "private key"),
        ("hello.txt", "neither a CSR"),
        ("none.der", "No such"),
    ):
        code, said, errors = run(name, cwd=files)
        assert (code, said) == (1, "")
        assert words in errors
        assert "Traceback" not in errors
    code, _, errors = run("csr.der", "-p", "chain.der", cwd=files)
    assert code == 1
    assert "UTF-8" in errors
    code, _, errors = run("csr.der", "--at", "tomorrow", cwd=files)
    assert code == 2


def test_a_token_and_the_list_that_its_key_is_in(files: Path) -> None:
    vendor = PsaVendor()
    attester = vendor.attester("CHIP-000001")
    (files / "token.cbor").write_bytes(attester.attest(b"transcript", b""))
    strangers = [vendor.attester(f"CHIP-{number:06}").identity() for number in range(2, 300)]
    lines = [json.dumps(line) for line in (*strangers, attester.identity())]
    (files / "identities.jsonl").write_text("\n".join(lines))
    (files / "strangers.jsonl").write_text("\n".join(lines[:-1]))
    product = SENSOR.replace('["hmac-sha256"]', '["psa-token"]') + "\n" + vendor.product_section()
    (files / "psa.toml").write_text(product)
    code, said, errors = run("token.cbor", "-p", "psa.toml", "-i", "identities.jsonl", cwd=files)
    assert (code, errors) == (0, "")
    assert "chip id CHIP-000001 (of the imported key)" in said
    code, said, _ = run("token.cbor", "-p", "psa.toml", "-i", "strangers.jsonl", cwd=files)
    assert code == 1
    assert "no line of the list has this key id" in said
    code, said, _ = run("token.cbor", "-p", "psa.toml", cwd=files)
    assert code == 0
    assert "open   its signature" in said
    code, _, errors = run("token.cbor", "-i", "chain.pem", cwd=files)
    assert code == 1
    assert "line 1" in errors


def test_a_csr(files: Path) -> None:
    code, said, _ = run("csr.der", cwd=files)
    assert code == 0
    assert "a CSR" in said
