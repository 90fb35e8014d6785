"""A line for attackers: a real signerd, stations whose keys the attacker has, and paper boards.

    line = HostileLine(installation)
    order = line.open_order(quantity=2)
    session = line.pc1.open(order, board.chip_id)
    line.refused("evidence_rejected", lambda: line.pc1.sign(session, *forged))

Boards and products of every method (boards/attesters), made at the first need:

    order = line.open_order(product=line.product("psa-token"), level="key")
    order = line.open_order(product=line.product("x509", "tpm2", "hmac-sha256"), level="chip")
    board = line.board("psa-token")                          # genuine: line.pc1.certify(order, board) passes
    wrong = line.board("psa-token", lifecycle="unknown")     # one keyword of its vendor's `attester` is wrong
    inside = line.board("tpm2", in_csr=True)                 # the evidence inside the CSR
    unlocked = line.board(locked=False)                      # hmac-sha256, personalized without --locked
    stranger = line.board("nrf91", known=False)              # as genuine, and nobody imported its identity

Another vendor than the usual one, with products that trust it:

    vendor = PsaVendor(algorithm="ES384")
    order = line.open_order(product=line.product("psa-token", vendor=vendor))
    board = line.board("psa-token", vendor=vendor)
    vendor = line.burned_psa_vendor("HMAC256")               # COSE_Mac0, keys derived from the master key

Parts change places by hand:

    session = line.pc1.open(order, board.chip_id)
    csr, evidence = board.request(session.challenge)
    evidence = board.evidence_for(session.challenge, other.csr())
    evidence.method = "none"
    line.refused("evidence_rejected", lambda: line.pc1.sign(session, csr, evidence))
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import Any, Literal

import grpc

from agent.adapters.signer.channel import RECONNECT
from birthmark.v1 import admin_pb2, audit_pb2, audit_pb2_grpc, signing_pb2, signing_pb2_grpc
from boards.attesters.hmac_sha256 import HmacVendor
from boards.attesters.port import Vendor
from boards.attesters.psa_token import PsaVendor
from boards.vendors import make_vendors
from harness.administrator import Administrator
from harness.edge import certified, key_pem, new_key
from harness.installation import DEPLOYMENT, SENSOR, Installation, Peer, need_a_list, order_toml, product_toml
from harness.paper_board import PaperBoard
from harness.process import COMMANDS, run, wait_until
from harness.silicon import Silicon

CALL_TIMEOUT_S = 30.0
CHIPS = 200
UNLOCKED = 20  # chips that are personalized at once when the first unlocked one is asked for
# Messages of any size; a station connects again as the agent does.
MANY = [
    *RECONNECT,
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
]


def code_of(call: Callable[[], Any]) -> str:
    """The code with which the call is refused; "" if it is answered.

    Fails where the status says more than the code: that would be an oracle.
    """
    try:
        call()
    except grpc.RpcError as refusal:
        return _code(refusal)
    return ""


def _code(refusal: grpc.RpcError) -> str:
    assert isinstance(refusal, grpc.Call)
    trailing = dict(refusal.trailing_metadata() or ())
    code = str(trailing.get("birthmark-code", ""))
    assert refusal.details() == code, f"the status says {refusal.details()!r} beside its code {code!r}"
    said = str(trailing.pop("birthmark-time", "2026-11-29T08:00:00.000Z"))
    assert len(said) == 24
    if code == "rate_limited":
        trailing.pop("grpc-status-details-bin", None)  # when to come back
    assert datetime.fromisoformat(said).tzinfo is not None
    assert set(trailing) <= {"birthmark-code"}, f"metadata beside the code: {trailing}"
    return code


class Station:
    """Raw calls with a station's key: whatever a hostile factory can send."""

    def __init__(self, uri: str, target: str, credentials: grpc.ChannelCredentials) -> None:
        self.uri = uri
        self._credentials = credentials
        self.channel = grpc.secure_channel(target, credentials, options=MANY)
        self.signing = signing_pb2_grpc.SigningServiceStub(self.channel)
        self.audit = audit_pb2_grpc.AuditServiceStub(self.channel)

    @classmethod
    def enrolled(cls, peer: Peer, target: str) -> Station:
        """A peer that an administrator registered."""
        return cls(peer.uri, target, peer.credentials())

    @classmethod
    def of(cls, uri: str, target: str, root: bytes, key: bytes, certificate: bytes) -> Station:
        """A peer with key and certificate of its own making, PEM."""
        return cls(uri, target, grpc.ssl_channel_credentials(root, key, certificate))

    def reopened(self, target: str) -> Station:
        """The same peer on a new connection."""
        self.close()
        return Station(self.uri, target, self._credentials)

    def open(self, order: str, chip_id: str, seen: bytes = b"") -> signing_pb2.OpenSessionResponse:
        """OpenSession. `seen`: a checkpoint that the station says it saw."""
        request = signing_pb2.OpenSessionRequest(work_order=order, chip_id=chip_id, seen_checkpoint=seen)
        return self.signing.OpenSession(request, timeout=CALL_TIMEOUT_S)

    def sign(
        self, session: signing_pb2.OpenSessionResponse, csr: bytes, evidence: signing_pb2.Evidence
    ) -> signing_pb2.SignCsrResponse:
        """SignCsr."""
        request = signing_pb2.SignCsrRequest(session=session.session, csr_der=csr, evidence=evidence)
        return self.signing.SignCsr(request, timeout=CALL_TIMEOUT_S)

    def certify(
        self, order: str, board: PaperBoard
    ) -> tuple[signing_pb2.OpenSessionResponse, signing_pb2.SignCsrResponse]:
        """The honest way to a certificate."""
        session = self.open(order, board.chip_id)
        return session, self.sign(session, *board.request(session.challenge))

    def record(
        self, session: signing_pb2.OpenSessionResponse, stamp: bytes, signature: bytes
    ) -> signing_pb2.RecordStampResponse:
        """RecordStamp."""
        request = signing_pb2.RecordStampRequest(session=session.session, stamp=stamp, signature=signature)
        return self.signing.RecordStamp(request, timeout=CALL_TIMEOUT_S)

    def stamp(
        self,
        board: PaperBoard,
        session: signing_pb2.OpenSessionResponse,
        signed: signing_pb2.SignCsrResponse,
    ) -> signing_pb2.RecordStampResponse:
        """The honest way to a stamp."""
        made = board.stamp(session.challenge, signed.serial_number, signed.certificate_der, signed.settings)
        return self.record(session, *made)

    def raw(self, method: str) -> Callable[[bytes], bytes]:
        """A call with any bytes as its request."""
        call = self.channel.unary_unary(method, request_serializer=bytes, response_deserializer=bytes)
        return lambda data: bytes(call(data, timeout=CALL_TIMEOUT_S))

    def close(self) -> None:
        """Closes the channel."""
        self.channel.close()


