"""A log on paper: the auditor's counterpart, honest unless told to lie in one exact way.

`PaperLog` keeps entries, tree, records and orders in memory, and answers as `AuditService` does. Its
methods `add_station`, `issue`, `stamp`, … write what an honest signerd writes; keyword arguments change
single members of the entry, so that a lie differs from the truth in one thing. The `lie_…` attributes
change answers on their way out. `paper_server` serves one.
"""

from __future__ import annotations

import base64
import io
import json
import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from types import MappingProxyType
from typing import Any, TypeVar

import cbor2
import rfc8785
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key
from google.protobuf.timestamp_pb2 import Timestamp

from auditor.core.evidence.certificate import read_certificate
from auditor.core.evidence.chain import issuers_of
from auditor.core.evidence.chip import device_id, shown_by
from auditor.core.product import read_product
from auditor.errors import CheckFailed, Malformed
from birthmark.v1 import audit_pb2, signing_pb2
from boards.attesters import csr_attestation
from boards.attesters.port import Attester, Vendor
from harness.paper_certificates import Authority, csr, der, new_key, spki
from harness.paper_tree import PaperTree

DEPLOYMENT = "paper"
ORIGIN = "paper.example/line"
STATION = f"birthmark://{DEPLOYMENT}/station/plant1/pc1"
ORDER = "WO-1"
PRODUCT = "sensor"
PRODUCT_TOML = """\
name = "sensor"

[evidence]
methods = ["hmac-sha256", "none"]

[stamp]
required_locks = ["secure_boot"]
"""
FIRMWARE = {"app": ["1.2.0", sha256(b"firmware").digest()]}
LOCKS = {"secure_boot": True}
_LEVELS = {
    "none": signing_pb2.EVIDENCE_LEVEL_NONE,
    "chip": signing_pb2.EVIDENCE_LEVEL_CHIP,
    "key": signing_pb2.EVIDENCE_LEVEL_KEY,
}
OF_ADMINISTRATORS = frozenset(
    {
        "log_opened", "keys_committed", "administrators_set", "action_approved",
        "station_added", "auditor_added", "station_revoked",
        "auditor_revoked", "station_renewed", "auditor_renewed", "product_added",
        "order_opened", "order_closed", "chips_imported", "chips_personalized", "identities_imported",
        "revoked", "crl_issued", "clock_accepted", "issuer_added", "issuer_activated", "issuer_retired",
        "operations_ca_added", "operations_ca_activated",
        "operations_ca_retired", "renewal_chosen",
        "checkpoint_key_added", "checkpoint_key_activated", "checkpoint_key_retired", "log_succeeded",
    }
)  # fmt: skip
NAMED_IN_FORM_1 = frozenset({"chips_personalized", "identities_imported", "clock_accepted"})
_T = TypeVar("_T")


def honest(value: _T) -> _T:
    """The answer as it is."""
    return value


def product_with(*vendors: Vendor, methods: str = "", rules: str = "") -> str:
    """A product file that trusts what these vendors say, or another list of `methods`. `rules`: more lines of
    its section `[evidence]`."""
    sections = "\n".join(vendor.product_section() for vendor in vendors)
    names = methods or ", ".join(f'"{name}"' for name in re.findall(r"\[evidence\.([a-z0-9-]+)\]", sections))
    return f'name = "{PRODUCT}"\n\n[evidence]\nmethods = [{names}]\n{rules}\n{sections}'


def attested(
    attester: Attester,
    key: ec.EllipticCurvePrivateKey,
    claims: bytes,
    told: Mapping[str, Any],
    *,
    inside: bool,
) -> tuple[bytes, bytes]:
    """A CSR of the key, and the evidence over it, which stands beside it or `inside`.

    `told`: what the attester's transcript holds, `challenge` and `chip`, and `csr` if it is not this one.
    """
    bare, made = csr(key), b""

    def attest(over: bytes) -> bytes:
        nonlocal made
        digest = sha256(told.get("csr", over)).digest()
        items = ["birthmark-evidence-v1", told["challenge"], told["chip"], digest]
        made = attester.attest(cbor2.dumps([*items, *cbor2.loads(claims)], canonical=True), bare)
        return made

    if not inside:
        return bare, attest(bare)
    request = csr_attestation.wrap(key, bare, attester.method, attest)
    return request, made


