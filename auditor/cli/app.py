"""The commands. Exit codes: 0 ok, 1 findings, 2 usage, 3 configuration, 4 signerd not reachable, 5 alarms,
6 findings that are all acknowledged, 7 no such board, order or finding."""

from __future__ import annotations

import itertools
import json
import threading
from pathlib import Path
from typing import Annotated

import typer

from auditor.adapters import renewal
from auditor.adapters.client import GrpcLog
from auditor.adapters.enrolment import Installed, install, load_vkey, make_request
from auditor.adapters.export_folder import ExportFolder
from auditor.again import SHARE
from auditor.cli import findings as findings_commands
from auditor.cli import logged, questions, report, serving
from auditor.cli.empty_options import NothingEmpty
from auditor.cli.options import (
    ALARMS,
    DEFAULT_CONFIG,
    FINDINGS,
    AgainOption,
    ConfigOption,
    IdentitiesOption,
    JsonOption,
    RequiredOption,
    TilesOption,
    WitnessOption,
    WorkersOption,
    demanded,
    exit_of_findings,
)
from auditor.cli.output import Output
from auditor.cli.values import (
    certificate_values,
    order_values,
    standing,
    terms_values,
    view_values,
)
from auditor.cli.wiring import Session, session
from auditor.cli.witness import app as witness_app
from auditor.config import load, read_bytes
from auditor.core.entry import parse_entry
from auditor.core.proofs import parse_vkey
from auditor.errors import CheckFailed, Unreachable
from auditor.logged import Held, open_receipt
from auditor.program import version_text
from auditor.verify import Report

app = typer.Typer(cls=NothingEmpty, no_args_is_help=True, add_completion=False, help=__doc__)
app.add_typer(witness_app, name="witness")


def _print_version(asked: bool) -> None:  # noqa: FBT001 -- typer calls it so
    if asked:
        print(version_text())
        raise typer.Exit


@app.callback()
def options(
    *,
    version: Annotated[
        bool,
        typer.Option(
            "--version", is_eager=True, callback=_print_version, help="Prints the version of the program."
        ),
    ] = False,
) -> None:
    """What stands before the command."""


@app.command()
def verify(
    config: ConfigOption = DEFAULT_CONFIG,
    *,
    from_scratch: Annotated[
        bool, typer.Option("--from-scratch", help="Forgets the earlier runs, and verifies all anew.")
    ] = False,
    identities: IdentitiesOption = None,
    workers: WorkersOption = 0,
    again: AgainOption = SHARE,
    tiles: TilesOption = "",
    witness: WitnessOption = None,
    witnesses_required: RequiredOption = None,
    as_json: JsonOption = False,
) -> None:
    """Verifies all that is new since the last run, and a share of the old once more."""
    output = Output(as_json=as_json)
    cosigners = demanded(witness, witnesses_required, lambda: load(config).trust)
    with (
        session(config, identities or (), workers=workers, tiles=tiles, cosigners=cosigners) as opened,
        output.progress() as progress,
    ):
        report = opened.audit(progress, share=again).run(from_scratch=from_scratch)
    output.summary(report)
    _exit_of(report)


@app.command()
def watch(
    config: ConfigOption = DEFAULT_CONFIG,
    *,
    interval: Annotated[float, typer.Option(min=0.1, help="Seconds between rounds.")] = 10.0,
    rounds: Annotated[int, typer.Option(min=0, help="Ends after so many; 0: goes on until a finding.")] = 0,
    identities: IdentitiesOption = None,
    workers: WorkersOption = 0,
    again: AgainOption = 0.0,
    as_json: JsonOption = False,
) -> None:
    """Verifies again and again, prints what happens, and stops at the first finding or new alarm."""
    output = Output(as_json=as_json)
    pause = threading.Event()
    with session(config, identities or (), workers=workers) as opened:
        for left in itertools.count(rounds, -1):
            report = _round(opened, output, again, last=left == 1)
            if left == 1 or (report is not None and _is_news(report)):
                break
            pause.wait(interval)
    if report is not None:
        output.summary(report)
        _exit_of(report)


def _is_news(report: Report) -> bool:
    """A finding that nobody gave a reason for, or an alarm of an entry that this round read; one that was
    known before goes on standing."""
    return not report.acknowledged or any(alarm.index >= report.start for alarm in report.alarms)


