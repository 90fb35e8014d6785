"""A sub-CA with an RSA key in the token, as clouds want it: boards, CRL, auditor, `openssl verify`."""

from __future__ import annotations

import json
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
from harness.edge import Edge, EdgePeer
from harness.further_issuers import signed_by_own_root
from harness.installation import Installation
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


def certified(edge: Edge, station: EdgePeer, order: str, *chips: str) -> list[signing_pb2.SignCsrResponse]:
    """A board for each of these chips."""
    answers = []
    for chip_id, key in edge.installation.personalize(chips).items():
        board = PaperBoard(chip_id, key)
        opening = signing_pb2.OpenSessionRequest(work_order=order, chip_id=chip_id)
        session = station.signing.OpenSession(opening, timeout=20, wait_for_ready=True)
        csr, evidence = board.request(session.challenge)
        asked = signing_pb2.SignCsrRequest(session=session.session, csr_der=csr, evidence=evidence)
        answers.append(station.signing.SignCsr(asked, timeout=20, wait_for_ready=True))
    return answers


def test_boards_and_a_crl_of_an_rsa_issuer(edge: Edge, tmp_path: Path) -> None:
    station = edge.add_peer("station/plant1/pc1")
    answers = certified(edge, station, edge.open_order(station, quantity=2), "rsa:1", "rsa:2")
    certificates = [x509.load_der_x509_certificate(answer.certificate_der) for answer in answers]
    sub_ca = x509.load_pem_x509_certificates((edge.home / "ca" / "sub-ca.pem").read_bytes())[0]
    issuer = sub_ca.public_key()
    assert isinstance(issuer, rsa.RSAPublicKey)
    for certificate in certificates:
        certificate.verify_directly_issued_by(sub_ca)
        assert certificate.signature_algorithm_oid == x509.SignatureAlgorithmOID.RSA_WITH_SHA256
    edge.installation.admin("revoke", answers[0].serial_number, "--reason", "superseded")
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


@pytest.mark.parametrize(
    "bits",
    [2048, pytest.param(3072, marks=pytest.mark.soak), pytest.param(4096, marks=pytest.mark.soak)],
)
def test_an_rsa_issuer_after_one_with_an_elliptic_curve(tmp_path: Path, bits: int) -> None:
    """From `ca request` to a board that it certified, and back: the first one issues again."""
    with Installation(tmp_path / "line") as installation:
        admin, root = installation.admin, installation.home / "root" / "root.pem"
        installation.start_signerd()
        asked = admin("ca", "request", "for-cloud", "--key-type", f"rsa{bits}", "--json")
        request = Path(json.loads(asked)["request"])
        key = x509.load_pem_x509_csr(request.read_bytes()).public_key()
        assert isinstance(key, rsa.RSAPublicKey)
        assert key.key_size == bits
        made = signed_by_own_root(installation, request, tmp_path / "for-cloud.pem")
        admin("ca", "add", "for-cloud", "--certificate", made, "--root", root)
        installation.process.stop()
        with Edge(tmp_path, installation=installation) as edge:
            edge.start()
            edge.add_sensor()
            station = edge.add_peer("station/plant1/pc1")
            order = edge.open_order(station, quantity=3)
            boards = []
            for number, issuer in enumerate(("main", "for-cloud", "main")):
                if number:
                    admin("ca", "activate", issuer)
                boards += certified(edge, station, order, f"rsa:{number}")
            first, second, third = [x509.load_der_x509_certificate(each.certificate_der) for each in boards]
            second.verify_directly_issued_by(x509.load_pem_x509_certificate(made.read_bytes()))
            assert second.signature_algorithm_oid == x509.SignatureAlgorithmOID.RSA_WITH_SHA256
            for other in (first, third):
                assert other.signature_algorithm_oid == x509.SignatureAlgorithmOID.ECDSA_WITH_SHA256
            admin("revoke", boards[1].serial_number, "--reason", "superseded")
            admin("crl", "--issuer", "for-cloud", "--out", tmp_path / "crl.der")
            crl = x509.load_der_x509_crl((tmp_path / "crl.der").read_bytes())
            assert crl.is_signature_valid(key)
            assert [each.serial_number for each in crl] == [second.serial_number]
            auditor = installation.add_auditor("company")
            run([COMMANDS / "birthmark-auditor", "verify", "--config", auditor.config])