def spki_of(attester: Attester, evidence: bytes) -> bytes:
    """The attestation key, SubjectPublicKeyInfo: the imported one, or that of the first certificate; empty
    where there is none."""
    identity = attester.identity()
    if identity is not None:
        return _public(load_pem_public_key(identity["public_key"].encode()))
    if attester.method in {"x509", "tpm2"}:
        chain = cbor2.loads(evidence)[-1]
        return _public(x509.load_der_x509_certificate(chain[0]).public_key())
    return b""


def _public(key: Any) -> bytes:
    return bytes(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))


def personalized(record: audit_pb2.Record) -> list[list[str | None]]:
    """What a MAC proves of the chip; a station's word proves nothing."""
    return [] if record.evidence.method == "none" else [["personalized", None, record.chip_id]]


def anchors(
    attester: Attester, chip: str, signer: bytes, evidence: bytes, product: str
) -> list[list[str | None]]:
    """What an attester's evidence proves of its chip: by its import, or by its chain; nothing by one that is
    none. Signatures are not looked at."""
    identity = attester.identity()
    if identity is not None:
        return [["imported", None, identity["key_id"]], ["key", None, sha256(signer).hexdigest()]]
    if attester.method not in {"x509", "tpm2"}:
        return [["personalized", None, chip]]
    try:
        rules = read_product(product.encode())
        path = [read_certificate(each) for each in cbor2.loads(evidence)[-1]]
        issuers = issuers_of(path, rules.roots[attester.method])
        measures = bool(rules.measurements.get(attester.method))
        device = 0 if attester.method == "tpm2" else device_id(path, rules.vendor_cas, measures=measures)
        found = shown_by(path, issuers, rules.chip_id[attester.method], device).anchors
    except (CheckFailed, Malformed):
        return []
    return [[one.kind, one.issuer or None, one.value] for one in found]


def ledger_claims(claims: bytes) -> dict[str, Any]:
    """Claims as an entry holds them."""
    firmware, locks = cbor2.load(io.BytesIO(claims))
    values = {name: [version, digest.hex()] for name, (version, digest) in firmware.items()}
    return {"firmware": values, "security_state": dict(locks)}


