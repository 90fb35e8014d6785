"""`AdminService`, on the Unix socket alone: peers, products, certificates. Orders, chips, identities
and the search for weak keys stand beside."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any

import grpc
from cryptography import x509

from birthmark.v1 import admin_pb2
from signerd.adapters.clock import ClockGuard
from signerd.adapters.keyholder.told import ToldServices
from signerd.adapters.linting import SampleLinter
from signerd.adapters.mtls import UNREADABLE, PeerIdentity, TrustedCas, identity_of
from signerd.adapters.rpc import fields
from signerd.adapters.rpc.admin_approvals import Action, ApprovalAdministration, approval_of
from signerd.adapters.rpc.admin_calendar import CalendarAdministration
from signerd.adapters.rpc.admin_checkpoint_keys import CheckpointKeyAdministration
from signerd.adapters.rpc.admin_chips import ChipAdministration
from signerd.adapters.rpc.admin_clock import ClockAdministration
from signerd.adapters.rpc.admin_hygiene import HygieneAdministration
from signerd.adapters.rpc.admin_identities import IdentityAdministration
from signerd.adapters.rpc.admin_issuers import IssuerAdministration
from signerd.adapters.rpc.admin_keys import KeyAdministration
from signerd.adapters.rpc.admin_operations import OperationsAdministration
from signerd.adapters.rpc.admin_orders import OrderAdministration
from signerd.adapters.rpc.admin_settings import SettingsAdministration
from signerd.adapters.rpc.admin_witnesses import WitnessAdministration
from signerd.adapters.rpc.gate import Call, Gate
from signerd.adapters.rpc.rehearsing import Rehearsing
from signerd.adapters.shared_primes import SharedPrimesSearch
from signerd.adapters.store import SqlStore
from signerd.adapters.witnesses import WitnessState
from signerd.config import HsmSettings
from signerd.core.crl import REASONS
from signerd.core.ends import End
from signerd.core.names import PeerName, Role
from signerd.core.note import VerifierKey
from signerd.core.product import parse_product
from signerd.core.product_trust import review_trust
from signerd.errors import Code, Refused
from signerd.issuers import Issuers
from signerd.ports import PeerRecord

SERVICE = "birthmark.v1.AdminService"
MAX_CERTIFICATE = 8192  # bytes, AddPeerRequest
PUBLISHED_WITHIN_S = 10.0  # a key holder that is replaced meanwhile has signed by then
_ROLES = {Role.STATION: admin_pb2.PEER_ROLE_STATION, Role.AUDITOR: admin_pb2.PEER_ROLE_AUDITOR}
_ROLES_BACK = {message: role for role, message in _ROLES.items()}


class AdminService:
    """What administrators do. Every change is a ledger entry, made by the store in the same transaction."""

    def __init__(
        self,
        *,
        deployment: str,
        store: SqlStore,
        issuers: Issuers,
        signs_checkpoints: Callable[[VerifierKey], bool],
        linter: SampleLinter,
        search: SharedPrimesSearch,
        clock: ClockGuard,
        on_clock_accepted: Callable[[int], Awaitable[None]],
        reload: Callable[[], Awaitable[list[str]]],
        read_ends: Callable[[], Awaitable[Sequence[End]]],
        hsm: HsmSettings,
        cas: TrustedCas,
        peers_seen: Callable[[], Awaitable[None]],
        told: ToldServices,
        witnesses: Sequence[WitnessState],
    ) -> None:
        """`cas` are the operations CAs; `peers_seen` returns once the registry has what peers showed until
        now; `told` are services that hold keys."""
        self._told = told
        self._witnesses = WitnessAdministration(witnesses)
        self._deployment = deployment
        self._store = store
        self._linter = linter
        self._clock = clock
        self._cas = cas
        self._operations = OperationsAdministration(store=store, clock=clock, peers_seen=peers_seen)
        self._orders = OrderAdministration(
            rehearsing=Rehearsing(
                deployment=deployment,
                store=store,
                issuers=issuers,
                linter=linter,
                clock=clock,
                master_key=hsm.master_key_in != "none",
            ),
            store=store,
            clock=clock,
        )
        self._log_keys = CheckpointKeyAdministration(store=store, serves=signs_checkpoints, clock=clock)
        self._issuers = IssuerAdministration(store=store, issuers=issuers, clock=clock)
        self._identities = IdentityAdministration(store=store, clock=clock)
        self._chips = ChipAdministration(store=store)
        self._clocks = ClockAdministration(store=store, clock=clock, on_accept=on_clock_accepted)
        self._calendar = CalendarAdministration(read_ends, clock, deployment)
        self._settings = SettingsAdministration(reload)
        self._keys = KeyAdministration(store=store, clock=clock)
        self._hygiene = HygieneAdministration(store=store, search=search)
        self._approvals = ApprovalAdministration(deployment=deployment, store=store, clock=clock)

    def handler(self, gate: Gate[None]) -> grpc.GenericRpcHandler[Any, Any]:
        """The service behind the administrators' gate."""
        pb, orders, identities = admin_pb2, self._orders, self._identities
        calls: tuple[Call[None, Any, Any], ...] = (
            Call("AddPeer", pb.AddPeerRequest, self.add_peer),
            Call("RenewPeer", pb.RenewPeerRequest, self.renew_peer),
            Call("ChooseRenewal", pb.ChooseRenewalRequest, self.choose_renewal),
            Call("ListRenewals", pb.ListRenewalsRequest, self.list_renewals),
            Call("ListPeers", pb.ListPeersRequest, self.list_peers),
            Call("RevokePeer", pb.RevokePeerRequest, self.revoke_peer),
            Call("AnnounceOperationsCa", pb.AnnounceOperationsCaRequest, self._operations.announce),
            Call("AddProduct", pb.AddProductRequest, self.add_product),
            Call("ListProducts", pb.ListProductsRequest, self.list_products),
            Call("OpenWorkOrder", pb.OpenWorkOrderRequest, orders.open_work_order),
            Call("RehearseWorkOrder", pb.RehearseWorkOrderRequest, orders.rehearse_work_order),
            Call("ShowWorkOrder", pb.ShowWorkOrderRequest, orders.show_work_order),
            Call("ListWorkOrders", pb.ListWorkOrdersRequest, orders.list_work_orders),
            Call("CloseWorkOrder", pb.CloseWorkOrderRequest, orders.close_work_order),
            Call("GiveShare", pb.GiveShareRequest, orders.give_share),
            Call("ImportChips", pb.ImportChipsRequest, orders.import_chips),
            Call("PersonalizeChips", pb.PersonalizeChipsRequest, orders.personalize_chips),
            Call("ImportIdentities", pb.ImportIdentitiesRequest, identities.import_identities),
            Call("ListChips", pb.ListChipsRequest, self._chips.list_chips),
            Call("Revoke", pb.RevokeRequest, self.revoke),
            Call("MakeCrl", pb.MakeCrlRequest, self._issuers.make_crl),
            Call("ListIssuers", pb.ListIssuersRequest, self._issuers.list_issuers),
            Call("AddIssuer", pb.AddIssuerRequest, self._issuers.add_issuer),
            Call("ActivateIssuer", pb.ChangeIssuerRequest, self._issuers.activate_issuer),
            Call("RetireIssuer", pb.ChangeIssuerRequest, self._issuers.retire_issuer),
            Call("ListCheckpointKeys", pb.ListCheckpointKeysRequest, self._log_keys.list_keys),
            Call("AddCheckpointKey", pb.AddCheckpointKeyRequest, self._log_keys.add),
            Call("ActivateCheckpointKey", pb.ActivateCheckpointKeyRequest, self._log_keys.activate),
            Call("RetireCheckpointKey", pb.RetireCheckpointKeyRequest, self._log_keys.retire),
            Call("CommitRecipients", pb.CommitRecipientsRequest, self._keys.commit_recipients),
            Call("ShowClock", pb.ShowClockRequest, self._clocks.show_clock),
            Call("AcceptClock", pb.AcceptClockRequest, self._clocks.accept_clock),
            Call("ListWitnesses", pb.ListWitnessesRequest, self._witnesses.list_witnesses),
            Call("ListEnds", pb.ListEndsRequest, self._calendar.list_ends),
            Call("PrepareApproval", pb.PrepareApprovalRequest, self.prepare_approval),
            Call("SetAdministrators", pb.SetAdministratorsRequest, self._approvals.set_administrators),
            Call("ShowAdministrators", pb.ShowAdministratorsRequest, self._approvals.show_administrators),
            Call("Reload", pb.ReloadRequest, self._settings.reload),
            Call("SearchSharedPrimes", pb.SearchSharedPrimesRequest, self._hygiene.search_shared_primes),
        )
        return grpc.method_handlers_generic_handler(
            SERVICE, {call.name: gate.unary(self._published(self._shown_first(call))) for call in calls}
        )

    def _shown_first(self, call: Call[None, Any, Any]) -> Call[None, Any, Any]:
        """The call, whose approval, if it has one, a key holder's service has taken before anything is
        entered: else every board would find out that it did not."""

        async def work(caller: None, request: Any) -> Any:
            if "approval" in request.DESCRIPTOR.fields_by_name and request.HasField("approval"):
                await self._told.approved(request)
            answer = await call.work(caller, request)
            if isinstance(request, admin_pb2.CloseWorkOrderRequest):
                await self._told.closed(request.work_order)
            return answer

        return replace(call, work=work)

    def _published(self, call: Call[None, Any, Any]) -> Call[None, Any, Any]:
        """The call, whose answer says so if its ledger entry is not published. The entry is in force all the
        same, and is published once signerd signs again."""

        async def work(caller: None, request: Any) -> Any:
            answer = await call.work(caller, request)
            if "unpublished" in answer.DESCRIPTOR.fields_by_name:
                answer.unpublished = await self._store.unpublished(answer.ledger_index, PUBLISHED_WITHIN_S)
            return answer

        return replace(call, work=work)

    async def prepare_approval(
        self, _caller: None, request: admin_pb2.PrepareApprovalRequest
    ) -> admin_pb2.PrepareApprovalResponse:
        """What an action would enter, for administrators to sign."""
        actions: dict[str, Action] = {
            "add_product": self.add_product,
            "open_work_order": self._orders.open_work_order,
            "give_share": self._orders.give_share,
            "personalize_chips": self._orders.personalize_chips,
            "import_identities": self._identities.import_identities,
            "revoke": self.revoke,
            "set_administrators": self._approvals.set_administrators,
            "add_issuer": self._issuers.add_issuer,
            "activate_issuer": self._issuers.activate_issuer,
            "retire_issuer": self._issuers.retire_issuer,
            "commit_recipients": self._keys.commit_recipients,
            "add_checkpoint_key": self._log_keys.add,
            "retire_checkpoint_key": self._log_keys.retire,
        }
        return await self._approvals.prepare_approval(request, actions)

    async def add_peer(self, _caller: None, request: admin_pb2.AddPeerRequest) -> admin_pb2.AddPeerResponse:
        """Pins the public key of a peer's certificate."""
        name, identity = self._shown(request.certificate_der)
        record, index = await self._store.add_peer(
            name,
            identity.spki_sha256,
            self._clock(),
            by=fields.administrator_if_any(request.by),
            not_after=identity.not_after,
            ca_sha256=identity.ca_sha256,
        )
        return admin_pb2.AddPeerResponse(peer=_peer(record), ledger_index=index)

    async def renew_peer(
        self, _caller: None, request: admin_pb2.RenewPeerRequest
    ) -> admin_pb2.RenewPeerResponse:
        """A newer certificate of a registered peer."""
        name, identity = self._shown(request.certificate_der)
        record, index = await self._store.renew_peer(
            name,
            identity.spki_sha256,
            self._clock(),
            not_after=identity.not_after,
            by=fields.administrator_if_any(request.by),
            certificate=request.certificate_der,
        )
        return admin_pb2.RenewPeerResponse(peer=_peer(record), ledger_index=index)

    async def choose_renewal(
        self, _caller: None, request: admin_pb2.ChooseRenewalRequest
    ) -> admin_pb2.ChooseRenewalResponse:
        """Whether a peer's own requests wait for an administrator."""
        by = fields.administrator_if_any(request.by)
        index = await self._store.choose_renewal(
            request.uri, self._clock(), automatic=request.automatic, by=by
        )
        return admin_pb2.ChooseRenewalResponse(ledger_index=index)

    async def list_renewals(
        self, _caller: None, _request: admin_pb2.ListRenewalsRequest
    ) -> admin_pb2.ListRenewalsResponse:
        """Those that wait, the oldest first."""
        return admin_pb2.ListRenewalsResponse(
            renewals=[
                admin_pb2.ListRenewalsResponse.Renewal(
                    uri=waiting.name.uri, spki=waiting.spki, asked_at=fields.timestamp(waiting.asked_at)
                )
                for waiting in await self._store.pending_renewals()
            ]
        )

    def _shown(self, certificate_der: bytes) -> tuple[PeerName, PeerIdentity]:
        """Whose certificate it is. Raises Refused `invalid`."""
        der = fields.size(certificate_der, "certificate_der", least=1, most=MAX_CERTIFICATE)
        try:
            identity = identity_of(x509.load_der_x509_certificate(der), self._deployment, self._cas)
        except UNREADABLE as error:
            raise Refused(Code.INVALID, f"the certificate cannot be read: {error}") from error
        if identity.name is None:
            raise Refused(
                Code.INVALID,
                f"the certificate must name exactly one station or auditor of deployment {self._deployment}",
            )
        if identity.not_after <= self._clock():
            raise Refused(Code.INVALID, f"the certificate ended at {identity.not_after}: sign a new request")
        return identity.name, identity

    async def list_peers(
        self, _caller: None, request: admin_pb2.ListPeersRequest
    ) -> admin_pb2.ListPeersResponse:
        """All peers of a role, or of both."""
        if request.role and request.role not in _ROLES_BACK:
            raise fields.malformed("role is unknown")
        role = _ROLES_BACK[request.role] if request.role else None
        peers = [_peer(record) for record in await self._store.list_peers(role)]
        return admin_pb2.ListPeersResponse(peers=peers)

    async def revoke_peer(
        self, _caller: None, request: admin_pb2.RevokePeerRequest
    ) -> admin_pb2.RevokePeerResponse:
        """Works at once: the registry is asked at each call."""
        by = fields.administrator_if_any(request.by)
        record, index = await self._store.revoke_peer(request.uri, self._clock(), by=by)
        return admin_pb2.RevokePeerResponse(peer=_peer(record), ledger_index=index)

    async def add_product(
        self, _caller: None, request: admin_pb2.AddProductRequest, /, *, preparing: bool = False
    ) -> admin_pb2.AddProductResponse:
        """Adds a product or a revision, once the full linter has seen a sample."""
        by = fields.administrator_if_any(request.by)
        product = parse_product(request.product_toml)
        trust = review_trust(product.evidence, self._clock())
        notes = [*trust, *await self._linter.lint(product)]
        digest = hashlib.sha256(request.product_toml.encode()).digest()
        approval = approval_of(request, digest, preparing=preparing)
        index = await self._store.add_product(
            product.name, request.product_toml, self._clock(), by=by, approval=approval
        )
        return admin_pb2.AddProductResponse(
            product=product.name,
            ledger_index=index,
            lint_notes=notes,
            product_sha256=digest,
        )

    async def list_products(
        self, _caller: None, _request: admin_pb2.ListProductsRequest
    ) -> admin_pb2.ListProductsResponse:
        """The newest revision of each."""
        return admin_pb2.ListProductsResponse(
            products=[
                admin_pb2.ListProductsResponse.Product(
                    name=product.name, product_toml=product.toml, added_at=fields.timestamp(product.added_at)
                )
                for product in await self._store.list_products()
            ]
        )

    async def revoke(
        self, _caller: None, request: admin_pb2.RevokeRequest, /, *, preparing: bool = False
    ) -> admin_pb2.RevokeResponse:
        """Revokes one certificate."""
        if request.reason not in REASONS:
            raise Refused(Code.INVALID, f"reason must be one of {', '.join(REASONS)}")
        key = request.WhichOneof("key")
        if key is None:
            raise fields.malformed("neither serial_number nor certificate_sha256")
        index = await self._store.revoke(
            serial_number=request.serial_number if key == "serial_number" else None,
            certificate_sha256=(
                fields.digest(request.certificate_sha256, key) if key == "certificate_sha256" else None
            ),
            reason=request.reason,
            now=self._clock(),
            by=fields.administrator_if_any(request.by),
            approval=approval_of(request, None, preparing=preparing),
        )
        return admin_pb2.RevokeResponse(ledger_index=index)


def _peer(record: PeerRecord) -> admin_pb2.Peer:
    return admin_pb2.Peer(
        uri=record.name.uri,
        role=_ROLES[record.name.role],
        spki_sha256=record.spki_sha256,
        added_at=fields.timestamp(record.added_at),
        revoked_at=fields.timestamp(record.revoked_at),
        not_after=fields.timestamp(record.not_after),
        ca_sha256=record.ca_sha256 or b"",
        automatic=record.automatic,
    )
