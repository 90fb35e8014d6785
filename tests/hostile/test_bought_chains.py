"""A sub-CA that was bought, below four CAs whose constraints its boards have to keep: known at the desk."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from birthmark.v1 import signing_pb2
from harness.bought_installation import BoughtInstallation
from harness.ca_chains import CLIENT, ROOT, SUB, Terms, constraints, dns, uri
from harness.edge import Edge, EdgePeer
from harness.installation import SENSOR, order_toml
from harness.paper_board import PaperBoard
from harness.signerd_commands import signerd

pytestmark = pytest.mark.check
AUTHORITIES = (
    replace(ROOT, path_length=5),
    Terms("First"),
    Terms("Second", extra=((x509.ExtendedKeyUsage([CLIENT]), False),)),
    Terms("Third", extra=(constraints(uri("boards.example.com"), dns("q000002.example.com")),)),
    Terms("Fourth", path_length=1),
)
FORBIDDEN = {
    "another host": (("https://boards.example.com/", "https://other.example.com/"), "not within URI"),
    "a URN": (("https://boards.example.com/", "urn:example:"), "no plain host name"),
    "another purpose": (('["clientAuth"]', '["clientAuth", "serverAuth"]'), "1.3.6.1.5.5.7.3.1"),
}


# Any chip id would be one with a colon too, which the constrained URI may not have in its path.
PRODUCT = SENSOR.replace("methods = [", 'chip_ids = "bought-[0-9]"\nmethods = [')


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    folder = tmp_path_factory.mktemp("bought")
    with Edge(folder, installation=BoughtInstallation(folder, AUTHORITIES, SUB)) as edge:
        edge.start()
        edge.installation.add_product(PRODUCT)
        yield edge


@pytest.fixture(scope="module")
def station(edge: Edge) -> EdgePeer:
    return edge.add_peer("station/plant1/pc1")


@pytest.mark.parametrize("change", sorted(FORBIDDEN))
def test_a_profile_that_a_ca_above_forbids(edge: Edge, tmp_path: Path, change: str) -> None:
    """It differs from the sensor's, which is certified below, in one thing."""
    (old, new), reason = FORBIDDEN[change]
    toml = tmp_path / "product.toml"
    toml.write_text(PRODUCT.replace('name = "sensor"', 'name = "forbidden"').replace(old, new), "utf-8")
    assert old in PRODUCT
    code, said = signerd(edge.installation, "product", "add", toml)
    assert (code, reason in " ".join(said.split())) == (1, True), said


def test_an_order_whose_numbers_come_to_a_name_that_a_ca_above_forbids(
    edge: Edge, station: EdgePeer, tmp_path: Path
) -> None:
    """The sample of the product passes: what is wrong shows in the order's last serial number."""
    toml = PRODUCT.replace('name = "sensor"', 'name = "numbered"')
    edge.installation.add_product(
        toml.replace("san_uri = [", 'san_dns = ["{serial}.example.com"]\nsan_uri = [')
    )
    file = tmp_path / "order.toml"
    for quantity, expected in ((2, 1), (1, 0)):
        terms = {"stations": [station.uri], "product": "numbered", "serial_pattern": "q{number:06d}"}
        file.write_text(order_toml("WO-Q", quantity=quantity, **terms), "utf-8")  # type: ignore[arg-type]
        for command in ("rehearse", "open"):
            code, said = signerd(edge.installation, "order", command, file)
            assert code == expected, said
            assert ("is within DNS q000002.example.com, which is excluded" in " ".join(said.split())) == (
                code == 1
            )


def test_a_board_below_four_cas(edge: Edge, station: EdgePeer, tmp_path: Path) -> None:
    order = edge.open_order(station, quantity=1)
    keys = edge.installation.personalize(["bought-1"])
    board = PaperBoard("bought-1", keys["bought-1"])
    session = station.signing.OpenSession(
        signing_pb2.OpenSessionRequest(work_order=order, chip_id=board.chip_id),
        timeout=20,
        wait_for_ready=True,
    )
    csr, evidence = board.request(session.challenge)
    asked = signing_pb2.SignCsrRequest(session=session.session, csr_der=csr, evidence=evidence)
    answer = station.signing.SignCsr(asked, timeout=20, wait_for_ready=True)
    assert len(answer.chain_der) == 5
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is not installed")
    for name, certificates in (("board", [answer.certificate_der]), ("chain", answer.chain_der)):
        read = [x509.load_der_x509_certificate(each) for each in certificates]
        (tmp_path / name).write_bytes(b"".join(each.public_bytes(Encoding.PEM) for each in read))
    trust = ["-trusted", str(edge.home / "ca" / "root.pem"), "-untrusted", str(tmp_path / "chain")]
    command = [openssl, "verify", "-x509_strict", "-policy_check", "-purpose", "sslclient", *trust]
    subprocess.run([*command, str(tmp_path / "board")], check=True, capture_output=True)
