from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from signerd.adapters.mtls import PeerIdentities, PeerIdentity, identity_of
from signerd.adapters.rate_limit import STRANGERS, Rate, RateLimiter
from signerd.adapters.rpc.admission import PeerAdmission
from signerd.adapters.rpc.gate import Open
from signerd.core.names import PeerName, Role, parse_peer_uri
from signerd.errors import Code, Refused, Unavailable, Unrecorded
from signerd.ports import PeerRecord

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
STATION = "birthmark://dev/station/plant1/pc1"
KEY = ec.generate_private_key(ec.SECP256R1())


def certificate(
    *uris: str,
    dns: tuple[str, ...] = (),
    begin: datetime = NOW,
    days: int = 10,
    key: ec.EllipticCurvePrivateKey = KEY,
) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, STATION)])
    names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(uri) for uri in uris]
    names += [x509.DNSName(text) for text in dns]
    builder = (
        x509.CertificateBuilder()
        .issuer_name(name)
        .subject_name(name)
        .serial_number(1)
        .not_valid_before(begin)
        .not_valid_after(begin + timedelta(days=days))
        .public_key(key.public_key())
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(key, hashes.SHA256())


def auth(*certificates: x509.Certificate) -> dict[str, list[bytes]]:
    return {"x509_pem_cert": [each.public_bytes(Encoding.PEM) for each in certificates]}


class KnownPeers:
    def __init__(self) -> None:
        self.peers: dict[bytes, PeerRecord] = {}

    def add(self, identity: PeerIdentity, uri: str = STATION, revoked_at: datetime | None = None) -> None:
        self.peers[identity.spki_sha256] = PeerRecord(
            parse_peer_uri(uri), identity.spki_sha256, NOW, revoked_at
        )

    async def peer_of_key(self, spki_sha256: bytes) -> PeerRecord | None:
        return self.peers.get(spki_sha256)


class Door:
    def __init__(self, *, station: Rate | None = None) -> None:
        self.known = KnownPeers()
        self.moment = NOW
        self.admission = PeerAdmission(
            identities=PeerIdentities("dev"),
            limiter=RateLimiter(lambda: 0.0),
            strangers=RateLimiter(lambda: 0.0),
            rates={Role.STATION: station or Rate(10, 100), Role.AUDITOR: Rate(10, 100)},
            registry=self.known,
            clock=lambda: self.moment,
        )

    async def refusal(self, shown: x509.Certificate, role: Role | Open = Role.STATION) -> Code | None:
        refused = await self.refused(shown, role)
        return None if refused is None else refused.code

    async def refused(self, shown: x509.Certificate, role: Role | Open = Role.STATION) -> Refused | None:
        try:
            await self.admission.admit(auth(shown), role)
        except Refused as refused:
            return refused
        return None

    async def probed(self, shown: x509.Certificate) -> Code | None:
        try:
            await self.admission.admit_prober(auth(shown))
        except Unrecorded as refused:
            return refused.code
        return None


@pytest.fixture
def door() -> Door:
    door = Door()
    door.known.add(identity_of(certificate(STATION), "dev"))
    return door


async def test_a_registered_station_is_let_in(door: Door) -> None:
    name: PeerName = await door.admission.admit(auth(certificate(STATION)), Role.STATION)
    assert name.uri == STATION
    assert door.admission.label(auth(certificate(STATION))) == STATION


@pytest.mark.parametrize(
    "shown",
    [
        certificate(),
        certificate(dns=("station.example",)),
        certificate(STATION, "birthmark://dev/station/plant1/pc2"),
        certificate("birthmark://other/station/plant1/pc1"),
        certificate("birthmark://dev/signerd"),
        certificate("birthmark://dev/station/plant1/pc2"),
        certificate(STATION, begin=NOW + timedelta(days=1)),
        certificate(STATION, begin=NOW - timedelta(days=11)),
    ],
    ids=[
        "no SAN",
        "no URI",
        "two URIs",
        "another deployment",
        "no peer",
        "another's name",
        "not yet",
        "no more",
    ],
)
async def test_a_certificate_that_differs_in_one_thing_is_a_stranger(
    door: Door, shown: x509.Certificate
) -> None:
    assert await door.refusal(shown) is Code.UNAUTHENTICATED


async def test_other_uris_beside_the_name_do_no_harm(door: Door) -> None:
    assert await door.refusal(certificate("https://example.com/pc1", STATION)) is None


async def test_no_certificate_or_several_is_nobody(door: Door) -> None:
    one = certificate(STATION)
    for shown in ({}, auth(one, one), {"x509_pem_cert": [b"-----BEGIN CERTIFICATE-----\nAAAA\n"]}):
        assert door.admission.label(shown) is None
        with pytest.raises(Refused) as refused:
            await door.admission.admit(shown, Open.TO_PEERS)
        assert refused.value.code is Code.UNAUTHENTICATED


async def test_the_registry_is_asked_at_each_call(door: Door) -> None:
    shown = certificate(STATION)
    identity = identity_of(shown, "dev")
    assert await door.refusal(shown) is None
    door.known.add(identity, revoked_at=NOW)
    assert await door.refusal(shown) is Code.PEER_REVOKED
    door.known.peers.clear()
    assert await door.refusal(shown) is Code.UNAUTHENTICATED


async def test_a_registry_that_does_not_answer_lets_nobody_in_and_is_no_line_a_call(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(_key: bytes) -> PeerRecord | None:
        raise Unavailable("the database does not answer")

    monkeypatch.setattr(door.known, "peer_of_key", broken)
    refused = await door.refused(certificate(STATION))
    assert isinstance(refused, Unrecorded)
    assert refused.code is Code.UNAVAILABLE


async def test_validity_is_looked_at_at_each_call(door: Door) -> None:
    shown = certificate(STATION)
    assert await door.refusal(shown) is None
    door.moment = NOW + timedelta(days=10, seconds=1)
    assert await door.refusal(shown) is Code.UNAUTHENTICATED


async def test_a_role_opens_its_own_calls_alone(door: Door) -> None:
    assert await door.refusal(certificate(STATION), Role.AUDITOR) is Code.ROLE_DENIED
    assert await door.refusal(certificate(STATION), Open.TO_PEERS) is None
    assert await door.refusal(certificate(STATION), Open.TO_NOBODY) is Code.ROLE_DENIED


async def test_over_the_rate() -> None:
    door = Door(station=Rate(1, 2))
    door.known.add(identity_of(certificate(STATION), "dev"))
    answers = [await door.refusal(certificate(STATION)) for _ in range(3)]
    assert answers == [None, None, Code.RATE_LIMITED]


async def test_what_is_over_the_rate_is_not_recorded_and_keeps_its_code() -> None:
    """Registry, role, rate: the first that says no decides the code, the rate whether it is recorded."""
    door = Door(station=Rate(1, 2))
    door.known.add(identity_of(certificate(STATION), "dev"))
    shown = certificate(STATION)
    answers = [await door.refused(shown, Role.AUDITOR) for _ in range(3)]
    assert [each is not None and each.code for each in answers] == [Code.ROLE_DENIED] * 3
    assert [isinstance(each, Unrecorded) for each in answers] == [False, False, True]
    assert await door.refusal(shown) is Code.RATE_LIMITED
    door.known.add(identity_of(shown, "dev"), revoked_at=NOW)
    assert await door.refusal(shown) is Code.PEER_REVOKED


@pytest.mark.parametrize("revoked", [False, True], ids=["unregistered", "revoked"])
async def test_keys_that_are_not_valid_in_the_registry_are_told_so_and_never_recorded(revoked: bool) -> None:
    door = Door()
    if revoked:
        door.known.add(identity_of(certificate(STATION), "dev"), revoked_at=NOW)
    code = Code.PEER_REVOKED if revoked else Code.UNAUTHENTICATED
    for role in (Role.STATION, Role.AUDITOR, Open.TO_PEERS, Open.TO_NOBODY):
        refused = await door.refused(certificate(STATION), role)
        assert isinstance(refused, Unrecorded)
        assert refused.code is code


async def test_a_revoked_key_takes_nothing_from_its_successor() -> None:
    door = Door(station=Rate(1, 1))
    revoked = certificate(STATION)
    door.known.add(identity_of(revoked, "dev"), revoked_at=NOW)
    for _ in range(10):
        assert await door.refusal(revoked) is Code.PEER_REVOKED
    successor = certificate(STATION, key=ec.generate_private_key(ec.SECP256R1()))
    door.known.add(identity_of(successor, "dev"))
    assert await door.refusal(successor) is None


async def test_who_asks_how_signerd_is() -> None:
    door = Door(station=Rate(1, 2))
    shown = certificate(STATION)
    assert [await door.probed(shown) for _ in range(int(STRANGERS.burst))] == [None] * int(STRANGERS.burst)
    assert await door.probed(shown) is Code.RATE_LIMITED
    door.known.add(identity_of(shown, "dev"))
    assert [await door.probed(shown) for _ in range(3)] == [None, None, Code.RATE_LIMITED]
    door.known.add(identity_of(shown, "dev"), revoked_at=NOW)
    assert await door.probed(shown) is Code.PEER_REVOKED


def test_the_cache_of_certificates_is_bounded() -> None:
    identities = PeerIdentities("dev", capacity=2)
    shown = [certificate(f"birthmark://dev/auditor/a{number}") for number in range(3)]
    for each in (*shown, *shown):
        identity = identities.of(auth(each))
        assert identity is not None
        assert identity.name is not None
        assert identity.name.role is Role.AUDITOR
    assert len(identities._known) == 2
