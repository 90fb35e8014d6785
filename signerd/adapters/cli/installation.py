"""`signerd init`: the one command that makes keys, databases and configurations."""
# ruff: noqa: PLC0415 -- commands load what they need, so that --help comes at once

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from signerd.adapters.cli.options import EnvironmentOption, JsonOption
from signerd.core.names import Place

if TYPE_CHECKING:
    from signerd.adapters.installation import Arranged


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
    server_name: Annotated[
        list[str] | None,
        typer.Option(
            "--server-name",
            help="A name that stations dial: DNS name or IP address, without a port. Again for each.",
        ),
    ] = None,
    module: Annotated[
        str | None,
        typer.Option("--module", help="The HSM's PKCS#11 module: a path, or a library's name."),
    ] = None,
    token: Annotated[
        str | None, typer.Option("--token", help="The token's label, serial number or PKCS #11 URI.")
    ] = None,
    pin: Annotated[
        str | None,
        typer.Option(
            "--pin",
            help="prompt, tpm:PATH, file:PATH, credential:NAME or fd:N. A rejected one is not tried again.",
        ),
    ] = None,
    hsm_env: EnvironmentOption = None,
    key_type: Annotated[
        str, typer.Option("--key-type", help="Of the sub-CA: p256, p384, rsa2048, rsa3072, rsa4096.")
    ] = "p256",
    origin: Annotated[str | None, typer.Option("--origin", help="The log's name.")] = None,
    checkpoint_key: Annotated[
        Place | None, typer.Option(help="Where the log's key is; by default as the token can.")
    ] = None,
    master_key: Annotated[
        Place | None, typer.Option(help="Where the chips' master key is; none: no product needs one.")
    ] = None,
    spare: Annotated[
        list[Path] | None,
        typer.Option(help="Public key or certificate (PEM) of a second token that opens what is sealed."),
    ] = None,
    ca_key: Annotated[
        str | None,
        typer.Option(
            help="A key in the token, taken as the sub-CA's and not made: its label, id:HEX, slot:9c of a PIV"
            " card, or a pkcs11: URI."
        ),
    ] = None,
    sealing_key: Annotated[
        str | None,
        typer.Option(
            help="Label or pkcs11: URI of a key for ECDH, to which keys outside the token are sealed."
        ),
    ] = None,
    no_spare: Annotated[
        bool, typer.Option("--no-spare", help="Seal to this token alone, and lose the keys with it.")
    ] = False,
    install: Annotated[
        Path | None,
        typer.Option(
            "--install-certificate",
            help="The last step: the sub-CA's certificate, with those above it or without, in any order."
            " PEM, DER or PKCS #7.",
        ),
    ] = None,
    chain: Annotated[
        list[Path] | None,
        typer.Option("--chain", help="More certificates between sub-CA and root. Again for each file."),
    ] = None,
    root: Annotated[
        Path | None,
        typer.Option("--root", help="The certificate that relying parties pin; it need not be self-signed."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Makes an installation: with --dev at once, with a real HSM in two steps."""
    from signerd.adapters.cli.options import administrator, module_of
    from signerd.adapters.cli.options import environment as hsm_environment
    from signerd.adapters.cli.output import print_result
    from signerd.adapters.installation import Wishes, create, create_dev, install_certificate

    wishes = Wishes(checkpoint_key, master_key, tuple(spare or ()), no_spare, ca_key, sealing_key)
    if install is not None:
        if root is None:
            raise typer.BadParameter("--install-certificate needs --root")
        arranged = install_certificate(
            directory, certificate=install, root=root, chain=chain or (), by=administrator(), pin_source=pin
        )
        _print_finished(directory / "signerd.toml", arranged, as_json=as_json)
    elif dev and (ca_key or sealing_key):
        raise typer.BadParameter("--dev makes its keys: leave --ca-key and --sealing-key out")
    elif dev:
        by = administrator()
        path = create_dev(
            directory,
            deployment=deployment or "dev",
            listen=listen or "127.0.0.1:0",
            server_names=server_name or (),
            by=by,
            wishes=wishes,
            key_type=key_type,
        )
        said = f"made {path}, for trials alone. Start it: signerd run -c {path}"
        print_result(said, {"config": str(path)}, as_json=as_json)
    elif module is None or token is None or pin is None or deployment is None:
        raise typer.BadParameter("give --dev, or --module, --token, --pin and --deployment")
    else:
        environment = hsm_environment(hsm_env)
        request = create(
            directory,
            module=module_of(module),
            token=token,
            pin_source=pin,
            deployment=deployment,
            key_type=key_type,
            listen=listen or "127.0.0.1:8443",
            server_names=server_name or _asked_names(),
            origin=origin,
            environment=environment,
            wishes=wishes,
        )
        print_result(
            f"the keys are made. Have the offline root sign {request}, then:\n"
            f"  signerd init {directory} --install-certificate SUB-CA.pem --root ROOT.pem",
            {"request": str(request)},
            as_json=as_json,
        )


def _print_finished(settings: Path, arranged: Arranged, *, as_json: bool) -> None:
    from signerd.adapters.cli.output import print_result
    from signerd.core.issuing_chain import shown

    names, left_out = [list(map(shown, each)) for each in (arranged.chain, arranged.left_out)]
    said = [f"boards get the chain {' < '.join(names)}"]
    said += [f"left out, since it is not on the way to the root: {name}" for name in left_out]
    said.append(f"finished. Start it: signerd run -c {settings}")
    document = {"config": str(settings), "chain": names, "left_out": left_out}
    print_result("\n".join(said), document, as_json=as_json)


def _asked_names() -> list[str]:
    """What stations dial, from whoever sits at the terminal. Raises typer.BadParameter where nobody does."""
    from signerd.core.server_names import server_names

    if sys.stdin is None or not sys.stdin.isatty():
        raise typer.BadParameter(
            "give --server-name NAME, the DNS name or IP address that stations dial: no other name is in the"
            " server's certificate, and stations connect by no other"
        )

    def names(text: str) -> list[str]:
        try:
            return list(server_names(text.replace(",", " ").split()))
        except ValueError as error:
            raise typer.BadParameter(str(error)) from error

    question = "DNS names and IP addresses that stations dial, apart by blanks"
    said: list[str] = []
    while not said:
        said = typer.prompt(question, value_proc=names)
    return said
