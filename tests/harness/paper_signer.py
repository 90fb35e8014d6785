"""A signerd on paper: `SigningService` over real mTLS on the loopback, answered by a `PaperCompany`.

    async with PaperSigner(company, directory) as signer:
        client = GrpcSigner(signer.address, **signer.pems(), deadline_s=5, version="1.0")

It can be told to answer with other bytes or another status than the company would.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Awaitable
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any, NoReturn, Self, TypeVar

import grpc
import grpc.aio
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from agent.errors import Refused, SignerUnavailable
from agent.ports import BoardRequest, BoardStamp, Receipt
from birthmark.v1 import signing_pb2 as pb
from birthmark.v1 import signing_pb2_grpc as rpc
from birthmark.v1 import station_pb2
from birthmark.v1 import station_pb2_grpc as station_rpc
from harness.agent_world import Gate
from harness.paper_company import PaperCompany

T = TypeVar("T")

STATION = "birthmark://paper/station/plant1/pc1"
_KEY_TYPES = {"p256": pb.KEY_TYPE_P256, "p384": pb.KEY_TYPE_P384}


def pem_of(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


class OperationsTree:
    """The CA of server and stations."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "operations")])
        now = datetime.now(UTC)
        builder = x509.CertificateBuilder(
            self._name,
            self._name,
            self._key.public_key(),
            1,
            now - timedelta(days=1),
            now + timedelta(days=90),
        )
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        identifier = x509.SubjectKeyIdentifier.from_public_key(self._key.public_key())
        self.certificate = builder.add_extension(identifier, critical=False).sign(self._key, hashes.SHA256())

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(Encoding.PEM)

    def issue(
        self, key: ec.EllipticCurvePublicKey, *names: x509.GeneralName, days: int = 825, begins: int = -1
    ) -> bytes:
        """A certificate, PEM, for server or station."""
        now = datetime.now(UTC)
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "peer")])
        begin, end = now + timedelta(days=begins), now + timedelta(days=days)
        builder = x509.CertificateBuilder(self._name, subject, key, 2, begin, end)
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
        builder = builder.add_extension(usage, critical=False)
        identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        builder = builder.add_extension(identifier, critical=False)
        return builder.sign(self._key, hashes.SHA256()).public_bytes(Encoding.PEM)


