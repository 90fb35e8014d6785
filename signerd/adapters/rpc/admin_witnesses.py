"""The part of `AdminService` about the log's witnesses."""

from __future__ import annotations

from collections.abc import Sequence

from birthmark.v1 import admin_pb2
from signerd.adapters.witnesses import WitnessState


class WitnessAdministration:
    """Shows how witnesses stand."""

    def __init__(self, states: Sequence[WitnessState]) -> None:
        self._states = states

    async def list_witnesses(
        self, _caller: None, _request: admin_pb2.ListWitnessesRequest
    ) -> admin_pb2.ListWitnessesResponse:
        """Of each, as configured."""
        return admin_pb2.ListWitnessesResponse(
            witnesses=[
                admin_pb2.ListWitnessesResponse.Witness(
                    name=state.name,
                    url=state.url,
                    cosigned_size=state.cosigned,
                    trouble=state.trouble,
                    alarm=state.alarm,
                )
                for state in self._states
            ]
        )
