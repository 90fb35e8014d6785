"""`StationService`: what a station asks before its first board.

What this guarantees: an answer and nothing else. Nothing is signed, kept or reserved, and no
entry is written.
Whose order it is not learns no more than `OpenSession` would tell it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import grpc

from birthmark.v1 import station_pb2 as pb
from signerd.adapters.rpc import fields
from signerd.adapters.rpc.gate import Call, Gate
from signerd.core.names import PeerName, Role
from signerd.core.profile import Issuer
from signerd.errors import Refused
from signerd.issuance import Issuance
from signerd.issuers import Issuers
from signerd.seen_checkpoints import SeenCheckpoints

SERVICE = "birthmark.v1.StationService"
MAX_ISSUERS = 16  # station.proto


@dataclass(frozen=True, slots=True)
class DemandedWitnesses:
    """Of the settings: who is shown checkpoints, and how many have to cosign them."""

    vkeys: tuple[str, ...]
    required: int


class StationService:
    """The one call."""

    def __init__(
        self, issuance: Issuance, issuers: Issuers, demanded: DemandedWitnesses, seen: SeenCheckpoints
    ) -> None:
        self._issuance = issuance
        self._issuers = issuers
        self._demanded = demanded
        self._seen = seen

    def handler(self, gate: Gate[PeerName]) -> grpc.GenericRpcHandler[Any, Any]:
        """The service behind the gate."""
        call = Call("CheckStation", pb.CheckStationRequest, self.check, Role.STATION)
        return grpc.method_handlers_generic_handler(SERVICE, {call.name: gate.unary(call)})

    async def check(self, peer: PeerName, request: pb.CheckStationRequest) -> pb.CheckStationResponse:
        """The order's issuer where the order stands, else all; a refusal of the order is a member."""
        issuers, code = self._issuers.all_active(), ""
        if request.work_order:
            name = fields.name(request.work_order, "work_order")
            try:
                issuers = [await self._issuance.issuer_for(peer, name)]
            except Refused as refusal:
                code = refusal.code.value
        highest = dict.fromkeys(map(_highest, issuers))
        return pb.CheckStationResponse(
            highest_ca_der=list(highest)[:MAX_ISSUERS],
            order_code=code,
            witnesses_required=self._demanded.required,
            witness_vkeys=self._demanded.vkeys,
            succession=await self._seen.succession(),
        )


def _highest(issuer: Issuer) -> bytes:
    return issuer.chain[-1]
