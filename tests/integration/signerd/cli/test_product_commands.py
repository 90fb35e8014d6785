"""`signerd product`."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from birthmark.v1 import admin_pb2
from harness.edge import TIMEOUT_S, Edge
from harness.installation import SENSOR
from harness.signerd_commands import signerd


def test_products(edge: Edge, tmp_path: Path) -> None:
    file = tmp_path / "product.toml"
    file.write_text(SENSOR.replace('"sensor"', '"gauge"'), "utf-8")
    assert "added product gauge" in edge.installation.admin("product", "add", file)
    assert "gauge" in edge.installation.admin("product", "list")
    names = [each["name"] for each in json.loads(edge.installation.admin("product", "list", "--json"))]
    assert "gauge" in names


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ('["O", "Example Corp"]', '["C", "Germany"]', ""),
        ('"clientAuth"', '"OCSPSigning"', "key holder"),
        ("validity_days = 7300", "validity_days = 20000", "validity"),
        ('"https://boards.example.com/{chip_id}"', '"board {chip_id}"', "uri"),
        ('accept = ["p256", "p384"]', 'accept = ["p999"]', "keys"),
        ("[keys]", "[keys", "TOML"),
    ],
)
def test_a_product_that_would_give_no_good_certificate(edge: Edge, old: str, new: str, named: str) -> None:
    assert old in SENSOR
    text = SENSOR.replace(old, new, 1).replace('"sensor"', '"wrong"')
    with pytest.raises(grpc.RpcError) as refused:
        edge.admin.AddProduct(admin_pb2.AddProductRequest(product_toml=text), timeout=TIMEOUT_S)
    assert isinstance(refused.value, grpc.Call)
    said = refused.value.details() or ""
    assert said.startswith("invalid: ")
    assert named.lower() in said.lower()
    products = edge.admin.ListProducts(admin_pb2.ListProductsRequest(), timeout=TIMEOUT_S).products
    assert "wrong" not in [product.name for product in products]


def root_pem(subject: str, *, days: int = 4000) -> str:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, subject)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=5000))
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    return certificate.public_bytes(Encoding.PEM).decode()


def x509_product(name: str, root: str) -> str:
    return (
        SENSOR.replace('"sensor"', f'"{name}"', 1)
        .replace('methods = ["hmac-sha256"]', 'methods = ["x509", "tpm2"]\nchips = "listed"', 1)
        .replace("[certificate]", f'[evidence.x509]\nroots = ["""{root}"""]\n\n[certificate]', 1)
    )


def test_what_a_product_trusts_is_said_when_it_is_added(edge: Edge, tmp_path: Path) -> None:
    file, root = tmp_path / "vendor.toml", root_pem("Vendor Root CA")
    file.write_text(x509_product("vendor", root), "utf-8")
    said = edge.installation.admin("product", "add", file)
    digest = x509.load_pem_x509_certificate(root.encode()).fingerprint(hashes.SHA256()).hex()
    for part in (
        "x509, at most level chip",
        "root CN=Vendor Root CA",
        digest,
        "tpm2",
        "keys imported by chip",
    ):
        assert part in said
    assert hashlib.sha256(file.read_bytes()).hexdigest() in said
    file.write_text(x509_product("vendor", root_pem("Vendor Root CA", days=100)), "utf-8")
    added = json.loads(edge.installation.admin("product", "add", file, "--json"))
    assert added["product_sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
    assert any("evidence.x509.roots.0: it ends at" in note for note in added["lint_notes"])
    assert any("root CN=Vendor Root CA" in line for line in added["trust"])
    file.write_text(x509_product("vendor", root_pem("Vendor Root CA", days=-1)), "utf-8")
    code, said = signerd(edge.installation, "product", "add", file)
    assert (code, f"invalid: {file}: evidence.x509.roots.0: it ended at" in said) == (1, True)
