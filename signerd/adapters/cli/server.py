"""`signerd server …`: the certificate that stations and auditors see."""
# ruff: noqa: PLC0415 -- commands load what they need, so that --help comes at once

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from signerd.adapters.cli.options import DEFAULT_CONFIG, ConfigOption, JsonOption

if TYPE_CHECKING:
    from cryptography import x509

    from signerd.adapters.server_renewal import Renamed
    from signerd.config import Config

app = typer.Typer(help="The server's certificate: what stations and auditors see.", no_args_is_help=True)


@app.command()
def renew(
    *,
    name: Annotated[
        list[str] | None,
        typer.Option("--name", help="A name that stations dial, beside those of before. Again for each."),
    ] = None,
    drop: Annotated[
        list[str] | None,
        typer.Option("--drop", help="A name to leave out from now on. Again for each."),
    ] = None,
    request: Annotated[
        Path | None,
        typer.Option("--request", help="Write a request for an operations CA kept elsewhere, PEM."),
    ] = None,
    certificate: Annotated[
        Path | None, typer.Option("--certificate", help="What that CA made of the request, PEM.")
    ] = None,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Makes a new key and certificate for the server, taken up at once. Connected stations go on."""
    from datetime import UTC, datetime

    from signerd.adapters import server_renewal
    from signerd.config import load

    if certificate is not None and (request is not None or name or drop):
        raise typer.BadParameter("--certificate stands alone: the request said the names")
    settings = load(config)
    renamed = server_renewal.Renamed(name or (), drop or ())
    if request is not None:
        _write_request(settings, renamed, request, as_json=as_json)
    elif certificate is not None:
        made = server_renewal.install(settings, certificate.read_bytes(), datetime.now(UTC))
        _taken_up(config, settings, made, as_json=as_json)
    else:
        now = datetime.now(UTC).replace(microsecond=0)
        made = server_renewal.renew(settings, config.resolve().parent, renamed, now)
        _taken_up(config, settings, made, as_json=as_json)


def _write_request(settings: Config, renamed: Renamed, path: Path, *, as_json: bool) -> None:
    from cryptography.hazmat.primitives.serialization import Encoding

    from signerd.adapters import server_renewal
    from signerd.adapters.cli.output import print_json
    from signerd.adapters.durable_files import fill, write_new

    write_new(path, b"", 0o644)  # first: a key that waits for an answer makes room for a newer one
    try:
        fill(path, server_renewal.request(settings, renamed).public_bytes(Encoding.PEM))
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    if as_json:
        print_json({"request": str(path)})
        return
    typer.echo(
        f"have the operations CA sign {path}, then: signerd server renew --certificate CERTIFICATE.pem"
    )


def _taken_up(config: Path, settings: Config, made: x509.Certificate, *, as_json: bool) -> None:
    """Has a signerd that runs show it. Where that fails the certificate is in its place all the same."""
    from birthmark.v1 import admin_pb2
    from signerd.adapters.cli.connection import administration
    from signerd.adapters.cli.output import print_json
    from signerd.adapters.operations_ca import names_in
    from signerd.adapters.rpc.server import answers
    from signerd.core.server_names import LOCAL_NAMES

    running = answers(settings.admin.socket)
    if running:
        with administration(config) as daemon:
            daemon.Reload(admin_pb2.ReloadRequest())
    names, end = names_in(made), f"{made.not_valid_after_utc:%Y-%m-%dT%H:%M:%SZ}"
    if as_json:
        print_json(
            {"names": names, "not_after": end, "serial": f"{made.serial_number:x}", "running": running}
        )
        return
    typer.echo(f"the server's certificate is valid to {end}, for {', '.join(names)}")
    typer.echo(
        "signerd shows it from now on" if running else "signerd does not run: it shows it when it starts"
    )
    if more := [name for name in names if name not in (*settings.server.names, *LOCAL_NAMES)]:
        typer.echo(f"server.names in signerd.toml does not have {', '.join(more)}: add what stations dial")
