"""A station's renewal: which certificates take the old one's place, and that it goes on asking."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from agent.adapters.enrolment import renewal
from agent.adapters.enrolment.enroll import install_renewed
from agent.adapters.enrolment.renewal import Renewal, StationRenewal
from agent.adapters.parts import signer_of
from agent.config import Config, Signerd
from agent.errors import ConfigError, Refused, SignerUnavailable
from harness.edge import key_pem, new_key
from signerd.adapters.operations_ca import OperationsCa, create_ca, sign_peer_request

NOW = datetime.now(UTC).replace(microsecond=0)
URI = "birthmark://example/station/plant1/pc1"


class Station:
    """Files of one, and the CA of before with its successor, which ends sooner."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.old_ca = create_ca("example", NOW)
        self.new_ca = create_ca("example", NOW - timedelta(days=7000), successor=True)
        self._key = new_key()
        (folder / "station.key").write_bytes(key_pem(self._key))
        signerd = Signerd(
            address="localhost:8443",
            certificate=folder / "station.pem",
            key=folder / "station.key",
            operations_ca=folder / "ca.pem",
            log_vkey=folder / "log.vkey",
            device_root=folder / "root.pem",
        )
        self.config = Config(deployment="example", signerd=signerd, state=folder / "state")
        self.certified("station.pem", self.old_ca, NOW)
        self.cas("ca.pem", self.old_ca)

    def certified(self, name: str, ca: OperationsCa, at: datetime) -> Path:
        builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
        request = builder.sign(self._key, hashes.SHA256()).public_bytes(Encoding.PEM)
        made = sign_peer_request(request, URI, ca, at)
        (self.folder / name).write_bytes(made.public_bytes(Encoding.PEM))
        return self.folder / name

    def cas(self, name: str, *cas: OperationsCa) -> Path:
        pem = b"".join(ca.certificate.public_bytes(Encoding.PEM) for ca in cas)
        (self.folder / name).write_bytes(pem)
        return self.folder / name

    def in_place(self) -> bytes:
        return self.config.signerd.certificate.read_bytes()


@pytest.fixture
def station(tmp_path: Path) -> Station:
    return Station(tmp_path)


def test_the_one_that_is_there_is_taken_once_more(station: Station) -> None:
    """The command was cut short, and is given again."""
    newer = station.certified("newer.pem", station.old_ca, NOW + timedelta(days=1))
    assert install_renewed(station.config, newer).uri == URI
    assert install_renewed(station.config, newer).uri == URI
    assert station.in_place() == newer.read_bytes()


def test_an_older_one_of_the_same_ca_is_not(station: Station) -> None:
    before = station.in_place()
    older = station.certified("older.pem", station.old_ca, NOW - timedelta(days=1))
    with pytest.raises(ConfigError, match="no later than the one that is there"):
        install_renewed(station.config, older)
    assert station.in_place() == before


def test_of_the_newest_ca_one_that_ends_sooner_is_taken_and_there_is_no_way_back(station: Station) -> None:
    old = station.folder / "old.pem"
    old.write_bytes(station.in_place())
    both = station.cas("both.pem", station.old_ca, station.new_ca)
    moved = station.certified("moved.pem", station.new_ca, NOW)
    install_renewed(station.config, moved, both)
    assert station.in_place() == moved.read_bytes()
    back = station.certified("back.pem", station.old_ca, NOW - timedelta(days=600))
    with pytest.raises(ConfigError, match="no later than the one that is there"):
        install_renewed(station.config, back)
    assert station.in_place() == moved.read_bytes()


def test_a_file_that_is_not_there_is_named_with_what_to_do(station: Station) -> None:
    with pytest.raises(ConfigError) as caught:
        install_renewed(station.config, station.folder / "none.pem")
    assert "none.pem" in caught.value.detail
    assert "sent back" in caught.value.remedy


async def test_it_asks_again_after_a_refusal(station: Station, monkeypatch: pytest.MonkeyPatch) -> None:
    """signerd may have had a fault, or be of an earlier version, one day of the years that a station runs."""
    answers = iter([Refused("internal"), SignerUnavailable("away"), Refused("unimplemented")])
    asked_again = asyncio.Event()

    async def no_renewal(_config: Config, _signer: object) -> Renewal:
        answer = next(answers, None)
        if answer is None:
            asked_again.set()
            await asyncio.Event().wait()
        raise answer or AssertionError

    monkeypatch.setattr(renewal, "renew", no_renewal)
    for delay in ("ASK_EVERY_S", "REFUSED_EVERY_S"):
        monkeypatch.setattr(renewal, delay, 0.0)
    async with StationRenewal(station.config, signer_of(station.config)), asyncio.timeout(60):
        await asked_again.wait()
