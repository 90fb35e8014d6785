"""`signerd station …` and `signerd auditor …`: who may log in."""
# ruff: noqa: PLC0415 -- commands load what they need, so that --help comes at once

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from signerd.adapters.cli.options import DEFAULT_CONFIG, ConfigOption, JsonOption

if TYPE_CHECKING:
    from birthmark.v1 import admin_pb2

RequestArgument = Annotated[Path | None, typer.Argument(help="The peer's certification request, PEM.")]
NameOption = Annotated[str | None, typer.Option("--name", help="The peer's name.")]
OutOption = Annotated[Path | None, typer.Option("--out", help="Where to write the peer's certificate.")]
CertificateOption = Annotated[
    Path | None,
    typer.Option("--certificate", help="A certificate that the operations CA signed elsewhere, PEM."),
]
Deed = Literal["added", "renewed"]
ADD: Deed = "added"
RENEW: Deed = "renewed"
_VERBS = {ADD: "add", RENEW: "renew"}
_BESIDE = "a new key works beside the old one."
UriArgument = Annotated[str, typer.Argument(help="birthmark://…, as `list` shows it.")]


def station_app() -> typer.Typer:
    """`signerd station`."""
    app = typer.Typer(help="Stations: the factory PCs that may ask for certificates.", no_args_is_help=True)

    _add_station(app, ADD, "Signs a station's request with the operations CA and registers its key.")
    _add_station(app, RENEW, f"A newer certificate for a registered station; {_BESIDE}")
    _add_listing(app, "station")
    return app


def auditor_app() -> typer.Typer:
    """`signerd auditor`."""
    app = typer.Typer(help="Auditors: who may read the ledger.", no_args_is_help=True)

    _add_auditor(app, ADD, "Signs an auditor's request with the operations CA and registers its key.")
    _add_auditor(app, RENEW, f"A newer certificate for a registered auditor; {_BESIDE}")
    _add_listing(app, "auditor")
    return app


def _add_station(app: typer.Typer, deed: Deed, text: str) -> None:
    @app.command(_VERBS[deed], help=text)
    def enter(
        request: RequestArgument = None,
        site: Annotated[str | None, typer.Option("--site", help="Where the station stands.")] = None,
        name: NameOption = None,
        out: OutOption = None,
        certificate: CertificateOption = None,
        config: ConfigOption = DEFAULT_CONFIG,
        *,
        as_json: JsonOption = False,
    ) -> None:
        if certificate is not None:
            _register(config, certificate, (request, site, name, out), deed, as_json=as_json)
        elif request is None or site is None or name is None or out is None:
            raise typer.BadParameter("give REQUEST, --site, --name and --out; or --certificate alone")
        else:
            _sign_and_register(config, request, f"station/{site}/{name}", out, deed, as_json=as_json)


def _add_auditor(app: typer.Typer, deed: Deed, text: str) -> None:
    @app.command(_VERBS[deed], help=text)
    def enter(
        request: RequestArgument = None,
        name: NameOption = None,
        out: OutOption = None,
        certificate: CertificateOption = None,
        config: ConfigOption = DEFAULT_CONFIG,
        *,
        as_json: JsonOption = False,
    ) -> None:
        if certificate is not None:
            _register(config, certificate, (request, name, out), deed, as_json=as_json)
        elif request is None or name is None or out is None:
            raise typer.BadParameter("give REQUEST, --name and --out; or --certificate alone")
        else:
            _sign_and_register(config, request, f"auditor/{name}", out, deed, as_json=as_json)


