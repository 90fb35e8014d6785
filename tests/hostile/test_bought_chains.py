"""A sub-CA that was bought, below four CAs whose constraints its boards have to keep: known at the desk."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from agent.core.certificate import Answer, Asked, Trust, check_answer
from agent.core.chain import check_chain
from agent.core.log_keys import parse_log_keys
from agent.errors import BadAnswer
from auditor.core.chain import check_issuers
from auditor.errors import CheckFailed
from birthmark.v1 import admin_pb2, signing_pb2
from harness.bought_installation import BoughtInstallation
from harness.ca_chains import (
    BEGIN,
    CLIENT,
    END,
    MIDDLE,
    ROOT,
    SUB,
    Case,
    Terms,
    constraints,
    directory,
    dns,
    key_usage,
    organization,
    raw,
    uri,
)
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
    root = x509.load_pem_x509_certificate((edge.home / "ca" / "root.pem").read_bytes())
    trust = Trust((root,), parse_log_keys((edge.home / "log.vkey").read_text("ascii").strip()))
    asked_of = Asked(order, board.chip_id, csr)
    answered = Answer(
        answer.certificate_der, tuple(answer.chain_der), answer.serial_number, answer.settings,
        answer.ledger_index, answer.ledger_entry, answer.receipt,
    )  # fmt: skip
    assert check_answer(asked_of, answered, trust).serial_number == answer.serial_number
    with pytest.raises(BadAnswer):
        check_answer(asked_of, replace(answered, chain_der=answered.chain_der[:-1]), trust)
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is not installed")
    for name, certificates in (("board", [answer.certificate_der]), ("chain", answer.chain_der)):
        read = [x509.load_der_x509_certificate(each) for each in certificates]
        (tmp_path / name).write_bytes(b"".join(each.public_bytes(Encoding.PEM) for each in read))
    anchors = ["-trusted", str(edge.home / "ca" / "root.pem"), "-untrusted", str(tmp_path / "chain")]
    command = [openssl, "verify", "-x509_strict", "-policy_check", "-purpose", "sslclient", *anchors]
    subprocess.run([*command, str(tmp_path / "board")], check=True, capture_output=True)


UNKNOWN = raw("1.3.6.1.4.1.55555.1", b"\x05\x00")
HANDED_OUT = {
    "unknown critical extension": (ROOT, replace(MIDDLE, extra=(UNKNOWN,)), SUB),
    "the sub-CA outside the middle's names": (
        ROOT,
        replace(MIDDLE, extra=(constraints(directory(organization("Example"))),)),
        replace(SUB, organization="Other"),
    ),
    "one CA more than the path length allows": (ROOT, replace(MIDDLE, path_length=0), SUB),
    "a CA that may not sign": (ROOT, replace(MIDDLE, usage=key_usage(sign_certificates=False)), SUB),
}


@pytest.mark.parametrize("wrong", sorted(HANDED_OUT))
def test_a_signerd_that_hands_out_a_chain_that_others_refuse(wrong: str) -> None:
    """Both readers take the same chain without the one thing."""
    for authorities, holds in (((ROOT, MIDDLE, SUB), True), (HANDED_OUT[wrong], False)):
        case = Case("", authorities, valid=holds)
        leaf = x509.load_der_x509_certificate(case.leaf_der)
        path = [each.public_bytes(Encoding.DER) for each in (*case.chain, case.root)]
        if holds:
            check_chain(leaf, case.chain, [case.root])
            check_issuers(path)
            continue
        with pytest.raises(BadAnswer):
            check_chain(leaf, case.chain, [case.root])
        with pytest.raises(CheckFailed):
            check_issuers(path)


NO_SUB_CA = {
    "it could make further CAs": ((ROOT, replace(SUB, path_length=1)), "path length is not 0"),
    "it may sign no CRL": (
        (ROOT, replace(SUB, usage=key_usage(sign_certificates=True, sign_crls=False))),
        "cRLSign",
    ),
    "it outlives a CA above": ((replace(ROOT, end=END - timedelta(days=1)), SUB), "outlives CN=Root"),
    "it has ended": ((ROOT, replace(SUB, end=BEGIN + timedelta(days=1))), "not valid now"),
    "a CA above allows it nothing": ((ROOT, replace(MIDDLE, extra=(UNKNOWN,)), SUB), "critical extension"),
}


@pytest.mark.parametrize("wrong", sorted(NO_SUB_CA))
def test_an_issuer_that_is_no_sub_ca_is_not_announced(edge: Edge, wrong: str) -> None:
    """As `init` refuses it; the same with nothing wrong is announced."""
    authorities, reason = NO_SUB_CA[wrong]
    before = len(list(edge.entries()))
    with pytest.raises(grpc.RpcError) as refusal:
        announce(edge, "no-sub-ca", Case("", authorities, valid=False))
    assert reason in str(refusal.value.details())
    assert len(list(edge.entries())) == before


def test_an_issuer_that_is_a_sub_ca_is_announced(edge: Edge) -> None:
    announce(edge, "next", Case("", (ROOT, MIDDLE, SUB), valid=True))
    assert [entry["issuer"] for entry in edge.entries() if entry["type"] == "issuer_added"] == ["next"]


def announce(edge: Edge, name: str, case: Case) -> None:
    chain = [each.public_bytes(Encoding.DER) for each in case.chain]
    root = case.root.public_bytes(Encoding.DER)
    request = admin_pb2.AddIssuerRequest(name=name, ca="main", chain_der=chain, root_der=root, by="ann")
    edge.admin.AddIssuer(request, timeout=20, wait_for_ready=True)
