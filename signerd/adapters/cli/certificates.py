"""`signerd revoke`, `signerd crl` and `signerd certificates …`."""
# ruff: noqa: PLC0415 -- commands load what they need, so that --help comes at once

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from signerd.adapters.cli.approvals import (
    DAYS,
    ApprovalOption,
    DaysOption,
    RequestOption,
    SignatureOption,
    approved,
    approving,
)
from signerd.adapters.cli.exits import Exit
from signerd.adapters.cli.options import DEFAULT_CONFIG, ConfigOption, JsonOption
from signerd.core.names import FIRST

POLL_S = 0.5  # a search of a thousand keys takes a second, one of 100,000 minutes

app = typer.Typer(help="Certificates: the quality of keys that have one.", no_args_is_help=True)


def revoke(
    reason: Annotated[str, typer.Option("--reason", help="A CRLReason of RFC 5280, such as keyCompromise.")],
    serial: Annotated[str | None, typer.Argument(help="The board's serial number.")] = None,
    certificate_sha256: Annotated[
        str | None, typer.Option("--certificate-sha256", help="Or the certificate's SHA-256, hexadecimal.")
    ] = None,
    config: ConfigOption = DEFAULT_CONFIG,
    *,
    emergency: Annotated[
        bool, typer.Option("--emergency", help="One administrator is enough. The ledger says so.")
    ] = False,
    approval: ApprovalOption = None,
    signature: SignatureOption = None,
    request: RequestOption = None,
    valid_days: DaysOption = DAYS,
    as_json: JsonOption = False,
) -> None:
    """Revokes a board's certificate. It cannot be undone."""
    from birthmark.v1 import admin_pb2
    from signerd.adapters.cli.output import print_result

    if (serial is None) == (certificate_sha256 is None):
        raise typer.BadParameter("give the board's serial number, or --certificate-sha256")
    asked = admin_pb2.RevokeRequest(reason=reason)
    if certificate_sha256 is None:
        asked.serial_number = serial or ""
    else:
        try:
            asked.certificate_sha256 = bytes.fromhex(certificate_sha256)
        except ValueError as error:
            raise typer.BadParameter("--certificate-sha256 takes 64 hexadecimal digits") from error
    revoked = serial or certificate_sha256 or ""
    options = approving(
        approval,
        signature,
        request,
        valid_days,
        name=f"revoke-{revoked}",
        as_json=as_json,
        emergency=emergency,
    )
    action = admin_pb2.PrepareApprovalRequest.Action(revoke=asked)
    answer = approved(config, options, action, lambda daemon: daemon.Revoke(options.on(asked)))
    print_result(
        f"revoked {revoked} (ledger entry {answer.ledger_index})",
        {"revoked": revoked, "reason": reason, "ledger_index": answer.ledger_index},
        as_json=as_json,
    )


def crl(
    out: Annotated[Path, typer.Option("--out", help="Where to write the CRL, DER.")],
    issuer: Annotated[str, typer.Option("--issuer", help="Whose CRL: see `signerd ca list`.")] = FIRST,
    hours: Annotated[int, typer.Option("--hours", min=1, max=8784, help="Hours until nextUpdate.")] = 168,
    config: ConfigOption = DEFAULT_CONFIG,
    *,
    as_json: JsonOption = False,
) -> None:
    """Signs a certificate revocation list of one issuer. It publishes nothing."""
    from birthmark.v1 import admin_pb2
    from signerd.adapters.cli.connection import administration
    from signerd.adapters.cli.output import print_result
    from signerd.adapters.durable_files import replace

    with administration(config) as daemon:
        answer = daemon.MakeCrl(admin_pb2.MakeCrlRequest(next_update_h=hours, issuer=issuer))
    replace(out, answer.crl_der, 0o644)
    print_result(
        f"wrote {out}, {len(answer.crl_der)} bytes (ledger entry {answer.ledger_index})",
        {"file": str(out), "bytes": len(answer.crl_der), "ledger_index": answer.ledger_index},
        as_json=as_json,
    )


@app.command("shared-primes")
def shared_primes(*, config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False) -> None:
    """Searches all RSA keys that were ever certified for primes in common. Exit code 1 if there are any.

    Two keys that share a prime are both broken: anyone can compute their private keys.
    """
    import time

    from birthmark.v1 import admin_pb2
    from signerd.adapters.cli.connection import administration
    from signerd.adapters.cli.output import plain, print_json, print_table
    from signerd.errors import Fault

    with administration(config) as daemon:
        answer = daemon.SearchSharedPrimes(admin_pb2.SearchSharedPrimesRequest(begin=True))
        while answer.running:
            time.sleep(POLL_S)
            answer = daemon.SearchSharedPrimes(admin_pb2.SearchSharedPrimesRequest())
    if answer.failure:
        raise Fault(f"the search failed: {answer.failure}")
    if as_json:
        print_json(plain(answer))
    else:
        typer.echo(f"{answer.keys} RSA keys compared")
        if answer.certificates:
            print_table(
                f"Keys that share a prime: {answer.valid} valid and {answer.revoked} revoked certificates",
                ("serial number", "chip", "work order", "revoked", "certificate SHA-256"),
                [
                    (
                        each.serial_number,
                        each.chip_id,
                        each.work_order,
                        "yes" if each.revoked else "no",
                        each.certificate_sha256.hex(),
                    )
                    for each in answer.certificates
                ],
            )
            if answer.valid + answer.revoked > len(answer.certificates):
                typer.echo(
                    f"the first {len(answer.certificates)}; the ledger's entries shared_primes_found name all"
                )
    if answer.valid or answer.revoked:
        raise typer.Exit(Exit.FAILED)
