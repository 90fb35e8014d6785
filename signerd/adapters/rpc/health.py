"""`grpc.health.v1` for peers: mTLS, and no role. The answer is the state at this moment.

`Watch` is not served: gRPC's own health protocol lets a server do without, and held-open calls would take
places that stations need.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc
from grpc_health.v1 import health_pb2

from signerd.adapters.rpc import audit, signing

SERVICE = "grpc.health.v1.Health"
METHODS = f"/{SERVICE}/"
_SERVICES = {"", signing.SERVICE, audit.SERVICE}


def health_handler(serving: Callable[[], bool]) -> grpc.GenericRpcHandler[Any, Any]:
    """`Check`. Auditors are served from the store, so their service does not wait for the key holder."""

    async def check(request: Any, context: Any) -> Any:
        if request.service not in _SERVICES:
            await context.abort(grpc.StatusCode.NOT_FOUND)
        states = health_pb2.HealthCheckResponse
        up = serving() or request.service == audit.SERVICE
        return states(status=states.SERVING if up else states.NOT_SERVING)

    handler = grpc.unary_unary_rpc_method_handler(
        check,
        request_deserializer=health_pb2.HealthCheckRequest.FromString,
        response_serializer=health_pb2.HealthCheckResponse.SerializeToString,
    )
    return grpc.method_handlers_generic_handler(SERVICE, {"Check": handler})