def _round(opened: Session, output: Output, share: float, *, last: bool) -> Report | None:
    """One round of `watch`; None where signerd was not reachable, which is an error in the last one only."""
    try:
        report = opened.audit(lambda _phase, _done, _total: None, share=share).run()
    except Unreachable as error:
        if last:
            raise
        output.line("unreachable", {"detail": str(error)})
        return None
    if report.head is not None:
        for index, data in opened.state.entries(report.start):
            output.line("entry", {"index": index, "entry": _readable(data)})
    return report


@app.command("list")
def list_boards(
    config: ConfigOption = DEFAULT_CONFIG,
    *,
    order: Annotated[str, typer.Option(help="Boards of this work order alone.")] = "",
    state: Annotated[
        str, typer.Option(help="Certificates in this state alone: issued, stamped or revoked.")
    ] = "",
    as_json: JsonOption = False,
) -> None:
    """Lists the certificates of the verified ledger."""
    output = Output(as_json=as_json)
    with session(config) as opened:
        rows = [
            certificate_values(certificate)
            for certificate in opened.state.certificates_of(work_order=order)
            if not state or standing(certificate) == state
        ]
    columns = ("serial_number", "chip_id", "work_order", "number", "state", "issued_entry", "stamped_entry")
    output.things("certificate", rows, columns)


@app.command()
def show(
    serial_number: Annotated[str, typer.Argument(help="The board's serial number.")],
    config: ConfigOption = DEFAULT_CONFIG,
    *,
    identities: IdentitiesOption = None,
    as_json: JsonOption = False,
) -> None:
    """Shows everything on one board. Checks its record, proves its entries against the kept checkpoint."""
    output = Output(as_json=as_json)
    with session(config, identities or ()) as opened:
        views = opened.lookup.board(serial_number)
    for view in views:
        output.thing("certificate", view_values(view))
        output.things(
            "entry",
            [
                {"index": item.index, "type": item.entry.type, "time": str(item.entry.time)}
                for item in view.entries
            ],
            ("index", "type", "time"),
        )
        output.findings(view.findings)
    _exit(clean=not any(view.findings for view in views))


@app.command("order")
def show_order(
    work_order: Annotated[str, typer.Argument(help="The work order.")],
    config: ConfigOption = DEFAULT_CONFIG,
    *,
    as_json: JsonOption = False,
) -> None:
    """Shows one work order: terms and counts by the ledger, compared with what signerd states."""
    output = Output(as_json=as_json)
    with session(config) as opened:
        view = opened.lookup.order(work_order)
    output.thing("order", order_values(view.ledger) | {"by_signerd": terms_values(view.signerd)})
    output.findings(view.findings)
    _exit(clean=not view.findings)


@app.command()
def export(
    out: Annotated[Path, typer.Option("--out", help="The directory to write into, or an earlier export's.")],
    config: ConfigOption = DEFAULT_CONFIG,
    *,
    identities: IdentitiesOption = None,
    workers: WorkersOption = 0,
    tiles: TilesOption = "",
    as_json: JsonOption = False,
) -> None:
    """Writes the verified entries as tiles, and certificates/<serial>.pem, chain.pem, root.pem, each
    certificate checked anew."""
    output = Output(as_json=as_json)
    with (
        session(config, identities or (), workers=workers, tiles=tiles) as opened,
        output.progress() as progress,
    ):
        done = opened.export(ExportFolder(out), progress).run()
    values = {"directory": str(out), "entries": done.entries, "certificates": done.certificates}
    output.thing("exported", values | {"without_records": bool(tiles), "findings_not_shown": done.dropped})
    output.findings(done.findings)
    _exit(clean=not done.findings)


