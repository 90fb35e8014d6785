"""A sub-CA with an RSA key in the token, as clouds want it: boards, CRL, auditor, `openssl verify`."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding

from birthmark.v1 import signing_pb2
from harness.bought_installation import BoughtInstallation
from harness.ca_chains import MIDDLE, ROOT, SUB
from harness.edge import Edge
from harness.paper_board import PaperBoard
from harness.process import COMMANDS, run

pytestmark = pytest.mark.check


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    folder = tmp_path_factory.mktemp("rsa")
    installation = BoughtInstallation(folder, (ROOT, MIDDLE), SUB, "--key-type", "rsa2048")
    with Edge(folder, installation=installation) as edge:
        edge.start()
        edge.add_sensor()
        yield edge


def test_boards_and_a_crl_of_an_rsa_issuer(edge: Edge, tmp_path: Path) -> None:
    station = edge.add_peer("station/plant1/pc1")
    order = edge.open_order(station, quantity=2)
    chips = ["rsa:1", "rsa:2"]
    certificates, serials = [], []
    for chip_id, key in edge.installation.personalize(chips).items():
        board = PaperBoard(chip_id, key)
        opening = signing_pb2.OpenSessionRequest(work_order=order, chip_id=chip_id)
        session = station.signing.OpenSession(opening, timeout=20, wait_for_ready=True)
        csr, evidence = board.request(session.challenge)
        asked = signing_pb2.SignCsrRequest(session=session.session, csr_der=csr, evidence=evidence)
        answer = station.signing.SignCsr(asked, timeout=20, wait_for_ready=True)
        certificates.append(x509.load_der_x509_certificate(answer.certificate_der))
        serials.append(answer.serial_number)
    sub_ca = x509.load_pem_x509_certificates((edge.home / "ca" / "sub-ca.pem").read_bytes())[0]
    issuer = sub_ca.public_key()
    assert isinstance(issuer, rsa.RSAPublicKey)
    for certificate in certificates:
        certificate.verify_directly_issued_by(sub_ca)
        assert certificate.signature_algorithm_oid == x509.SignatureAlgorithmOID.RSA_WITH_SHA256
    edge.installation.admin("revoke", serials[0], "--reason", "superseded")
    edge.installation.admin("crl", "--out", tmp_path / "crl.der")
    crl = x509.load_der_x509_crl((tmp_path / "crl.der").read_bytes())
    assert crl.is_signature_valid(issuer)
    assert [each.serial_number for each in crl] == [certificates[0].serial_number]
    auditor = edge.installation.add_auditor("company")
    run([COMMANDS / "birthmark-auditor", "verify", "--config", auditor.config])
    if (openssl := shutil.which("openssl")) is None:
        pytest.skip("openssl is not installed")
    kept = tmp_path / "board.pem"
    kept.write_bytes(certificates[1].public_bytes(Encoding.PEM))
    trust = ["-CAfile", str(edge.home / "ca" / "root.pem"), "-untrusted", str(edge.home / "ca" / "chain.pem")]
    subprocess.run([openssl, "verify", "-x509_strict", *trust, str(kept)], check=True, capture_output=True)
