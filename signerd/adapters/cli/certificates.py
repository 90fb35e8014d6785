"""`signerd revoke` and `signerd crl`."""
# ruff: noqa: PLC0415 -- commands load what they need, so that --help comes at once

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from signerd.adapters.cli.options import DEFAULT_CONFIG, ConfigOption


def revoke(
    reason: Annotated[str, typer.Option("--reason", help="A CRLReason of RFC 5280, such as keyCompromise.")],
    serial: Annotated[str | None, typer.Argument(help="The board's serial number.")] = None,
    certificate_sha256: Annotated[
        str | None, typer.Option("--certificate-sha256", help="Or the certificate's SHA-256, hexadecimal.")
    ] = None,
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """Revokes a board's certificate. It cannot be undone."""
    from birthmark.v1 import admin_pb2
    from signerd.adapters.cli.connection import administration

    if (serial is None) == (certificate_sha256 is None):
        raise typer.BadParameter("give the board's serial number, or --certificate-sha256")
    request = admin_pb2.RevokeRequest(reason=reason)
    if certificate_sha256 is None:
        request.serial_number = serial or ""
    else:
        try:
            request.certificate_sha256 = bytes.fromhex(certificate_sha256)
        except ValueError as error:
            raise typer.BadParameter("--certificate-sha256 takes 64 hexadecimal digits") from error
    with administration(config) as daemon:
        answer = daemon.Revoke(request)
    typer.echo(f"revoked {serial or certificate_sha256} (ledger entry {answer.ledger_index})")


def crl(
    out: Annotated[Path, typer.Option("--out", help="Where to write the CRL, DER.")],
    hours: Annotated[int, typer.Option("--hours", min=1, max=8784, help="Hours until nextUpdate.")] = 168,
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """Signs a certificate revocation list. It publishes nothing."""
    from birthmark.v1 import admin_pb2
    from signerd.adapters.cli.connection import administration
    from signerd.adapters.cli.output import replace

    with administration(config) as daemon:
        answer = daemon.MakeCrl(admin_pb2.MakeCrlRequest(next_update_h=hours))
    replace(out, answer.crl_der)
    typer.echo(f"wrote {out}, {len(answer.crl_der)} bytes (ledger entry {answer.ledger_index})")
