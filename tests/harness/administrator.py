"""What an administrator asks of signerd, as calls on its admin socket.

For tests that are not about the commands: each start of `signerd` takes most of a second of a core, a call
some milliseconds. signerd does the same for both.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Mapping
from pathlib import Path

import grpc
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from birthmark.v1 import admin_pb2, admin_pb2_grpc
from signerd.core.identity_list import parse_line

_TIMEOUT_S = 30.0
_BATCH = 1000  # identities a call, as the command sends them


class Administrator:
    """Of the signerd whose installation is in `home`; it may start later, and again."""

    def __init__(self, home: Path) -> None:
        credentials = grpc.local_channel_credentials(grpc.LocalConnectionType.UDS)
        self._channel = grpc.secure_channel(f"unix:{home / 'admin' / 'admin.sock'}", credentials)
        self.calls = admin_pb2_grpc.AdminServiceStub(self._channel)

    def add_peer(self, certificate: bytes) -> None:
        """Registers a station or an auditor; PEM."""
        der = x509.load_pem_x509_certificate(certificate).public_bytes(Encoding.DER)
        request = admin_pb2.AddPeerRequest(certificate_der=der)
        self.calls.AddPeer(request, timeout=_TIMEOUT_S, wait_for_ready=True)

    def add_product(self, toml: str) -> None:
        """Adds a product, or a revision of it."""
        request = admin_pb2.AddProductRequest(product_toml=toml)
        self.calls.AddProduct(request, timeout=_TIMEOUT_S, wait_for_ready=True)

    def open_order(self, toml: str) -> None:
        """Opens a work order."""
        request = admin_pb2.OpenWorkOrderRequest(work_order_toml=toml)
        self.calls.OpenWorkOrder(request, timeout=_TIMEOUT_S, wait_for_ready=True)

    def add_identities(self, lines: Iterable[Mapping[str, str]], product: str, method: str) -> None:
        """Imports attestation keys, a line a chip (docs/formats.md)."""
        parsed = (parse_line(json.dumps(dict(line)).encode()) for line in lines)
        while batch := list(itertools.islice(parsed, _BATCH)):
            identities = [
                admin_pb2.Identity(
                    chip_id=each.chip_id, key_id=each.key_id, spki=each.spki, tpm_public=each.tpm_public
                )
                for each in batch
            ]
            request = admin_pb2.ImportIdentitiesRequest(
                product=product, method=method, by="tests", identities=identities
            )
            self.calls.ImportIdentities(request, timeout=_TIMEOUT_S, wait_for_ready=True)

    def close(self) -> None:
        """Closes the channel."""
        self._channel.close()
