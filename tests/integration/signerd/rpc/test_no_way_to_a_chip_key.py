"""Nothing that a station may call derives a chip's key, and nothing that it is told holds one."""

from __future__ import annotations

import base64
import hashlib
import hmac

import grimp
import pytest

from birthmark.v1 import admin_pb2, signing_pb2
from harness.edge import TIMEOUT_S, Edge, EdgePeer, code_of
from harness.paper_board import PaperBoard
from signerd.adapters.keyholder.protocol import Operation

ADMIN = admin_pb2.DESCRIPTOR.services_by_name["AdminService"]
CHIP = "chip:inside"
# The only module of signerd that may reach the derivation: the command of a trusted place.
PERSONALIZATION = "signerd.adapters.keyholder.personalization"
ITS_COMMAND = "signerd.adapters.cli.personalize"


@pytest.fixture(scope="module")
def station(edge: Edge) -> EdgePeer:
    return edge.add_peer("station/plant3/pc1")


@pytest.mark.parametrize("method", [method.name for method in ADMIN.methods])
def test_a_station_reaches_no_method_of_the_administrators(station: EdgePeer, method: str) -> None:
    assert code_of(lambda: station.raw(f"/{ADMIN.full_name}/{method}", b"")) == "role_denied"


@pytest.mark.parametrize("service", ["SigningService", "AuditService", "AdminService", "KeyHolder"])
@pytest.mark.parametrize("method", [operation.value for operation in Operation] + ["DeriveChipKey"])
def test_no_operation_of_the_key_holder_is_a_method(station: EdgePeer, service: str, method: str) -> None:
    said = code_of(lambda: station.raw(f"/birthmark.v1.{service}/{method}", b""))
    assert said in {"role_denied", "UNIMPLEMENTED"}


def test_what_a_station_is_told_holds_neither_key_nor_mac(edge: Edge, station: EdgePeer) -> None:
    edge.add_sensor()
    order = edge.open_order(station)
    key = edge.installation.personalize([CHIP])[CHIP]
    heard = b""
    opened = station.signing.OpenSession(
        signing_pb2.OpenSessionRequest(work_order=order, chip_id=CHIP), timeout=TIMEOUT_S
    )
    board = PaperBoard(CHIP, key)
    csr, evidence = board.request(opened.challenge)
    forged = signing_pb2.Evidence(method=evidence.method, claims=evidence.claims, evidence=bytes(32))
    request = signing_pb2.SignCsrRequest(session=opened.session, csr_der=csr, evidence=forged)
    with pytest.raises(Exception, match="evidence_rejected") as refused:
        station.signing.SignCsr(request, timeout=TIMEOUT_S)
    heard += repr(refused.value).encode()
    request.evidence.CopyFrom(evidence)
    signed = station.signing.SignCsr(request, timeout=TIMEOUT_S)
    heard += opened.SerializeToString() + signed.SerializeToString()
    assert hashlib.sha256(csr).hexdigest().encode() in heard  # the receipt's entry is part of what is heard
    for secret in (key, evidence.evidence, hmac.digest(key, b"", "sha256")):
        for form in (
            secret,
            secret.hex().encode(),
            base64.b64encode(secret),
            base64.urlsafe_b64encode(secret),
        ):
            assert form not in heard


def test_only_the_command_of_a_trusted_place_can_derive() -> None:
    graph = grimp.build_graph("signerd", cache_dir=None)
    assert graph.find_modules_that_directly_import(PERSONALIZATION) == {ITS_COMMAND}
    assert graph.find_shortest_chain(importer="signerd.wiring", imported=PERSONALIZATION) is None
    assert graph.find_shortest_chain(importer="signerd.__main__", imported=PERSONALIZATION) is not None