class HostileLine:
    """The installation, seen by attackers (stations), by the administrator and by an auditor."""

    def __init__(self, installation: Installation) -> None:
        self.installation = installation
        installation.start_signerd()
        self._administrator = Administrator(installation.home)
        self.admin = self._administrator.calls
        self._administrator.add_product(SENSOR)
        self.pc1, self.pc2 = self.add_station("plant1", "pc1"), self.add_station("plant1", "pc2")
        self._eve = installation.add_auditor("eve")
        self.auditor = Station.enrolled(self._eve, installation.target)
        keys = installation.personalize([f"chip:{number}" for number in range(CHIPS)])
        self.chip_keys = tuple(keys.values())
        self._chips = iter(keys.items())
        self._unlocked: Iterator[tuple[str, bytes]] = iter(())
        self._silicon: dict[str, Silicon] = {}  # the usual vendors, by method
        self._others: list[Silicon] = []
        self._products: dict[tuple[object, ...], str] = {}
        self._listing: set[str] = set()  # products that demand a list
        self._listed_orders: list[str] = []  # and their orders: every board that is made is on their lists
        self._made: list[str] = []
        self._orders, self._bare = itertools.count(1), itertools.count(1)

    def add_station(self, site: str, name: str) -> Station:
        """Certifies and registers one more station."""
        home, uri, key = self.installation.home, f"birthmark://{DEPLOYMENT}/station/{site}/{name}", new_key()
        certificate = certified(home, uri, key)
        self._administrator.add_peer(certificate)
        root = (home / "operations" / "ca.pem").read_bytes()
        return Station.of(uri, self.installation.target, root, key_pem(key), certificate)

    def reconnect(self) -> None:
        """After signerd was started again, perhaps on another port."""
        self.pc1, self.pc2, self.auditor = (
            station.reopened(self.installation.target) for station in (self.pc1, self.pc2, self.auditor)
        )

    def board(
        self,
        method: str = "hmac-sha256",
        *,
        vendor: Vendor | None = None,
        locked: bool = True,
        known: bool = True,
        in_csr: bool = False,
        **wrong: Any,
    ) -> PaperBoard:
        """A board that nobody used before; a genuine one unless told otherwise. It is put on the lists of
        orders whose product has methods that share nothing.

        Args:
            method: of its evidence; `none` has no root of trust.
            vendor: of its chip, if not the usual one.
            locked: `hmac-sha256`: the chip was locked when it was personalized.
            known: its identity is imported for every product that accepts the method.
            in_csr: the evidence goes inside the CSR.
            **wrong: keywords of the vendor's `attester`.
        """
        board = self._board(method, vendor, locked=locked, known=known, in_csr=in_csr, **wrong)
        self._made.append(board.chip_id)
        for order in self._listed_orders:
            self._list(order, [board.chip_id])
        return board

    def _board(
        self,
        method: str,
        vendor: Vendor | None,
        *,
        locked: bool,
        known: bool,
        in_csr: bool,
        **wrong: Any,
    ) -> PaperBoard:
        if method == "none":
            return PaperBoard(f"bare:{next(self._bare)}")
        if method == "hmac-sha256":
            chip_id, secret = next(self._chips) if locked else self._next_unlocked()
            attester = HmacVendor({chip_id: secret}).attester(chip_id, **wrong)
            return PaperBoard(chip_id, secret, attester=attester)
        silicon = self.silicon_of(method, vendor)
        chip_id = silicon.next_chip() if known else silicon.stranger()
        return PaperBoard(chip_id, attester=silicon.vendor.attester(chip_id, **wrong), in_csr=in_csr)

    def product(self, *methods: str, vendor: Vendor | None = None, **terms: Any) -> str:
        """The name of a product that accepts these methods, preferred first, and trusts their vendors.

        Added at the first call, with the identities of the vendors' chips; the same arguments name the same
        product.

        Args:
            *methods: of evidence.
            vendor: of the first method's chips, if not the usual one.
            **terms: of `product_toml`.
        """
        silicon = {
            method: self.silicon_of(method, vendor if method == methods[0] else None)
            for method in methods
            if method not in {"hmac-sha256", "none"}
        }
        asked = (methods, id(vendor), json.dumps(terms, sort_keys=True))
        if asked not in self._products:
            name = f"product-{len(self._products) + 1}"
            sections = [each.vendor.product_section() for each in silicon.values()]
            if need_a_list(methods):  # every board is put on it
                terms = {"chips": "listed"} | terms
                self._listing.add(name)
            self._administrator.add_product(product_toml(name, methods=methods, sections=sections, **terms))
            for method, each in silicon.items():
                if lines := each.identities():
                    self._administrator.add_identities(lines, name, method)
            self._products[asked] = name
        return self._products[asked]

    def silicon_of(self, method: str, vendor: Vendor | None = None) -> Silicon:
        """The chips of a method's usual vendor, or of this one."""
        if vendor is None:
            if method not in self._silicon:
                self._silicon[method] = Silicon(method, lambda _: make_vendors([method])[method])
            return self._silicon[method]
        for silicon in self._others:
            if silicon.vendor is vendor:
                return silicon
        self._others.append(Silicon(method, lambda _: vendor))
        return self._others[-1]

    def burned_psa_vendor(self, algorithm: Literal["HMAC256", "HMAC384", "HMAC512"]) -> PsaVendor:
        """A vendor of PSA chips into which the company burned keys: their tokens are COSE_Mac0."""
        key = "psa-iak-sha" + algorithm.removeprefix("HMAC")

        def burned(chip_ids: list[str]) -> PsaVendor:
            secrets = self.installation.personalize(chip_ids, key=key)
            return PsaVendor(algorithm=algorithm, secrets=secrets)

        silicon = Silicon("psa-token", burned)
        self._others.append(silicon)
        assert isinstance(silicon.vendor, PsaVendor)
        return silicon.vendor

    def _next_unlocked(self) -> tuple[str, bytes]:
        chip = next(self._unlocked, None)
        if chip is None:
            chip_ids = [f"unlocked:{next(self._bare)}" for _ in range(UNLOCKED)]
            self._unlocked = iter(self.installation.personalize(chip_ids, locked=False).items())
            chip = next(self._unlocked)
        return chip

    def open_order(self, *, stations: tuple[str, ...] | None = None, **terms: Any) -> str:
        """Opens a work order with serial numbers of its own; returns its id."""
        number = next(self._orders)
        name = f"WO-{number}"
        text = order_toml(
            name,
            quantity=terms.pop("quantity", 10),
            stations=stations or (self.pc1.uri, self.pc2.uri),
            serial_pattern=f"S{number}-{{number:04d}}",
            **terms,
        )
        self.admin.OpenWorkOrder(admin_pb2.OpenWorkOrderRequest(work_order_toml=text), timeout=CALL_TIMEOUT_S)
        if terms.get("product") in self._listing:
            self._listed_orders.append(name)
            self._list(name, self._made)
        return name

    def _list(self, order: str, chip_ids: Sequence[str]) -> None:
        """Puts chips on the list of an order whose product demands one."""
        if chip_ids:
            request = admin_pb2.ImportChipsRequest(work_order=order, chip_ids=chip_ids)
            self.admin.ImportChips(request, timeout=CALL_TIMEOUT_S)

    def counts(self, order: str) -> audit_pb2.WorkOrderCounts:
        """How a work order stands, as an auditor reads it."""
        request = audit_pb2.GetWorkOrderRequest(work_order=order)
        return self.auditor.audit.GetWorkOrder(request, timeout=CALL_TIMEOUT_S).counts

    def entries(self, start: int = 0) -> Iterator[dict[str, Any]]:
        """The published ledger."""
        request = audit_pb2.StreamEntriesRequest(start=start)
        for batch in self.auditor.audit.StreamEntries(request, timeout=CALL_TIMEOUT_S):
            for entry in batch.entries:
                yield json.loads(entry)

    def size(self) -> int:
        """Entries of the published ledger."""
        request = audit_pb2.GetCheckpointRequest()
        note = self.auditor.audit.GetCheckpoint(request, timeout=CALL_TIMEOUT_S).checkpoint
        return int(note.split(b"\n")[1])

    def refused(self, code: str, call: Callable[[], Any], *, peer: str | None = "pc1") -> None:
        """The call is refused with this code and nothing else, and the refusal stands in the ledger."""
        before = self.size()
        assert code_of(call) == code
        uri = {"pc1": self.pc1.uri, "pc2": self.pc2.uri}.get(peer or "", peer)

        def recorded() -> bool:
            return any(
                entry["type"] == "refused" and entry["code"] == code and entry["peer"] == uri
                for entry in self.entries(before)
            )

        wait_until(recorded, f"the refusal {code} of {uri} in the ledger")

    def certificates(self) -> list[str]:
        """SHA-256 of every certificate that the ledger says was issued."""
        return [entry["certificate_sha256"] for entry in self.entries() if entry["type"] == "issued"]

    def verify(self) -> None:
        """`birthmark-auditor verify`, from the first entry on; fails on any finding."""
        run([COMMANDS / "birthmark-auditor", "verify", "--from-scratch", "--config", self._eve.config])

    def close(self) -> None:
        """Closes the channels; the installation ends by itself."""
        for station in (self.pc1, self.pc2, self.auditor):
            station.close()
        self._administrator.close()
