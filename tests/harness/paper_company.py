"""A company on paper: device tree, ledger and the three calls, in memory, behind the agent's own port.

It follows signing.proto where the agent can see it: the same chip and key get the same certificate, a
stamp is recorded once, a session may be forgotten. It looks at no evidence.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import cbor2
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from agent.core.certificate import Trust
from agent.core.log_keys import Cosigners, parse_log_keys
from agent.errors import AgentError, Refused
from agent.ports import BoardRequest, BoardStamp, Issued, Receipt, Session
from harness.paper_witness import PaperWitness

ORIGIN = "paper.example/line"
_BEGIN, _END = datetime(2026, 1, 1, tzinfo=UTC), datetime(2046, 1, 1, tzinfo=UTC)
_USAGE = dict.fromkeys(
    [
        "digital_signature",
        "content_commitment",
        "key_encipherment",
        "data_encipherment",
        "key_agreement",
        "key_cert_sign",
        "crl_sign",
        "encipher_only",
        "decipher_only",
    ],
    False,
)


def _now() -> str:
    return f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S}Z"


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _spki(key: ec.EllipticCurvePublicKey | rsa.RSAPublicKey) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


class DeviceTree:
    """Root, sub-CA and leaves."""

    def __init__(self) -> None:
        self.root_key = ec.generate_private_key(ec.SECP256R1())
        self.sub_key = ec.generate_private_key(ec.SECP256R1())
        self.root = self.authority("root", self.root_key.public_key(), "root", self.root_key)
        self.sub = self.authority("sub", self.sub_key.public_key(), "root", self.root_key)

    def authority(
        self,
        name: str,
        key: ec.EllipticCurvePublicKey,
        issuer: str,
        issuer_key: ec.EllipticCurvePrivateKey,
        *,
        ca: bool = True,
    ) -> x509.Certificate:
        usage = x509.KeyUsage(**{**_USAGE, "key_cert_sign": ca, "digital_signature": not ca})
        builder = x509.CertificateBuilder(_name(issuer), _name(name), key, 1, _BEGIN, _END)
        builder = builder.add_extension(x509.BasicConstraints(ca, None), critical=True)
        builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        above = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key())
        builder = builder.add_extension(above, critical=False)
        return builder.add_extension(usage, critical=True).sign(issuer_key, hashes.SHA256())

    def leaf(
        self, key: ec.EllipticCurvePublicKey | rsa.RSAPublicKey, serial: int, *, ca: bool = False
    ) -> x509.Certificate:
        builder = x509.CertificateBuilder(_name("sub"), _name(f"board {serial}"), key, serial, _BEGIN, _END)
        builder = builder.add_extension(x509.BasicConstraints(ca, None), critical=True)
        above = x509.AuthorityKeyIdentifier.from_issuer_public_key(self.sub_key.public_key())
        return builder.add_extension(above, critical=False).sign(self.sub_key, hashes.SHA256())


class PaperLog:
    """A ledger with receipts: RFC 6962 by its recursive definition."""

    def __init__(self, origin: str = ORIGIN) -> None:
        self._key = ed25519.Ed25519PrivateKey.generate()
        self._origin = origin
        self.entries: list[bytes] = []
        public = b"\x01" + self._key.public_key().public_bytes_raw()
        self._key_id = hashlib.sha256(origin.encode() + b"\n" + public).digest()[:4]
        self.vkey = f"{origin}+{self._key_id.hex()}+{base64.b64encode(public).decode()}"
        self.witnesses: list[PaperWitness] = []  # who cosign each checkpoint

    def append(self, **members: object) -> Receipt:
        entry = json.dumps(
            {"v": 3, "id": os.urandom(16).hex(), "time": _now(), **members},
            sort_keys=True,
            separators=(",", ":"),
        ).encode()
        self.entries.append(entry)
        return self.receipt(len(self.entries) - 1)

    def receipt(self, index: int) -> Receipt:
        leaves = [hashlib.sha256(b"\x00" + entry).digest() for entry in self.entries]
        body = f"{self._origin}\n{len(leaves)}\n{base64.b64encode(_root(leaves)).decode()}\n"
        signature = base64.b64encode(self._key_id + self._key.sign(body.encode())).decode()
        path = "".join(base64.b64encode(node).decode() + "\n" for node in _path(index, leaves))
        proof = f"c2sp.org/tlog-proof@v1\nindex {index}\n{path}\n{body}\n\u2014 {self._origin} {signature}\n"
        lines = b"".join(each.cosignature(body.encode()) for each in self.witnesses)
        return Receipt(index, self.entries[index], proof.encode() + lines)


def _root(leaves: list[bytes]) -> bytes:
    if len(leaves) == 1:
        return leaves[0]
    split = _split(len(leaves))
    return hashlib.sha256(b"\x01" + _root(leaves[:split]) + _root(leaves[split:])).digest()


def _path(index: int, leaves: list[bytes]) -> list[bytes]:
    if len(leaves) == 1:
        return []
    split = _split(len(leaves))
    if index < split:
        return [*_path(index, leaves[:split]), _root(leaves[split:])]
    return [*_path(index - split, leaves[split:]), _root(leaves[:split])]


def _split(size: int) -> int:
    return 1 << (size - 1).bit_length() - 1


@dataclass
class _Board:
    issued: Issued
    spki: bytes
    stamp: bytes | None = None
    stamped: Receipt | None = None


@dataclass
class PaperCompany:
    """See `agent.ports.Signer`."""

    tree: DeviceTree = field(default_factory=DeviceTree)
    log: PaperLog = field(default_factory=PaperLog)
    key_types: tuple[str, ...] = ("p256", "p384")
    methods: tuple[str, ...] = ("hmac-sha256",)
    required_locks: tuple[str, ...] = ("secure_boot",)
    bundle_sha256: bytes | None = None
    minimum_firmware: dict[str, str] = field(default_factory=dict)
    cosigners: Cosigners = field(default_factory=Cosigners)  # whom stations demand
    settings: dict[str, object] = field(default_factory=lambda: {"endpoint": "mqtts://example.com"})
    calls: list[str] = field(default_factory=list)
    # What the next calls of a name raise, before they do anything, and after they have done it all.
    before: dict[str, list[AgentError]] = field(default_factory=lambda: defaultdict(list))
    lost_answers: dict[str, list[AgentError]] = field(default_factory=lambda: defaultdict(list))
    change_answer: Callable[[Issued], Issued] = field(default=lambda issued: issued)

    def __post_init__(self) -> None:
        self.sessions: dict[bytes, tuple[str, str]] = {}
        self.granted: set[bytes] = set()
        self.boards: dict[str, _Board] = {}
        for number in range(3):  # receipts with a path from the first board on
            self.log.append(type="station_added", peer=f"station {number}")

    @property
    def trust(self) -> Trust:
        key = replace(parse_log_keys(self.log.vkey), cosigners=self.cosigners)
        return Trust((self.tree.root,), key)

    async def open_session(self, work_order: str, chip_id: str) -> Session:
        self._enter("open_session")
        session = os.urandom(48)
        self.sessions[session] = (work_order, chip_id)
        self._leave("open_session")
        return Session(
            session=session,
            challenge=os.urandom(32),
            expires_at=datetime.now(UTC) + timedelta(minutes=15),
            key_types=self.key_types,
            evidence_methods=self.methods,
            level="chip",
            minimum_firmware=self.minimum_firmware,
            required_locks=self.required_locks,
            bundle_sha256=self.bundle_sha256,
        )

    async def sign_csr(self, session: bytes, request: BoardRequest) -> Issued:
        self._enter("sign_csr")
        if session not in self.sessions:
            raise Refused("session_unknown")
        work_order, chip_id = self.sessions[session]
        key = x509.load_der_x509_csr(request.csr_der).public_key()
        assert isinstance(key, ec.EllipticCurvePublicKey | rsa.RSAPublicKey)
        board = self.boards.get(chip_id) or self._issue(work_order, chip_id, key)
        if board.spki != _spki(key):
            raise Refused("chip_already_certified")
        self.granted.add(session)
        self._leave("sign_csr")
        receipt = self.log.receipt(board.issued.receipt.index)  # as of now
        return self.change_answer(replace(board.issued, receipt=receipt))

    def _issue(
        self, work_order: str, chip_id: str, key: ec.EllipticCurvePublicKey | rsa.RSAPublicKey
    ) -> _Board:
        number = len(self.boards) + 1
        serial_number = f"BM-{number:06d}"
        certificate = self.tree.leaf(key, 1000 + number).public_bytes(Encoding.DER)
        settings = cbor2.dumps({**self.settings, "serial": serial_number}, canonical=True)
        receipt = self.log.append(
            type="issued",
            work_order=work_order,
            chip_id=chip_id,
            serial_number=serial_number,
            certificate_serial=f"{1000 + number:04x}",
            certificate_sha256=hashlib.sha256(certificate).hexdigest(),
            spki_sha256=hashlib.sha256(_spki(key)).hexdigest(),
            settings_sha256=hashlib.sha256(settings).hexdigest(),
        )
        chain = (self.tree.sub.public_bytes(Encoding.DER),)
        board = _Board(
            Issued(certificate, chain, serial_number, settings, receipt, stamped=False), _spki(key)
        )
        self.boards[chip_id] = board
        return board

    async def record_stamp(self, session: bytes, stamp: BoardStamp) -> Receipt:
        self._enter("record_stamp")
        if session not in self.granted:
            raise Refused("session_unknown")
        _, _, chip_id, serial_number, digest, *_ = cbor2.loads(stamp.stamp)
        board = self.boards[chip_id]
        if board.stamp not in {None, stamp.stamp}:
            raise Refused("stamp_conflict")
        if board.stamped is None:
            board.stamp = stamp.stamp
            board.stamped = self.log.append(
                type="stamped",
                chip_id=chip_id,
                serial_number=serial_number,
                certificate_sha256=digest.hex(),
                stamp_sha256=hashlib.sha256(stamp.stamp).hexdigest(),
            )
            board.issued = Issued(
                board.issued.certificate_der,
                board.issued.chain_der,
                board.issued.serial_number,
                board.issued.settings,
                board.issued.receipt,
                stamped=True,
            )
        self._leave("record_stamp")
        return self.log.receipt(board.stamped.index)

    def _enter(self, call: str) -> None:
        self.calls.append(call)
        if self.before[call]:
            raise self.before[call].pop(0)

    def _leave(self, call: str) -> None:
        if self.lost_answers[call]:
            raise self.lost_answers[call].pop(0)