def text(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def note(key: Ed25519PrivateKey, body: str, *, name: str = ORIGIN) -> bytes:
    """A C2SP signed note."""
    public = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    key_id = sha256(name.encode() + b"\n\x01" + public).digest()[:4]
    signature = base64.b64encode(key_id + key.sign(body.encode())).decode()
    return f"{body}\n— {name} {signature}\n".encode()


def cosigned(signed: bytes, *keys: Ed25519PrivateKey, name: str = ORIGIN) -> bytes:
    """The same note with the signatures of more keys of the log."""
    body = signed.rpartition(b"\n\n")[0].decode() + "\n"
    return signed + b"".join(note(key, body, name=name).rpartition(b"\n\n")[2] for key in keys)


def vkey(key: Ed25519PrivateKey, *, name: str = ORIGIN) -> str:
    public = b"\x01" + key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    key_id = sha256(name.encode() + b"\n" + public).digest()[:4]
    return f"{name}+{key_id.hex()}+{base64.b64encode(public).decode()}"


@dataclass
class Board:
    """A board and its certificate."""

    key: ec.EllipticCurvePrivateKey
    record: audit_pb2.Record
    issued_index: int

    @property
    def certificate_sha256(self) -> str:
        return sha256(self.record.certificate_der).hexdigest()


@dataclass
class PaperLog:
    """See the module. `now` moves by a second an entry. Entries are of `form`."""

    log_key: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)
    root: Authority = field(default_factory=lambda: Authority.root("Paper Root"))
    now: datetime = datetime(2026, 11, 1, tzinfo=UTC)
    product_toml: str = PRODUCT_TOML
    form: int = 3
    origin: str = ORIGIN  # under which it signs; another one once it is a successor (`paper_succession`)
    succession: bytes = b""

    lie_checkpoint: Callable[[bytes], bytes] = honest
    lie_entries: Callable[[list[bytes]], list[bytes]] = honest
    lie_proof: Callable[[list[bytes]], list[bytes]] = honest
    lie_records: Callable[[list[audit_pb2.Record]], list[audit_pb2.Record]] = honest
    lie_chain: Callable[[list[bytes]], list[bytes]] = honest
    lie_product: Callable[[str], str] = honest
    fail_at_entry: int | None = None

    def __post_init__(self) -> None:
        self.issuer = self.root.subordinate("Paper Sub-CA")
        self.further: list[Authority] = []  # that were announced
        self.signing = [self.log_key]  # each signs a checkpoint
        self.entries: list[bytes] = []
        self.tree = PaperTree()
        self.records: list[audit_pb2.Record] = []
        self.orders: dict[str, audit_pb2.WorkOrder] = {}
        self.settings = {"endpoint": "mqtts://example.com:8883"}
        self._serial = 0

    # What signerd writes

    def append(self, kind: str, **members: Any) -> int:
        """Adds an entry; returns its index."""
        self.now += timedelta(seconds=1)
        common: dict[str, Any] = {"v": self.form, "type": kind, "time": text(self.now)}
        if self.form >= 2:
            common["id"] = secrets.token_hex(16)
        if kind in (OF_ADMINISTRATORS if self.form >= 2 else NAMED_IN_FORM_1):
            common["by"] = "carol"
        return self.append_raw(rfc8785.dumps(common | members))

    def append_raw(self, data: bytes) -> int:
        self.entries.append(data)
        self.tree.append(data)
        return len(self.entries) - 1

    def open_log(self, **changes: Any) -> int:
        members = {
            "deployment": DEPLOYMENT,
            "origin": ORIGIN,
            "issuer_sha256": sha256(der(self.issuer.certificate)).hexdigest(),
            "root_sha256": sha256(der(self.root.certificate)).hexdigest(),
            "vkey": vkey(self.log_key),
        }
        return self.append("log_opened", **members | changes)

    def add_issuer(self, name: str, *, root: Authority | None = None, **changes: Any) -> Authority:
        """Announces another issuer of the same CA, below the same root unless told otherwise."""
        root = root or self.root
        issuer = root.subordinate(f"Paper Sub-CA {name}")
        self.further.append(issuer)
        members = {
            "issuer": name,
            "ca": "main",
            "certificate_sha256": sha256(der(issuer.certificate)).hexdigest(),
            "root_sha256": sha256(der(root.certificate)).hexdigest(),
            "not_after": text(issuer.certificate.not_valid_after_utc),
        }
        self.append("issuer_added", **members | changes)
        return issuer

    def change_issuer(self, kind: str, name: str, issuer: Authority, **changes: Any) -> int:
        """`issuer_activated` or `issuer_retired`."""
        digest = sha256(der(issuer.certificate)).hexdigest()
        return self.append(kind, **{"issuer": name, "ca": "main", "certificate_sha256": digest} | changes)

    def issuer_of(self, record: audit_pb2.Record) -> Authority:
        """Whose certificate the record's is, by its name; that of entry 0 where none has it."""
        named = x509.load_der_x509_certificate(record.certificate_der).issuer
        known = (self.issuer, *self.further)
        return next((one for one in known if one.certificate.subject == named), self.issuer)

    def add_station(self, peer: str = STATION) -> int:
        return self.append("station_added", peer=peer, spki_sha256=sha256(peer.encode()).hexdigest())

    def add_product(self) -> int:
        return self.append("product_added", product=PRODUCT, product_sha256=self.product_sha256)

    @property
    def product_sha256(self) -> str:
        return sha256(self.product_toml.encode()).hexdigest()

    def personalize(self, count: int, *, locked: bool = True, key: str = "hmac-sha256") -> int:
        chips = sha256(f"{self.tree.size}".encode()).hexdigest()
        return self.append(
            "chips_personalized",
            count=count,
            again=0,
            chips_sha256=chips,
            locked=locked,
            site="here",
            key=key,
        )

    def import_identities(self, method: str, count: int, **changes: Any) -> int:
        digest = sha256(f"{self.tree.size}".encode()).hexdigest()
        members = {
            "product": PRODUCT,
            "method": method,
            "count": count,
            "identities_sha256": digest,
        }
        return self.append("identities_imported", **members | changes)

    def open_order(self, work_order: str = ORDER, **changes: Any) -> int:
        members: dict[str, Any] = {
            "work_order": work_order,
            "product": PRODUCT,
            "product_sha256": self.product_sha256,
            "quantity": 4,
            "not_before": text(self.now - timedelta(days=1)),
            "not_after": text(self.now + timedelta(days=300)),
            "stations": [STATION],
            "level": "chip",
            "minimum_firmware": {"app": "1.0.0"},
            "serial_pattern": f"{work_order}-{{number:06d}}",
            "serial_start": 1,
            "reissue": "never",
            "settings_sha256": sha256(cbor2.dumps(self.settings, canonical=True)).hexdigest(),
            "bundle_sha256": None,
            "firmware": None,
            **({"rehearsed": True} if self.form >= 2 else {}),
        } | changes
        index = self.append("order_opened", **members)
        self.orders[work_order] = audit_pb2.WorkOrder(
            work_order=work_order,
            product=PRODUCT,
            quantity=members["quantity"],
            level=_LEVELS[members["level"]],
            state=audit_pb2.WORK_ORDER_STATE_OPEN,
            opened_index=index,
            bundle_sha256=bytes.fromhex(members["bundle_sha256"] or ""),
            firmware={
                name: audit_pb2.FirmwareComponent(version=version, digest=bytes.fromhex(digest))
                for name, (version, digest) in (members["firmware"] or {}).items()
            },
        )
        return index

    def close_order(self, work_order: str = ORDER) -> int:
        self.orders[work_order].state = audit_pb2.WORK_ORDER_STATE_CLOSED
        return self.append("order_closed", work_order=work_order)

    def issue(
        self,
        number: int,
        *,
        chip: str = "",
        work_order: str = ORDER,
        key: ec.EllipticCurvePrivateKey | None = None,
        authority: Authority | None = None,
        begin: datetime | None = None,
        ca: bool = False,
        name: str = "",
        claims: bytes = cbor2.dumps([FIRMWARE, LOCKS], canonical=True),
        csr_key: ec.EllipticCurvePrivateKey | None = None,
        attester: Attester | None = None,
        over: Mapping[str, Any] | None = None,
        inside: bool = False,
        evidence: bytes | None = None,
        extension: x509.UnrecognizedExtension | None = None,
        **changes: Any,
    ) -> Board:
        """A certificate: its record, and its entry with some members changed.

        Args:
            attester: makes the evidence; without one it is 32 bytes that stand for a MAC.
            over: what is changed in the transcript that the attester is given: `challenge`, `chip`, `csr`.
            inside: the evidence stands in the CSR.
            evidence: what is recorded, whatever the attester made.
            extension: of the certificate.
        """
        key = key or new_key()
        chip = chip or f"chip-{work_order}-{number}"
        self._serial += 1
        serial_number = changes.get("serial_number", f"{work_order}-{number:06d}")
        issuer = authority or self.issuer
        certificate = issuer.leaf(
            key,
            name=name or serial_number,
            serial=self._serial,
            begin=begin or self.now,
            ca=ca,
            extension=extension,
        )
        level = changes.get("level", "key")
        method = attester.method if attester is not None else changes.get("method", "hmac-sha256")
        challenge = sha256(f"challenge {self._serial}".encode()).digest()
        if attester is None:
            request, signer = csr(csr_key or key), b""
            made = b"" if method == "none" else sha256(chip.encode()).digest()
        else:
            told = {"challenge": challenge, "chip": chip} | dict(over or {})
            request, made = attested(attester, csr_key or key, claims, told, inside=inside)
            signer = spki_of(attester, made)
            if self.form >= 2:
                told_of = anchors(attester, chip, signer, made, self.product_toml)
                changes = {"anchors": told_of} | changes
        made = made if evidence is None else evidence
        record = audit_pb2.Record(
            record_id=len(self.records) + 1,
            work_order=work_order,
            product=changes.get("product", PRODUCT),
            chip_id=chip,
            serial_number=serial_number,
            number=number,
            state=audit_pb2.RECORD_STATE_ISSUED,
            certificate_der=der(certificate),
            csr_der=request,
            evidence=signing_pb2.Evidence(method=method, claims=claims, evidence=made),
            level=_LEVELS[level],
            measured=changes.get("measured", {}),
            attester_spki=changes.pop("attester_spki", signer),
            challenge=challenge,
            station=changes.get("station", STATION),
            settings=cbor2.dumps(self.settings | {"serial": serial_number}, canonical=True),
        )
        index = self.log_issued(record, key, **changes)
        record.issued_index = index
        record.issued_at.CopyFrom(Timestamp(seconds=int(self.now.timestamp())))
        self.records.append(record)
        return Board(key, record, index)

    def log_issued(self, record: audit_pb2.Record, key: ec.EllipticCurvePrivateKey, **changes: Any) -> int:
        """The `issued` entry of a record."""
        serial = bytes([self._serial]) if self._serial < 256 else self._serial.to_bytes(4).lstrip(b"\0")
        members = {
            "work_order": record.work_order,
            "product": record.product,
            "number": record.number,
            "chip_id": record.chip_id,
            "serial_number": record.serial_number,
            "certificate_serial": serial.hex(),
            "certificate_sha256": sha256(record.certificate_der).hexdigest(),
            "spki_sha256": sha256(spki(key)).hexdigest(),
            "csr_sha256": sha256(record.csr_der).hexdigest(),
            "settings_sha256": sha256(record.settings).hexdigest(),
            "level": "key",
            "method": record.evidence.method,
            "claims": ledger_claims(record.evidence.claims),
            "measured": dict(record.measured),
            "attester_sha256": sha256(record.attester_spki).hexdigest() if record.attester_spki else None,
            "evidence_sha256": sha256(record.evidence.evidence).hexdigest(),
            "challenge": record.challenge.hex(),
            "station": record.station,
            "supersedes": None,
        }
        if self.form >= 2:
            versions = {"signerd": "1.0", "agent": "1.0"}
            members |= {"anchors": personalized(record), "certificate_name": "device", "versions": versions}
        return self.append("issued", **members | changes)

    def stamp(
        self,
        board: Board,
        *,
        key: ec.EllipticCurvePrivateKey | None = None,
        locks: Mapping[str, bool] = MappingProxyType(LOCKS),
        firmware: Mapping[str, Any] = MappingProxyType(FIRMWARE),
        **changes: Any,
    ) -> int:
        """A stamp: its record, and its entry with some members changed."""
        record = board.record
        record.stamp = cbor2.dumps(
            [
                "birthmark-stamp-v1",
                record.challenge,
                record.chip_id,
                record.serial_number,
                sha256(record.certificate_der).digest(),
                sha256(record.settings).digest(),
                dict(firmware),
                dict(locks),
                None,
            ],
            canonical=True,
        )
        record.stamp_signature = (key or board.key).sign(record.stamp, ec.ECDSA(hashes.SHA256()))
        record.state = audit_pb2.RECORD_STATE_STAMPED
        record.stamped_index = self.log_stamped(board, **changes)
        record.stamped_at.CopyFrom(Timestamp(seconds=int(self.now.timestamp())))
        return record.stamped_index

    def log_stamped(self, board: Board, **changes: Any) -> int:
        """The `stamped` entry of a record."""
        members = {
            "work_order": board.record.work_order,
            "chip_id": board.record.chip_id,
            "serial_number": board.record.serial_number,
            "certificate_sha256": board.certificate_sha256,
            "stamp_sha256": sha256(board.record.stamp).hexdigest(),
            "station": board.record.station,
        }
        return self.append("stamped", **members | changes)

    def revoke(self, board: Board, **changes: Any) -> int:
        board.record.state = audit_pb2.RECORD_STATE_REVOKED
        members = {
            "work_order": board.record.work_order,
            "chip_id": board.record.chip_id,
            "serial_number": board.record.serial_number,
            "certificate_serial": json.loads(self.entries[board.issued_index])["certificate_serial"],
            "certificate_sha256": board.certificate_sha256,
            "reason": "keyCompromise",
            "superseded_by": None,
        }
        board.record.revoked_index = self.append("revoked", **members | changes)
        return board.record.revoked_index

    # What signerd answers

    def checkpoint(self, *, size: int | None = None, key: Ed25519PrivateKey | None = None) -> bytes:
        size = self.tree.size if size is None else size
        root = base64.b64encode(self.tree.root(size)).decode()
        first, *others = self.signing if key is None else [key]
        body = f"{self.origin}\n{size}\n{root}\n"
        return cosigned(note(first, body, name=self.origin), *others, name=self.origin)

    def announce_key(self, key: Ed25519PrivateKey, **changes: Any) -> int:
        """A successor of the log's key."""
        members = {"vkey": vkey(key), "place": "token", "recipients": []}
        return self.append("checkpoint_key_added", **members | changes)

    def activate_key(self, key: Ed25519PrivateKey, proof: bytes | None = None) -> int:
        """From here on it signs too. `proof`: a checkpoint; that of now unless told otherwise."""
        checkpoint = (self.checkpoint() if proof is None else proof).decode()
        self.signing.append(key)
        return self.append("checkpoint_key_activated", vkey=vkey(key), checkpoint=checkpoint)

    def retire_key(self, key: Ed25519PrivateKey, reason: str = "superseded") -> int:
        """It signs no more."""
        self.signing = [other for other in self.signing if other is not key]
        return self.append("checkpoint_key_retired", vkey=vkey(key), reason=reason)
