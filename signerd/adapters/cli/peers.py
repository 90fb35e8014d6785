"""`signerd station …` and `signerd auditor …`: who may log in."""
# ruff: noqa: PLC0415 -- commands load what they need, so that --help comes at once

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from signerd.adapters.cli.options import DEFAULT_CONFIG, ConfigOption, JsonOption

if TYPE_CHECKING:
    from cryptography import x509

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
_BESIDE = "A new key works beside the old one."
UriArgument = Annotated[str, typer.Argument(help="birthmark://…, as `list` shows it.")]


def station_app() -> typer.Typer:
    """`signerd station`."""
    app = typer.Typer(help="Stations: the factory PCs that may ask for certificates.", no_args_is_help=True)

    _add_station(app, ADD, "Signs a station's request with the operations CA and registers its key.")
    _add_station(app, RENEW, f"Makes a newer certificate for a registered station. {_BESIDE}")
    _add_listing(app, "station")
    _add_renewals(app, "station")
    return app


def auditor_app() -> typer.Typer:
    """`signerd auditor`."""
    app = typer.Typer(help="Auditors: who may read the ledger.", no_args_is_help=True)

    _add_auditor(app, ADD, "Signs an auditor's request with the operations CA and registers its key.")
    _add_auditor(app, RENEW, f"Makes a newer certificate for a registered auditor. {_BESIDE}")
    _add_listing(app, "auditor")
    _add_renewals(app, "auditor")
    return app


def _add_station(app: typer.Typer, deed: Deed, text: str) -> None:
    @app.command(_VERBS[deed], help=text)
    def enter(
        request: RequestArgument = None,
        site: Annotated[str | None, typer.Option("--site", help="The factory where the station is.")] = None,
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
        """Lists all, the revoked ones too."""
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
            ("uri", "added", "revoked", "certificate until", "renewed", "public key (SHA-256)"),
            (
                (
                    peer.uri,
                    when(peer.added_at),
                    when(peer.revoked_at) if peer.HasField("revoked_at") else "",
                    when(peer.not_after) if peer.HasField("not_after") else "not known",
                    "by itself" if peer.automatic else "by approval",
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


def _add_renewals(app: typer.Typer, role: str) -> None:
    @app.command()
    def renewals(*, config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False) -> None:
        """Lists the requests for a renewal that wait for approval."""
        from hashlib import sha256

        from signerd.adapters.cli.output import plain, print_json, print_table, when

        waiting = _waiting(config, role)
        if as_json:
            print_json([plain(each) for each in waiting])
            return
        print_table(
            "Renewals that wait",
            ("uri", "asked", "public key (SHA-256)"),
            ((each.uri, when(each.asked_at), sha256(each.spki).hexdigest()) for each in waiting),
        )

    @app.command()
    def approve(
        uri: UriArgument, config: ConfigOption = DEFAULT_CONFIG, *, as_json: JsonOption = False
    ) -> None:
        """Certifies the key of one that asked for its renewal. It fetches the certificate by itself."""
        from cryptography.hazmat.primitives.serialization import Encoding

        from signerd.errors import Code, Refused

        found = next((each for each in _waiting(config, role) if each.uri == uri), None)
        if found is None:
            raise Refused(Code.NOT_FOUND, f"no renewal of {uri} waits: `signerd {role} renewals` lists them")
        certificate = _certified(config, found)
        answer = _tell(config, certificate.public_bytes(Encoding.DER), RENEW)
        _say(answer, RENEW, None, as_json=as_json)

    @app.command()
    def renewal(
        uri: UriArgument,
        *,
        automatic: Annotated[
            bool | None,
            typer.Option("--automatic/--by-approval", help="Whether its requests are granted at once."),
        ] = None,
        config: ConfigOption = DEFAULT_CONFIG,
        as_json: JsonOption = False,
    ) -> None:
        """Says whether its own requests for a renewal wait for approval."""
        from birthmark.v1 import admin_pb2
        from signerd.adapters.cli.connection import administration
        from signerd.adapters.cli.output import plain, print_result

        if automatic is None:
            raise typer.BadParameter("say --automatic or --by-approval")
        with administration(config) as daemon:
            answer = daemon.ChooseRenewal(admin_pb2.ChooseRenewalRequest(uri=uri, automatic=automatic))
        how = "by itself when it asks" if automatic else "once an administrator approves"
        said = f"{uri} is renewed {how} (ledger entry {answer.ledger_index})"
        print_result(said, plain(answer), as_json=as_json)


def _waiting(config: Path, role: str) -> list[admin_pb2.ListRenewalsResponse.Renewal]:
    from birthmark.v1 import admin_pb2
    from signerd.adapters.cli.connection import administration
    from signerd.core.names import parse_peer_uri

    with administration(config) as daemon:
        found = daemon.ListRenewals(admin_pb2.ListRenewalsRequest()).renewals
    return [each for each in found if parse_peer_uri(each.uri).role.value == role]


def _certified(config: Path, waiting: admin_pb2.ListRenewalsResponse.Renewal) -> x509.Certificate:
    from datetime import UTC, datetime

    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import load_der_public_key

    from signerd.adapters.operations_ca import certify_peer, load_ca
    from signerd.core.names import parse_peer_uri
    from signerd.errors import Code, Refused

    key = load_der_public_key(waiting.spki)
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise Refused(Code.INVALID, "the key must be P-256: make the request with `enroll`")
    ca, now = load_ca(config.resolve().parent), datetime.now(UTC).replace(microsecond=0)
    return certify_peer(key, parse_peer_uri(waiting.uri), ca, now)


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
    answer: admin_pb2.AddPeerResponse | admin_pb2.RenewPeerResponse,
    deed: Deed,
    file: Path | None,
    *,
    as_json: bool,
) -> None:
    """`file`: where the certificate is; None: the peer fetches it."""
    from signerd.adapters.cli.output import plain, print_result, when

    print_result(
        f"{deed} {answer.peer.uri} (ledger entry {answer.ledger_index})\n"
        f"public key, SHA-256: {answer.peer.spki_sha256.hex()}\n"
        f"certificate: {file or 'fetched by the peer'}, until {when(answer.peer.not_after)}",
        {**plain(answer), "certificate": None if file is None else str(file)},
        as_json=as_json,
    )