@app.command()
def receipt(
    file: Annotated[Path, typer.Argument(help="The receipt, a tlog-proof.")],
    entry: Annotated[Path, typer.Argument(help="The ledger entry's bytes.")],
    config: ConfigOption = DEFAULT_CONFIG,
    *,
    vkey: Annotated[
        Path | None,
        typer.Option(help="The log's verifier key, instead of that of the settings, and of their witnesses."),
    ] = None,
    witness: WitnessOption = None,
    witnesses_required: RequiredOption = None,
    as_json: JsonOption = False,
) -> None:
    """Verifies a receipt offline: the entry is in the log, and as many witnesses cosigned as are demanded."""
    output = Output(as_json=as_json)
    held = Held(parse_vkey(load_vkey(vkey or load(config).trust.log_vkey)))
    cosigners = demanded(witness, witnesses_required, None if vkey else lambda: load(config).trust)
    data = read_bytes(entry, "the entry")
    verified = open_receipt(read_bytes(file, "the receipt"), data, held)
    cosigners.demand(verified.checkpoint)
    kind = parse_entry(data).type
    output.thing("receipt", {"entry": verified.index, "type": kind, "tree_size": verified.checkpoint.size})


app.command("is-logged")(logged.is_logged)
app.command("report")(report.report)


@app.command()
def enroll(
    directory: Annotated[Path, typer.Option("--dir", help="Directory of key, certificate and auditor.toml.")],
    *,
    deployment: Annotated[str, typer.Option(help="Name of the deployment.")] = "",
    name: Annotated[str, typer.Option(help="The auditor's name.")] = "",
    certificate: Annotated[
        Path | None, typer.Option("--install", help="The certificate that came back.")
    ] = None,
    operations_ca: Annotated[
        Path | None, typer.Option(help="The operations CA, PEM, with --install.")
    ] = None,
    log_vkey: Annotated[Path | None, typer.Option(help="The log's verifier key, with --install.")] = None,
    device_root: Annotated[Path | None, typer.Option(help="The boards' root, PEM, with --install.")] = None,
    signerd: Annotated[str, typer.Option(help="HOST:PORT of signerd, with --install.")] = "",
    as_json: JsonOption = False,
) -> None:
    """Makes a key and a request. With --install, takes the certificate and writes auditor.toml."""
    if certificate is None:
        if not deployment or not name:
            raise typer.BadParameter("either --deployment and --name, or --install and its files")
        request = make_request(directory, deployment=deployment, name=name)
        said = f"{request}: have it signed with `signerd auditor add`, then run enroll --install"
        typer.echo(json.dumps({"request": str(request)}) if as_json else said)
        return
    if operations_ca is None or log_vkey is None or device_root is None or not signerd:
        raise typer.BadParameter("--install wants --operations-ca, --log-vkey, --device-root and --signerd")
    path = install(directory, Installed(certificate, operations_ca, log_vkey, device_root, signerd))
    load(path)
    said = f"{path}: now run `birthmark-auditor verify -c {path}`"
    typer.echo(json.dumps({"config": str(path)}) if as_json else said)


def _exit_of(report: Report) -> None:
    if report.acknowledged and report.alarms:
        raise typer.Exit(ALARMS)
    if report.head is None:  # nothing was verified, whatever was said of what stopped it
        raise typer.Exit(FINDINGS)
    exit_of_findings(report.findings)


def _exit(*, clean: bool) -> None:
    if not clean:
        raise typer.Exit(FINDINGS)


def _readable(data: bytes) -> object:
    """The entry as JSON, or as text where it is none."""
    try:
        parse_entry(data)
    except CheckFailed:
        return data[:1000].decode("utf-8", "replace")
    return json.loads(data)


@app.command()
def renew(config: ConfigOption = DEFAULT_CONFIG, *, as_json: JsonOption = False) -> None:
    """Asks signerd for a newer certificate of this auditor's key, and takes it."""
    settings = load(config)
    found = renewal.renew(settings, lambda keys: GrpcLog(settings.signerd.endpoint, keys))
    if as_json:
        value = {"state": found.state, "uri": found.uri, "until": f"{found.until:%Y-%m-%dT%H:%M:%SZ}"}
        typer.echo(json.dumps(value))
    elif found.state == "done":
        typer.echo(f"renewed {found.uri} until {found.until:%F}")
    elif found.state == "pending":
        typer.echo(
            f"it waits for signerd's administrator, who runs: signerd auditor approve {found.uri}\n"
            "then run this command again"
        )
    else:
        typer.echo(f"not yet: it is valid until {found.until:%F}, and renewed from {found.due_at:%F} on")


findings_commands.register(app.command)
questions.register(app.command)
app.command("serve-tiles")(serving.serve_tiles)
