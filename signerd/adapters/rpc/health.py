"""`grpc.health.v1` for peers: mTLS, and no role; a key that nobody registered yet may ask, at the strangers'
rate, and a revoked one may not. The answer is the state at this moment.

`Watch` is not served: gRPC's own health protocol lets a server do without, and held-open calls would take
places that stations need.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc
from grpc_health.v1 import health_pb2

from signerd.adapters.rpc import audit, signing
from signerd.adapters.rpc.gate import Gate
from signerd.core.names import PeerName

SERVICE = "grpc.health.v1.Health"
METHODS = f"/{SERVICE}/"
_SERVICES = {"", signing.SERVICE, audit.SERVICE}


def health_handler(
    serving: Callable[[], bool], readable: Callable[[], bool], gate: Gate[PeerName]
) -> grpc.GenericRpcHandler[Any, Any]:
    """`Check`. Auditors are served while the store can be read: they do not wait for the key holder."""

    async def check(request: Any, context: Any) -> Any:
        if request.service not in _SERVICES:
            await context.abort(grpc.StatusCode.NOT_FOUND)
        states = health_pb2.HealthCheckResponse
        up = readable() if request.service == audit.SERVICE else serving()
        return states(status=states.SERVING if up else states.NOT_SERVING)

    handler = gate.probe("Check", health_pb2.HealthCheckRequest, check)
    return grpc.method_handlers_generic_handler(SERVICE, {"Check": handler})
