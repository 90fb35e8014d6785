"""The line from a command to the running daemon: its Unix socket."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc

from birthmark.v1.admin_pb2_grpc import AdminServiceStub
from signerd.adapters.cli.exits import Unreachable
from signerd.adapters.cli.options import administrator
from signerd.adapters.rpc.status import CODE_METADATA
from signerd.config import load
from signerd.errors import Code, Refused

MAX_MESSAGE = 64 * 1024 * 1024  # bytes: CRLs and lists of all work orders
_OPTIONS = (
    ("grpc.max_receive_message_length", MAX_MESSAGE),
    ("grpc.max_send_message_length", MAX_MESSAGE),
)


class _TellsUnpublished(grpc.UnaryUnaryClientInterceptor):  # type: ignore[type-arg] # it takes none
    """Says of every command's ledger entry that is not published that it is not."""

    def intercept_unary_unary(self, continuation: Any, details: Any, request: Any) -> Any:
        """grpc's call: asks, and looks at the answer."""
        call = continuation(details, request)
        if call.exception() is None:
            answer = call.result()
            if why := getattr(answer, "unpublished", ""):
                sys.stderr.write(
                    f"signerd: ledger entry {answer.ledger_index} is written and in force, but NOT PUBLISHED:"
                    f" {why}\nit is published once signerd signs again; do not repeat the command\n"
                )
        return call


@contextmanager
def administration(config_path: Path) -> Iterator[AdminServiceStub]:
    """A stub of the daemon's AdminService.

    Raises:
        ConfigError: the configuration cannot be read.
        Unreachable: signerd does not answer.
        Refused: with the daemon's code and its reason.
    """
    path = load(config_path).admin.socket
    credentials = grpc.local_channel_credentials(grpc.LocalConnectionType.UDS)
    with grpc.secure_channel(f"unix:{path}", credentials, options=_OPTIONS) as channel:
        try:
            yield AdminServiceStub(grpc.intercept_channel(channel, _NamesWhoAsks(), _TellsUnpublished()))
        except grpc.RpcError as error:
            raise _translated(error, path) from error


class _NamesWhoAsks(grpc.UnaryUnaryClientInterceptor):  # type: ignore[type-arg]  # generic in its stubs alone
    """Says who asks, in every request that has room for it: the ledger's `by`."""

    def intercept_unary_unary(
        self, continuation: Callable[[Any, Any], Any], client_call_details: Any, request: Any
    ) -> Any:
        """Calls on, with `by` filled in where the command left it empty."""
        if "by" in request.DESCRIPTOR.fields_by_name and not request.by:
            request.by = administrator()
        return continuation(client_call_details, request)


def _reason(path: Path, said: str) -> str:
    """Why, as far as the file system tells, and what to do; gRPC's own words where it does not."""
    if not os.access(path.parent, os.X_OK):
        return f"this user may not enter {path.parent}: run the command as signerd's user"
    if not path.exists():
        return "there is no such socket\nis it running? (signerd run -c FILE)"
    return f"{said}\nis it running? (signerd run -c FILE)"


def _translated(error: grpc.RpcError, path: Path) -> Exception:
    if not isinstance(error, grpc.Call):
        return error
    metadata = dict(error.trailing_metadata() or ())
    code, said = metadata.get(CODE_METADATA), error.details() or ""
    if code is None:
        return Unreachable(f"signerd does not answer on {path}: {_reason(path, said)}")
    return Refused(Code(str(code)), said.removeprefix(str(code)).removeprefix(": "))
