"""The parts that every installation has: operations CA, verifier key, and the ledger's first entry."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from signerd.adapters import operations_ca
from signerd.adapters.installation.keys import NewKeys
from signerd.adapters.installation.layout import (
    PRIVATE,
    PUBLIC,
    Layout,
    write_certificate,
    write_key,
    write_new,
)
from signerd.adapters.installation.settings_file import Choices, rewrite_settings
from signerd.adapters.keyholder.sealed_file import keys_committed, read_sealed_file
from signerd.adapters.store import create_database, open_log
from signerd.config import Config, database_url
from signerd.core.entry import KeysCommitted, LogOpened
from signerd.core.names import Place
from signerd.core.note import VerifierKey


def write_operations(layout: Layout, deployment: str, names: Iterable[str], now: datetime) -> None:
    """Operations CA, the server's certificate for these names, and their keys."""
    ca = operations_ca.create_ca(deployment, now)
    server, server_key = operations_ca.issue_server(ca, deployment, names, now)
    write_certificate(layout.operations / "ca.pem", ca.certificate)
    write_key(layout.operations / "ca.key", ca.key)
    write_certificate(layout.operations / "server.pem", server)
    write_key(layout.operations / "server.key", server_key)


def write_vkey(layout: Layout, origin: str, checkpoint_key: bytes) -> str:
    """The log's verifier key (C2SP signed-note), one line; returns it without the newline."""
    text = VerifierKey(origin, checkpoint_key).text()
    write_new(layout.vkey, f"{text}\n".encode(), PUBLIC)
    return text


def write_device_certificates(
    layout: Layout, chain: Sequence[x509.Certificate], root: x509.Certificate
) -> None:
    """`ca/`: the root, and the chain that boards are given, without it: the sub-CA, and what stands above it.
    `sub-ca.pem` has it for signerd and `chain.pem` for others. The first of them is written last: where it
    is, the installation is finished."""
    pem = b"".join(certificate.public_bytes(Encoding.PEM) for certificate in chain)
    write_certificate(layout.ca / "root.pem", root)
    write_new(layout.ca / "chain.pem", pem, PUBLIC)
    write_new(layout.sub_ca, pem, PUBLIC)


def open_ledger(
    config: Config,
    layout: Layout,
    vkey: str,
    sub_ca: x509.Certificate,
    root: x509.Certificate,
    now: datetime,
    by: str | None,
) -> None:
    """Database, entry 0, and the second place's first mark. `signerd run` signs the first checkpoint."""
    url = database_url(config, layout.directory)
    create_database(url)
    entry = LogOpened(
        time=now,
        by=by,
        deployment=config.deployment,
        origin=config.ledger.origin,
        issuer_sha256=_sha256(sub_ca),
        root_sha256=_sha256(root),
        vkey=vkey,
    )
    open_log(url, head_file=config.ledger.head, entry=entry, more=_keys_committed(config, now, by))


def keep_keys(layout: Layout, choices: Choices, keys: NewKeys) -> Config:
    """What is sealed, the log's verifier key, and the settings that go with them.

    Raises:
        ConfigError: a file exists, or cannot be written.
    """
    if keys.sealed:
        write_new(layout.sealed, keys.sealed, PRIVATE)
    write_vkey(layout, choices.origin, keys.checkpoint_key)
    return rewrite_settings(layout, replace(choices, master_commitment=keys.master_commitment))


def _keys_committed(config: Config, now: datetime, by: str | None) -> list[KeysCommitted]:
    """Entry 1, where a key is not in the token."""
    hsm = config.hsm
    if (hsm.checkpoint_key_in, hsm.master_key_in) == (Place.TOKEN, Place.TOKEN):
        return []
    recipients = () if hsm.sealed is None else read_sealed_file(hsm.sealed).recipients
    return [keys_committed(hsm, [recipient.spki_sha256() for recipient in recipients], now, by)]


def _sha256(certificate: x509.Certificate) -> bytes:
    return hashlib.sha256(certificate.public_bytes(Encoding.DER)).digest()
