"""`signerd operations-ca …`: who certifies the server, stations and auditors, and its succession."""
# ruff: noqa: PLC0415 -- commands load what they need, so that --help comes at once

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from signerd.adapters.cli.options import DEFAULT_CONFIG, ConfigOption, JsonOption

if TYPE_CHECKING:
    from collections.abc import Callable

    from cryptography import x509

    from birthmark.v1 import admin_pb2
    from signerd.adapters.operations_succession import OperationsFiles
    from signerd.config import Config

app = typer.Typer(
    help="The operations CA, which certifies the server, stations and auditors, and its successor.",
    no_args_is_help=True,
)
ForceOption = Annotated[
    bool, typer.Option("--force", help="Go on although peers have not moved: they are cut off.")
]


class _Announced(NamedTuple):
    """What the daemon answered."""

    ledger_index: int
    cut_off: tuple[str, ...]


@app.command()
def add(
    *,
    certificate: Annotated[
        Path | None,
        typer.Option("--certificate", help="The new CA's certificate, PEM, where its key is kept elsewhere."),
    ] = None,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Makes a second operations CA beside the first. It certifies stations and auditors from now on."""
    from birthmark.v1 import admin_pb2

    given = None if certificate is None else _loaded(certificate)
    settings, files = _files(config)
    told: list[_Announced] = []
    announce = _announcer(config, admin_pb2.OPERATIONS_CA_STEP_ADDED, told, force=False)
    made = files.add(given, announce, _now())
    _taken_up(config)
    _say(
        made,
        told,
        f"added: it certifies stations and auditors from now on\ngive {settings.server.client_ca}, which has"
        " both, to each of them with its renewed certificate; then: signerd operations-ca activate",
        as_json=as_json,
    )


@app.command()
def activate(
    *,
    certificate: Annotated[
        Path | None,
        typer.Option("--certificate", help="The server's, PEM, where the new CA's key is kept elsewhere."),
    ] = None,
    force: ForceOption = False,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Makes the server's certificate one of the newer CA. Refused while a peer has not moved to it."""
    from birthmark.v1 import admin_pb2

    _, files = _files(config)
    told: list[_Announced] = []
    announce = _announcer(config, admin_pb2.OPERATIONS_CA_STEP_ACTIVATED, told, force=force)
    files.activate(None if certificate is None else certificate.read_bytes(), announce, _now())
    _taken_up(config)
    text = (
        "activated: the server's certificate is of it now; the older one goes: signerd operations-ca retire"
    )
    _say(files.of_server(), told, text, as_json=as_json)


@app.command()
def retire(
    *,
    newest: Annotated[
        bool, typer.Option("--newest", help="Take the newer one back, and not the older one away.")
    ] = False,
    force: ForceOption = False,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Ends the older CA: it lets in nobody any more. Refused while a peer has not moved."""
    from birthmark.v1 import admin_pb2

    _, files = _files(config)
    told: list[_Announced] = []
    announce = _announcer(config, admin_pb2.OPERATIONS_CA_STEP_RETIRED, told, force=force)
    gone = files.retire(announce, newest=newest)
    _taken_up(config)
    _say(gone, told, "retired: nobody is let in by it any more, and its key is gone", as_json=as_json)


@app.command("list")
def list_(*, config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False) -> None:
    """Lists the operations CAs, the newest last, and the peers that have not moved to it."""
    from signerd.adapters.cli.output import print_json, print_table
    from signerd.adapters.head_file import load_vkey
    from signerd.adapters.operations_ca import digest
    from signerd.adapters.operations_succession import peers_by_ca
    from signerd.adapters.store import Registered
    from signerd.config import database_url

    settings, files = _files(config)
    url, vkey = database_url(settings, config.resolve().parent), settings.ledger.vkey
    registered = Registered(url, settings.ledger.head, lambda: load_vkey(vkey))
    by_ca = peers_by_ca(registered.peers(), _now())
    server, trusted = files.of_server(), files.trusted()
    rows: list[dict[str, object]] = [
        {
            "sha256": digest(ca).hex(),
            "subject": ca.subject.rfc4514_string(),
            "not_after": f"{ca.not_valid_after_utc:%Y-%m-%dT%H:%M:%SZ}",
            "certifies_peers": ca == trusted[-1],
            "certifies_server": ca == server,
            "key_here": files.has_key(ca),
            "peers": by_ca.get(digest(ca), []),
        }
        for ca in trusted
    ]
    unknown = by_ca.get(None, [])
    if as_json:
        print_json({"operations_cas": rows, "not_known": unknown})
        return
    print_table(
        "Operations CAs",
        ("subject", "until", "certifies", "key", "peers", "SHA-256"),
        (
            (
                str(row["subject"]),
                str(row["not_after"]),
                " ".join(
                    name
                    for name, member in (("peers", "certifies_peers"), ("server", "certifies_server"))
                    if row[member]
                ),
                "here" if row["key_here"] else "elsewhere",
                str(len(by_ca.get(bytes.fromhex(str(row["sha256"])), []))),
                str(row["sha256"]),
            )
            for row in rows
        ),
    )
    behind = [uri for ca in trusted[:-1] for uri in by_ca.get(digest(ca), [])]
    for what, uris in (("not moved to the newest", behind), ("not known, since it has not called", unknown)):
        for uri in uris:
            typer.echo(f"{what}: {uri}")


def _files(config: Path) -> tuple[Config, OperationsFiles]:
    from signerd.adapters.operations_succession import OperationsFiles
    from signerd.config import load

    settings = load(config)
    return settings, OperationsFiles(settings, config.resolve().parent)


def _now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


def _loaded(path: Path) -> x509.Certificate:
    from cryptography import x509

    from signerd.errors import Code, Refused

    try:
        return x509.load_pem_x509_certificate(path.read_bytes())
    except ValueError as error:
        raise Refused(Code.INVALID, f"{path} is not a certificate in PEM") from error


def _announcer(
    config: Path, step: admin_pb2.OperationsCaStep.ValueType, told: list[_Announced], *, force: bool
) -> Callable[[x509.Certificate], None]:
    from cryptography.hazmat.primitives.serialization import Encoding

    from birthmark.v1 import admin_pb2
    from signerd.adapters.cli.connection import administration

    def announce(ca: x509.Certificate) -> None:
        request = admin_pb2.AnnounceOperationsCaRequest(
            step=step, certificate_der=ca.public_bytes(Encoding.DER), force=force
        )
        with administration(config) as daemon:
            answer = daemon.AnnounceOperationsCa(request)
        told.append(_Announced(answer.ledger_index, tuple(answer.cut_off)))

    return announce


def _taken_up(config: Path) -> None:
    """Has the running signerd go on with the files as they are. They count at its next start all the same."""
    from birthmark.v1 import admin_pb2
    from signerd.adapters.cli.connection import administration

    with administration(config) as daemon:
        daemon.Reload(admin_pb2.ReloadRequest())


def _say(ca: x509.Certificate, told: list[_Announced], text: str, *, as_json: bool) -> None:
    from signerd.adapters.cli.output import print_result
    from signerd.adapters.operations_ca import digest

    index = told[0].ledger_index if told else None
    cut_off = told[0].cut_off if told else ()
    entry = "entered before" if index is None else f"ledger entry {index}"
    lines = [f"{ca.subject.rfc4514_string()} ({entry})", text, *(f"CUT OFF: {uri}" for uri in cut_off)]
    value = {
        "sha256": digest(ca).hex(),
        "not_after": f"{ca.not_valid_after_utc:%Y-%m-%dT%H:%M:%SZ}",
        "ledger_index": index,
        "cut_off": list(cut_off),
    }
    print_result("\n".join(lines), value, as_json=as_json)
