"""A station that renews its certificate while it runs, and goes on with the old one if the new is no good."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from agent.adapters import durable_files
from agent.adapters.enrolment import renewal
from agent.adapters.enrolment.renewal import Outcome, Renewal, StationRenewal, renew
from agent.adapters.parts import signer_of
from agent.adapters.signer.client import GrpcSigner
from agent.config import Config, Signerd
from agent.errors import BadAnswer, Refused, SignerUnavailable
from birthmark.v1 import admin_pb2
from harness.edge import TIMEOUT_S, Edge, key_pem, new_key
from signerd.adapters.operations_ca import load_ca, sign_peer_request

pytestmark = pytest.mark.check
URI = "birthmark://dev/station/plant1/pc1"


class Crash(BaseException):
    """The power goes."""


@pytest.fixture
def edge(tmp_path: Path) -> Iterator[Edge]:
    with Edge(tmp_path / "edge") as edge:
        edge.start()
        yield edge


@pytest.fixture
def config(edge: Edge, tmp_path: Path) -> Config:
    """A station whose certificate is in the last third of its life, renewed without an administrator."""
    key, folder = new_key(), tmp_path / "station"
    folder.mkdir()
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
    ago = datetime.now(UTC) - timedelta(days=600)
    made = sign_peer_request(request.public_bytes(Encoding.PEM), URI, load_ca(edge.home), ago)
    (folder / "station.key").write_bytes(key_pem(key))
    (folder / "station.pem").write_bytes(made.public_bytes(Encoding.PEM))
    (folder / "operations-ca.pem").write_bytes((edge.home / "operations" / "ca.pem").read_bytes())
    der = made.public_bytes(Encoding.DER)
    edge.admin.AddPeer(admin_pb2.AddPeerRequest(certificate_der=der), timeout=TIMEOUT_S)
    edge.admin.ChooseRenewal(admin_pb2.ChooseRenewalRequest(uri=URI, automatic=True), timeout=TIMEOUT_S)
    signerd = Signerd(
        address=edge.installation.target,
        certificate=folder / "station.pem",
        key=folder / "station.key",
        operations_ca=folder / "operations-ca.pem",
        log_vkey=edge.home / "log.vkey",
        device_root=edge.home / "ca" / "root.pem",
    )
    return Config(deployment="dev", signerd=signerd, state=folder / "state")


def certificate(config: Config) -> x509.Certificate:
    return x509.load_pem_x509_certificate(config.signerd.certificate.read_bytes())


async def works(signer: GrpcSigner) -> None:
    with pytest.raises(Refused) as caught:
        await signer.open_session("WO-NONE", "chip-1")
    assert caught.value.code == "order_unknown"


async def test_it_is_taken_up_while_the_station_runs(config: Config) -> None:
    before = certificate(config)
    async with signer_of(config) as signer:
        await signer.ready()
        await works(signer)
        async with StationRenewal(config, signer) as renewing:
            async with asyncio.timeout(TIMEOUT_S * 3):
                while renewing.last is None:
                    await asyncio.gather(*(works(signer) for _ in range(3)))  # boards come all the time
            assert isinstance(renewing.last, Renewal), renewing.last
            assert renewing.last.outcome is Outcome.DONE
        await works(signer)
        assert (await renew(config, signer)).outcome is Outcome.NOT_DUE  # it shows the new one
    after = certificate(config)
    assert after.public_key() == before.public_key()
    assert after.not_valid_after_utc > before.not_valid_after_utc
    async with signer_of(config) as signer:
        await signer.ready()
        await works(signer)


async def test_a_new_one_that_is_not_let_in_changes_nothing(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = certificate(config)
    async with signer_of(config) as signer:
        await signer.ready()
        stranger = key_pem(new_key())

        def refused(operations_ca: bytes, certificate: bytes) -> GrpcSigner:
            del operations_ca, certificate
            old = config.signerd.certificate.read_bytes()
            return GrpcSigner(
                "127.0.0.1:1", operations_ca=old, certificate=old, key=stranger, deadline_s=0.5, version=""
            )

        monkeypatch.setattr(signer, "with_credentials", refused)
        with pytest.raises(SignerUnavailable):
            await renew(config, signer)
        await works(signer)
        assert certificate(config) == before
        monkeypatch.undo()
        assert (await renew(config, signer)).outcome is Outcome.DONE


async def test_one_that_is_for_another_key_is_not_taken(config: Config) -> None:
    """A signerd that gives what is not this station's."""
    async with signer_of(config) as signer:
        await signer.ready()
        config.signerd.key.write_bytes(key_pem(new_key()))
        before = certificate(config)
        with pytest.raises(BadAnswer, match="not for this station"):
            await renew(config, signer)
        assert certificate(config) == before
        await works(signer)


@pytest.mark.parametrize("write", [0, 1])
async def test_a_power_cut_leaves_a_station_that_works(
    edge: Edge, config: Config, monkeypatch: pytest.MonkeyPatch, write: int
) -> None:
    """Before each of the two files is replaced: the CAs, and the certificate."""
    other = config.signerd.operations_ca.read_bytes() + b"\n"  # so that the first file is written too
    config.signerd.operations_ca.write_bytes(other)
    count = iter(range(9))

    def dying(path: Path, data: bytes, mode: int) -> None:
        if next(count) == write:
            raise Crash
        durable_files.replace(path, data, mode)

    with monkeypatch.context() as patched:
        patched.setattr(renewal, "replace", dying)
        async with signer_of(config) as signer:
            with pytest.raises(Crash):
                await renew(config, signer)
    async with signer_of(config) as signer:
        await signer.ready()
        await works(signer)
        assert (await renew(config, signer)).outcome is Outcome.DONE
    assert len([entry for entry in edge.entries() if entry["type"] == "station_renewed"]) == 1
