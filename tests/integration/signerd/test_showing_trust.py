"""What an administrator is shown of products, work orders and chips: whom they trust, by which revision."""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from boards.attesters.psa_token import PsaVendor
from harness.edge import Edge, new_key
from harness.installation import SENSOR, order_toml
from harness.process import COMMANDS

PSA = SENSOR.replace('"sensor"', '"gateway"', 1).replace('["hmac-sha256"]', '["psa-token"]', 1)
PRODUCT = f"{PSA}\n{PsaVendor().product_section()}"


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    with Edge(tmp_path_factory.mktemp("showing")) as edge:
        edge.start()
        edge.installation.add_product(PRODUCT)
        yield edge


def refused(edge: Edge, *arguments: str) -> str:
    done = subprocess.run(
        [str(COMMANDS / "signerd"), *arguments, "-c", str(edge.installation.config)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    return done.stderr


def test_an_order_keeps_the_trust_that_it_was_opened_with(edge: Edge) -> None:
    station = edge.add_peer("station/plant1/pc1")
    text = order_toml("WO-T", product="gateway", quantity=1, stations=[station.uri], level="chip")
    edge.installation.open_order(text)
    newer = PRODUCT.replace('"psa-token"]', '"psa-token", "hmac-sha256"]', 1)
    edge.installation.add_product(newer)

    product = json.loads(edge.installation.admin("product", "show", "gateway", "--json"))
    assert product["product_toml"] == newer
    assert product["product_sha256"] == hashlib.sha256(newer.encode()).hexdigest()
    assert any(line.startswith("hmac-sha256, at most") for line in product["trust"])
    order = json.loads(edge.installation.admin("order", "show", "WO-T", "--json"))
    assert order["product_toml"] == PRODUCT
    assert [line for line in product["trust"] if not line.startswith("hmac")] == order["trust"]

    said = edge.installation.admin("product", "show", "gateway")
    assert product["product_sha256"] in said
    assert newer in said
    said = edge.installation.admin("order", "show", "WO-T")
    assert hashlib.sha256(PRODUCT.encode()).hexdigest() in said
    assert "psa-token, at most level key" in said
    assert "hmac-sha256, at most" not in said


def test_a_product_that_is_not_there(edge: Edge) -> None:
    said = refused(edge, "product", "show", "nothing")
    assert "not_found: no product 'nothing'" in said


def test_chips_as_they_were_entered_in_pages_too(edge: Edge, tmp_path: Path) -> None:
    key = new_key().public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    line = {"chip_id": "a:2", "key_id": "01" + "ab" * 32, "public_key": base64.b64encode(key).decode()}
    identities, many = tmp_path / "identities.jsonl", tmp_path / "many.txt"
    identities.write_text(json.dumps(line) + "\n", "utf-8")
    many.write_text("".join(f"p:{number:04d}\n" for number in range(1200)) + "a:2\n", "utf-8")
    options = ("--site", "lab", "--locked", "--by", "ann", "--key", "psa-iak-sha384")
    edge.installation.admin("chips", "personalize", many, *options, "--out", tmp_path / "keys.csv")
    to = ("--product", "gateway", "--method", "psa-token", "--by", "bob")
    edge.installation.admin("chips", "import-identities", identities, *to)

    said = edge.installation.admin("chips", "list", "--json")
    chips = [json.loads(each) for each in said.splitlines()]
    assert [chip["chip_id"] for chip in chips] == ["a:2", *(f"p:{number:04d}" for number in range(1200))]
    (chip,) = map(json.loads, edge.installation.admin("chips", "list", "a:2", "--json").splitlines())
    assert chip == chips[0]
    done, (identity,) = chip["personalized"], chip["identities"]
    assert (done["key"], done["locked"], done["site"], done["by"]) == (
        "psa-iak-sha384", True, "lab", "ann",
    )  # fmt: skip
    assert (identity["product"], identity["method"], identity["by"]) == ("gateway", "psa-token", "bob")
    assert (identity["key_id"], identity["spki_sha256"]) == (line["key_id"], hashlib.sha256(key).hexdigest())
    table = edge.installation.admin("chips", "list", "a:2")
    assert "psa-iak-sha384, locked, at lab" in table
    assert "psa-token for gateway: " + line["key_id"] in table

    # Nothing that is shown holds a secret of a chip.
    secrets = (tmp_path / "keys.csv").read_text("ascii").split()[1:]
    assert not any(secret.partition(",")[2] in said for secret in secrets)


def test_a_chip_that_nobody_entered(edge: Edge) -> None:
    said = refused(edge, "chips", "list", "b:1")
    assert "not_found: chip b:1 is not personalized, has no imported key, and is on no list" in said
    assert "invalid: 'b 1' is not a chip id" in refused(edge, "chips", "list", "b 1")


def test_an_order_that_is_not_there_is_named(edge: Edge) -> None:
    assert "not_found: no work order 'WO-NONE'" in refused(edge, "order", "show", "WO-NONE")
    assert "not_found: no work order 'WO-NONE'" in refused(edge, "order", "close", "WO-NONE")


def test_what_commands_did_for_machines(edge: Edge, tmp_path: Path) -> None:
    station = edge.add_peer("station/plant1/pc2")
    order, chips = tmp_path / "order.toml", tmp_path / "chips.txt"
    terms = order_toml(
        "WO-J", product="gateway", quantity=1, stations=[station.uri], serial_pattern="J-{number}"
    )
    order.write_text(terms, "utf-8")
    chips.write_text("j:1\nj:2\n", "utf-8")
    admin = edge.installation.admin
    opened = json.loads(admin("order", "open", order, "--json"))
    assert opened["work_order"]["work_order"] == "WO-J"
    assert opened["ledger_index"] == opened["work_order"]["opened_index"]
    imported = json.loads(admin("chips", "import", chips, "--order", "WO-J", "--json"))
    assert imported == {"work_order": "WO-J", "lines": 2, "added": 2}
    closed = json.loads(admin("order", "close", "WO-J", "--json"))
    assert (closed["work_order"], closed["ledger_index"] > opened["ledger_index"]) == ("WO-J", True)