class PaperSigner(rpc.SigningServiceServicer, station_rpc.StationServiceServicer):
    """See the module."""

    def __init__(self, company: PaperCompany) -> None:
        self.company = company
        self.operations = OperationsTree()
        self._station_key = ec.generate_private_key(ec.SECP256R1())
        self.address = ""
        self.statuses: list[tuple[grpc.StatusCode, str, str]] = []  # status, message, birthmark-code
        self.ahead = timedelta()  # of this PC's clock
        self.order_codes: list[str] = []  # said of orders that a station asks about
        self.witnesses_required = 0  # as signerd says; it cosigns by those of the company's log
        self.knows_checks = True  # False: a signerd from before `StationService`
        self.tells_time = False  # as signerd does since there is `birthmark-time`
        self.gates: dict[str, Gate] = {}  # calls of this name are held up
        self.answers: list[Any] = []  # given in place of the company's
        self.agent_versions: list[str] = []  # as stated
        self.seen_checkpoints: list[bytes] = []  # as sent with each session

    def issue_station(
        self, request_pem: bytes, uri: str = STATION, *, days: int = 825, begins: int = -1
    ) -> bytes:
        """A certificate, PEM, for the key of a station's request."""
        key = x509.load_pem_x509_csr(request_pem).public_key()
        assert isinstance(key, ec.EllipticCurvePublicKey)
        name = x509.UniformResourceIdentifier(uri)
        return self.operations.issue(key, name, days=days, begins=begins)

    def pems(self) -> dict[str, Any]:
        """What a station needs to call it, as `GrpcSigner` takes it."""
        certificate = self.operations.issue(
            self._station_key.public_key(), x509.UniformResourceIdentifier(STATION)
        )
        return {
            "operations_ca": self.operations.pem,
            "certificate": certificate,
            "key": pem_of(self._station_key),
        }

    async def __aenter__(self) -> Self:
        key = ec.generate_private_key(ec.SECP256R1())
        loopback = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
        certificate = self.operations.issue(key.public_key(), loopback)
        credentials = grpc.ssl_server_credentials(
            [(pem_of(key), certificate)], self.operations.pem, require_client_auth=True
        )
        self._server = grpc.aio.server()
        rpc.add_SigningServiceServicer_to_server(self, self._server)
        station_rpc.add_StationServiceServicer_to_server(self, self._server)
        self.address = f"127.0.0.1:{self._server.add_secure_port('127.0.0.1:0', credentials)}"
        await self._server.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._server.stop(None)

    async def CheckStation(self, request: station_pb2.CheckStationRequest, context: Any) -> Any:  # noqa: N802 -- gRPC's
        if not self.knows_checks:
            await self._abort(context, grpc.StatusCode.PERMISSION_DENIED, "role_denied", "role_denied")
        context.set_trailing_metadata(self._time())
        code = self.order_codes.pop(0) if request.work_order and self.order_codes else ""
        highest = self.company.tree.sub.public_bytes(Encoding.DER)
        return station_pb2.CheckStationResponse(
            highest_ca_der=[highest],
            order_code=code,
            witnesses_required=self.witnesses_required,
            witness_vkeys=[each.vkey for each in self.company.log.witnesses],
        )

    async def OpenSession(self, request: pb.OpenSessionRequest, context: Any) -> Any:  # noqa: N802 -- gRPC's
        await self._held("OpenSession")
        self.seen_checkpoints.append(request.seen_checkpoint)
        self.agent_versions.append(request.agent_version)
        session = await self._answer(self.company.open_session(request.work_order, request.chip_id), context)
        if self.answers:
            return self.answers.pop(0)
        answer = pb.OpenSessionResponse(
            session=session.session,
            challenge=session.challenge,
            key_types=[_KEY_TYPES[name] for name in session.key_types],
            evidence_methods=session.evidence_methods,
            level=pb.EVIDENCE_LEVEL_CHIP,
            required_locks=session.required_locks,
        )
        answer.expires_at.FromDatetime(session.expires_at)
        return answer

    async def SignCsr(self, request: pb.SignCsrRequest, context: Any) -> Any:  # noqa: N802 -- gRPC's
        await self._held("SignCsr")
        self.agent_versions.append(request.agent_version)
        evidence = request.evidence
        asked = BoardRequest(request.csr_der, evidence.method, evidence.claims, evidence.evidence)
        issued = await self._answer(self.company.sign_csr(request.session, asked), context)
        if self.answers:
            return self.answers.pop(0)
        return pb.SignCsrResponse(
            certificate_der=issued.certificate_der,
            chain_der=issued.chain_der,
            serial_number=issued.serial_number,
            settings=issued.settings,
            ledger_index=issued.receipt.index,
            receipt=issued.receipt.proof,
            ledger_entry=issued.receipt.entry,
            stamped=issued.stamped,
        )

    async def RecordStamp(self, request: pb.RecordStampRequest, context: Any) -> Any:  # noqa: N802 -- gRPC's
        stamp = BoardStamp(request.stamp, request.signature)
        receipt: Receipt = await self._answer(self.company.record_stamp(request.session, stamp), context)
        if self.answers:
            return self.answers.pop(0)
        return pb.RecordStampResponse(
            ledger_index=receipt.index, receipt=receipt.proof, ledger_entry=receipt.entry
        )

    async def _held(self, name: str) -> None:
        if name in self.gates:
            self.gates[name].arrived.set()
            await self.gates[name].open.wait()

    async def _answer(self, call: Awaitable[T], context: Any) -> T:
        try:
            answer = await call
        except Refused as error:
            await self._abort(context, grpc.StatusCode.FAILED_PRECONDITION, error.code, error.code)
        except SignerUnavailable:
            await self._abort(context, grpc.StatusCode.UNAVAILABLE, "unavailable", "unavailable")
        if self.statuses:
            await self._abort(context, *self.statuses.pop(0))
        context.set_trailing_metadata(self._time())
        return answer

    async def _abort(self, context: Any, status: grpc.StatusCode, message: str, code: str) -> NoReturn:
        metadata = (("birthmark-code", code),) if code else ()
        await context.abort(status, message, (*metadata, *self._time()))
        raise AssertionError("abort raises")

    def _time(self) -> tuple[tuple[str, str], ...]:
        said = (datetime.now(UTC) + self.ahead).isoformat(timespec="milliseconds").removesuffix("+00:00")
        return (("birthmark-time", f"{said}Z"),) if self.tells_time else ()
