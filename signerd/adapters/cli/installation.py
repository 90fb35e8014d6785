"""`signerd init`: the one command that makes keys, databases and configurations."""
# ruff: noqa: PLC0415 -- commands load what they need, so that --help comes at once

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def init(
    directory: Annotated[Path, typer.Argument(help="Where to make the installation: a new directory.")],
    *,
    dev: Annotated[
        bool, typer.Option("--dev", help="Everything in one place, with SoftHSM. Not for a line.")
    ] = False,
    deployment: Annotated[
        str | None, typer.Option("--deployment", help='Name of the deployment ("dev" with --dev).')
    ] = None,
    listen: Annotated[str | None, typer.Option("--listen", help="HOST:PORT for stations.")] = None,
    module: Annotated[Path | None, typer.Option("--module", help="The HSM's PKCS#11 module.")] = None,
    token: Annotated[str | None, typer.Option("--token", help="The token's label.")] = None,
    pin: Annotated[
        str | None, typer.Option("--pin", help="prompt, file:PATH, credential:NAME or fd:N.")
    ] = None,
    key_type: Annotated[str, typer.Option("--key-type", help="Of the sub-CA: p256 or p384.")] = "p256",
    origin: Annotated[str | None, typer.Option("--origin", help="The log's name.")] = None,
    install: Annotated[
        Path | None,
        typer.Option("--install-certificate", help="The sub-CA's certificate, from the root: the last step."),
    ] = None,
    root: Annotated[Path | None, typer.Option("--root", help="The root's certificate.")] = None,
) -> None:
    """Makes an installation: with --dev at once, with a real HSM in two steps."""
    from signerd.adapters.cli.options import administrator
    from signerd.adapters.installation import create, create_dev, install_certificate

    if install is not None:
        if root is None:
            raise typer.BadParameter("--install-certificate needs --root")
        install_certificate(directory, certificate=install, root=root, by=administrator())
        typer.echo(f"finished. Start it: signerd run -c {directory / 'signerd.toml'}")
    elif dev:
        by = administrator()
        path = create_dev(directory, deployment=deployment or "dev", listen=listen or "127.0.0.1:0", by=by)
        typer.echo(f"made {path}, for trials alone. Start it: signerd run -c {path}")
    elif module is None or token is None or pin is None or deployment is None:
        raise typer.BadParameter("give --dev, or --module, --token, --pin and --deployment")
    else:
        request = create(
            directory,
            module=module,
            token=token,
            pin_source=pin,
            deployment=deployment,
            key_type=key_type,
            listen=listen or "127.0.0.1:8443",
            origin=origin,
        )
        typer.echo(f"the keys are in the token. Have the offline root sign {request}, then:")
        typer.echo(f"  signerd init {directory} --install-certificate SUB-CA.pem --root ROOT.pem")