def _add_listing(app: typer.Typer, role: str) -> None:
    @app.command("list")
    def list_(*, config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False) -> None:
        """Lists them, the revoked ones too."""
        from birthmark.v1 import admin_pb2
        from signerd.adapters.cli.connection import administration
        from signerd.adapters.cli.output import plain, print_json, print_table, when

        wanted = admin_pb2.PeerRole.Value(f"PEER_ROLE_{role.upper()}")
        with administration(config) as daemon:
            peers = daemon.ListPeers(admin_pb2.ListPeersRequest(role=wanted)).peers
        if as_json:
            print_json([plain(peer) for peer in peers])
            return
        print_table(
            f"{role.capitalize()}s",
            ("uri", "added", "revoked", "certificate until", "public key (SHA-256)"),
            (
                (
                    peer.uri,
                    when(peer.added_at),
                    when(peer.revoked_at) if peer.HasField("revoked_at") else "",
                    when(peer.not_after) if peer.HasField("not_after") else "not known",
                    peer.spki_sha256.hex(),
                )
                for peer in peers
            ),
        )

    @app.command()
    def revoke(
        uri: UriArgument, config: ConfigOption = DEFAULT_CONFIG, *, as_json: JsonOption = False
    ) -> None:
        """Revokes one at once, on open connections too."""
        from birthmark.v1 import admin_pb2
        from signerd.adapters.cli.connection import administration
        from signerd.adapters.cli.output import plain, print_result

        with administration(config) as daemon:
            answer = daemon.RevokePeer(admin_pb2.RevokePeerRequest(uri=uri))
        said = f"revoked {answer.peer.uri} (ledger entry {answer.ledger_index})"
        print_result(said, plain(answer), as_json=as_json)


def _sign_and_register(
    config: Path, request: Path, path: str, out: Path, deed: Deed, *, as_json: bool
) -> None:
    from datetime import UTC, datetime

    from cryptography.hazmat.primitives.serialization import Encoding

    from signerd.adapters.durable_files import write_new
    from signerd.adapters.operations_ca import load_ca, sign_peer_request
    from signerd.config import load

    uri = f"birthmark://{load(config).deployment}/{path}"
    certificate = sign_peer_request(
        request.read_bytes(), uri, load_ca(config.resolve().parent), datetime.now(UTC)
    )
    # Written first: a key that is registered and whose certificate is lost could not be added again.
    write_new(out, certificate.public_bytes(Encoding.PEM), 0o644)
    try:
        answer = _tell(config, certificate.public_bytes(Encoding.DER), deed)
    except BaseException:
        out.unlink()
        raise
    _say(answer, deed, out, as_json=as_json)


def _register(
    config: Path, certificate: Path, others: tuple[object, ...], deed: Deed, *, as_json: bool
) -> None:
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding

    from signerd.errors import Code, Refused

    if any(other is not None for other in others):
        raise typer.BadParameter("--certificate stands alone: it names the peer itself")
    try:
        loaded = x509.load_pem_x509_certificate(certificate.read_bytes())
    except ValueError as error:
        raise Refused(Code.INVALID, f"{certificate} is not a certificate in PEM") from error
    _say(_tell(config, loaded.public_bytes(Encoding.DER), deed), deed, certificate, as_json=as_json)


def _tell(config: Path, der: bytes, deed: Deed) -> admin_pb2.AddPeerResponse | admin_pb2.RenewPeerResponse:
    from birthmark.v1 import admin_pb2
    from signerd.adapters.cli.connection import administration

    with administration(config) as daemon:
        if deed == RENEW:
            return daemon.RenewPeer(admin_pb2.RenewPeerRequest(certificate_der=der))
        return daemon.AddPeer(admin_pb2.AddPeerRequest(certificate_der=der))


def _say(
    answer: admin_pb2.AddPeerResponse | admin_pb2.RenewPeerResponse, deed: Deed, file: Path, *, as_json: bool
) -> None:
    from signerd.adapters.cli.output import plain, print_result, when

    print_result(
        f"{deed} {answer.peer.uri} (ledger entry {answer.ledger_index})\n"
        f"public key, SHA-256: {answer.peer.spki_sha256.hex()}\n"
        f"certificate: {file}, until {when(answer.peer.not_after)}",
        {**plain(answer), "certificate": str(file)},
        as_json=as_json,
    )
