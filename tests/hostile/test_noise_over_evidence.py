"""Noise that is to keep attacks out of the ledger: every refusal of evidence is named there, by chip and CSR,
whatever else its sender, the others and a revoked key of the same station were refused before."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from birthmark.v1 import admin_pb2, signing_pb2
from harness.callers import LOOKS, flood
from harness.edge import certified, key_pem, new_key
from harness.hostile_line import HostileLine, Station, code_of
from harness.installation import Installation
from harness.process import wait_until

pytestmark = pytest.mark.check

SHARE = 30  # refusals an hour
NOISE = 3 * SHARE
ATTACKS = 5
SIGNING = "/birthmark.v1.SigningService/"
LIMITS = f"\n[limits]\nrefusals_per_h = {SHARE}\nstation_calls_per_s = 1000.0\nstation_burst = 5000\n"
_names = itertools.count(1)


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HostileLine]:
    with Installation(tmp_path_factory.mktemp("noise")) as installation:
        config = installation.config
        config.write_text(config.read_text("utf-8") + LIMITS, "utf-8")
        hostile = HostileLine(installation)
        yield hostile
        hostile.close()


@pytest.fixture
def mallory(line: HostileLine) -> Iterator[Station]:
    station = line.add_station("plant1", f"mallory-{next(_names)}")
    yield station
    station.close()


def certified_station(line: HostileLine, uri: str) -> tuple[Station, bytes]:
    """Of a new key, which nobody registered; and its certificate, DER."""
    key, home = new_key(), line.installation.home
    certificate = certified(home, uri, key)
    root = (home / "operations" / "ca.pem").read_bytes()
    station = Station.of(uri, line.installation.target, root, key_pem(key), certificate)
    return station, x509.load_pem_x509_certificate(certificate).public_bytes(Encoding.DER)


def attack(line: HostileLine, station: Station, order: str) -> tuple[str, str]:
    """Another board's evidence: the chip, and the digest of the CSR."""
    board, other = line.board(), line.board()
    session = station.open(order, board.chip_id)
    csr, _ = board.request(session.challenge)
    _, foreign = other.request(session.challenge)
    assert code_of(lambda: station.sign(session, csr, foreign)) == "evidence_rejected"
    return board.chip_id, hashlib.sha256(csr).hexdigest()


def attacks(line: HostileLine, station: Station, order: str) -> list[tuple[str, str]]:
    return [attack(line, station, order) for _ in range(ATTACKS)]


def named(line: HostileLine, station: Station) -> list[tuple[str, str]]:
    return [
        (entry["chip_id"], entry["csr_sha256"])
        for entry in line.entries()
        if (entry["type"], entry.get("peer"), entry.get("code"))
        == ("refused", station.uri, "evidence_rejected")
    ]


def all_named(line: HostileLine, station: Station, made: list[tuple[str, str]]) -> None:
    wait_until(
        lambda: set(named(line, station)) >= set(made), "each attack in the ledger, by its chip and CSR"
    )
    assert sorted(named(line, station)) == sorted(made)


def noise(line: HostileLine, station: Station, order: str, kind: str) -> None:
    """More refusals of one kind than its share."""
    if kind in LOOKS:
        flood(station, SIGNING + "SignCsr", LOOKS[kind], calls=NOISE)
        return
    board = line.board()
    session = station.open(order, board.chip_id)
    csr, evidence = board.request(session.challenge)
    made_up = signing_pb2.OpenSessionResponse(session=bytes(len(session.session)))
    for _ in range(NOISE):
        match kind:
            case "session_unknown":
                assert code_of(lambda: station.sign(made_up, csr, evidence)) == kind
            case "csr_rejected":
                assert code_of(lambda: station.sign(session, csr + b"\0", evidence)) == kind
            case "order_unknown":
                assert code_of(lambda: station.open("WO-X", board.chip_id)) == kind
            case "role_denied":
                assert code_of(lambda: station.raw("/birthmark.v1.AuditService/GetRecord")(b"")) == kind


@pytest.mark.parametrize(
    "kind",
    ["no body", "no message of its type", "session_unknown", "csr_rejected", "order_unknown", "role_denied"],
)
def test_noise_of_the_attacker_itself(line: HostileLine, mallory: Station, kind: str) -> None:
    order = line.open_order(stations=(mallory.uri,))
    noise(line, mallory, order, kind)
    all_named(line, mallory, attacks(line, mallory, order))


def test_noise_with_the_revoked_key_of_a_station_that_was_enrolled_again(line: HostileLine) -> None:
    old = line.installation.add_station("plant1", "twice")
    stolen = Station.enrolled(old, line.installation.target)
    order = line.open_order(stations=(old.uri,))
    assert code_of(lambda: stolen.open(order, line.board().chip_id)) == ""
    line.admin.RevokePeer(admin_pb2.RevokePeerRequest(uri=old.uri), timeout=30)
    successor, certificate = certified_station(line, old.uri)
    line.admin.AddPeer(admin_pb2.AddPeerRequest(certificate_der=certificate), timeout=30)
    codes = flood(stolen, SIGNING + "OpenSession", LOOKS["no body"], calls=NOISE)
    codes += flood(stolen, SIGNING + "SignCsr", LOOKS["no message of its type"], calls=NOISE)
    assert set(codes) == {"peer_revoked"}
    all_named(line, successor, attacks(line, successor, order))
    stolen.close()
    successor.close()


@pytest.mark.parametrize("registered", [False, True], ids=["strangers", "other stations"])
def test_noise_of_many_others(line: HostileLine, mallory: Station, registered: bool) -> None:
    order = line.open_order(stations=(mallory.uri,))
    for number in range(5):
        uri = f"birthmark://dev/station/plant1/other-{number}" if registered else mallory.uri
        other, certificate = certified_station(line, uri)
        if registered:
            line.admin.AddPeer(admin_pb2.AddPeerRequest(certificate_der=certificate), timeout=30)
        flood(other, SIGNING + "SignCsr", LOOKS["no body"], calls=NOISE)
        other.close()
    all_named(line, mallory, attacks(line, mallory, order))
