"""The command's shape: what it takes, what it prints, and with which code it ends (docs/operations.md, "Exit
codes")."""

from __future__ import annotations

import errno
import sys
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from agent.adapters.cli import boards, report, results, setup, status
from agent.adapters.cli.bundle import bundle_app
from agent.adapters.cli.empty_options import NothingEmpty
from agent.adapters.cli.label import label_app
from agent.adapters.cli.options import DEFAULT_CONFIG, ConfigOption, JsonOption, OrderOption, exit_code
from agent.adapters.cli.service import service_app
from agent.adapters.cli.text_output import never_fail
from agent.config import load
from agent.errors import AgentError
from agent.program import version_text

T = TypeVar("T")
# Of standard output, which alone is written to without a file's name.
_UNWRITABLE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})


SinceOption = Annotated[str, typer.Option(help="From when: 8h, 2d, 2026-11-20, 2026-11-20T06:00.")]
UntilOption = Annotated[str | None, typer.Option(help="Until when, in the same forms. Default: now.")]
OnlyOrderOption = Annotated[str | None, typer.Option("--order", help="Boards of this work order alone.")]
TraceOption = Annotated[
    str | None,
    typer.Option("--trace", metavar="PORT", help="Writes this port's dialogue to a file, without secrets."),
]

app = typer.Typer(
    cls=NothingEmpty,
    name="birthmark-agent",
    help="The station: takes boards on serial lines through key, certificate and stamp.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(bundle_app, name="bundle")
app.add_typer(label_app, name="label")
app.add_typer(service_app, name="service")


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
def enroll(
    directory: Annotated[Path, typer.Option("--dir", help="Where the station's files go.")],
    deployment: Annotated[str | None, typer.Option(help="Name of the deployment.")] = None,
    site: Annotated[str | None, typer.Option(help="The factory's name.")] = None,
    name: Annotated[str | None, typer.Option(help="The station's name.")] = None,
    install: Annotated[Path | None, typer.Option(help="The certificate that came back.")] = None,
    operations_ca: Annotated[
        Path | None, typer.Option(help="The operations CA, PEM, with --install.")
    ] = None,
    log_vkey: Annotated[Path | None, typer.Option(help="The log's verifier key, with --install.")] = None,
    device_root: Annotated[Path | None, typer.Option(help="The boards' root, PEM, with --install.")] = None,
    signerd: Annotated[str | None, typer.Option(help="HOST:PORT of signerd, with --install.")] = None,
    *,
    witnesses: Annotated[
        Path | None,
        typer.Option(help="Verifier keys of the log's witnesses, with --install, where receipts need them."),
    ] = None,
    witnesses_required: Annotated[
        int | None, typer.Option(min=1, max=16, help="How many of them have to cosign; 1 if not said.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Makes the station's own key and a request. With --install, takes the certificate that came back."""
    if install is None:
        wanted = {"--deployment": deployment, "--site": site, "--name": name}
        setup.make_request(directory, **_all_given(wanted), as_json=json)
        return
    files = {"--operations-ca": operations_ca, "--log-vkey": log_vkey, "--device-root": device_root}
    address = _all_given({"--signerd": signerd})["signerd"]
    setup.install(
        directory,
        install,
        address=address,
        witnesses=witnesses,
        witnesses_required=witnesses_required,
        **_all_given(files),
        as_json=json,
    )


@app.command()
def renew(
    config: ConfigOption = DEFAULT_CONFIG,
    *,
    install: Annotated[Path | None, typer.Option(help="The certificate that came back.")] = None,
    operations_ca: Annotated[
        Path | None, typer.Option(help="The newer operations CA, PEM, with --install, where that changes.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Asks for a newer certificate of this station, by a file. With --install, takes the one sent back."""
    if install is not None:
        setup.install_renewed(load(config), install, operations_ca, as_json=json)
    elif operations_ca is not None:
        raise typer.BadParameter("--operations-ca goes with --install")
    else:
        setup.make_renewal(load(config), as_json=json)


@app.command()
def ports(config: ConfigOption = DEFAULT_CONFIG, *, json: JsonOption = False) -> None:
    """Lists the serial ports that `run` would watch."""
    setup.show_ports(load(config), as_json=json)


@app.command()
def provision(
    order: OrderOption,
    port: Annotated[str, typer.Option("--port", help="The board's port.")],
    config: ConfigOption = DEFAULT_CONFIG,
    *,
    trace: TraceOption = None,
    json: JsonOption = False,
) -> None:
    """Takes the one board on a port through the recipe."""
    raise typer.Exit(boards.provision(load(config), port, order, as_json=json, trace=trace))


@app.command()
def run(
    order: OrderOption,
    port: Annotated[list[str] | None, typer.Option("--port", help="Port or pattern. Again for each.")] = None,
    count: Annotated[int | None, typer.Option(min=1, help="Ends after so many boards.")] = None,
    config: ConfigOption = DEFAULT_CONFIG,
    *,
    once: Annotated[bool, typer.Option("--once", help="Ends after one board a port.")] = False,
    trace: TraceOption = None,
    json: JsonOption = False,
) -> None:
    """Watches the ports and takes every board that is put on one."""
    code = boards.run(load(config), port or [], order, count=count, once=once, as_json=json, trace=trace)
    raise typer.Exit(code)


@app.command()
def doctor(
    config: ConfigOption = DEFAULT_CONFIG,
    order: Annotated[str | None, typer.Option("--order", help="Also asks signerd about this order.")] = None,
    *,
    json: JsonOption = False,
) -> None:
    """Checks the station. Each finding comes with its remedy."""
    raise typer.Exit(setup.run_doctor(config, order, as_json=json))


@app.command(name="status")
def show_status(
    config: ConfigOption = DEFAULT_CONFIG,
    *,
    json: JsonOption = False,
    watch: Annotated[bool, typer.Option("--watch", help="Shows it again each second, until Ctrl-C.")] = False,
) -> None:
    """Shows what each port does now, and the counts so far: yield, times, stamps that wait."""
    status.show(load(config), as_json=json, watch=watch)


@app.command(name="results")
def show_results(
    since: SinceOption = "1d",
    until: UntilOption = None,
    order: OnlyOrderOption = None,
    config: ConfigOption = DEFAULT_CONFIG,
    *,
    csv: Annotated[bool, typer.Option("--csv", help="Prints RFC 4180 in UTF-8, with a header.")] = False,
    bom: Annotated[bool, typer.Option("--bom", help="With --csv: adds the mark that Excel needs.")] = False,
    json: Annotated[
        bool, typer.Option("--json", help="Prints JSON, for machines: an object a line. The default.")
    ] = False,
) -> None:
    """Prints results out of the journal, a row a board, oldest first."""
    if csv and json:
        raise typer.BadParameter("--csv or --json, not both")
    if bom and not csv:
        raise typer.BadParameter("--bom goes with --csv")
    results.show(load(config), since, until, order, as_csv=csv, marked=bom)


@app.command(name="report")
def show_report(
    since: SinceOption = "1d",
    until: UntilOption = None,
    order: OnlyOrderOption = None,
    plot: Annotated[Path | None, typer.Option(help="Also draws it: .svg, .png or .pdf.")] = None,
    config: ConfigOption = DEFAULT_CONFIG,
    *,
    json: JsonOption = False,
) -> None:
    """Shows where a shift's seconds went: steps, signerd, ports, failures, hours."""
    report.show(load(config), since, until, order, as_json=json, plot=plot)


@app.command(name="replay")
def replay_run(
    which: Annotated[
        str | None, typer.Argument(help="A run's number, or a file; without it, lists what is kept.")
    ] = None,
    config: ConfigOption = DEFAULT_CONFIG,
    *,
    json: JsonOption = False,
) -> None:
    """Takes a recorded run once more, without its board: 0 if it ends in the same verdict, else 1."""
    from agent.adapters.cli import replay  # noqa: PLC0415 -- certificates, which no other command's help needs

    raise typer.Exit(
        replay.listing(config, as_json=json) if which is None else replay.replay(which, config, as_json=json)
    )


def in_a_line(error: AgentError) -> str:
    """What is wrong, and what to do."""
    return f"{error.detail.removesuffix('.')}. {error.remedy}".rstrip() if error.remedy else error.detail


def main() -> None:
    """Runs the command and ends the process."""
    never_fail()
    try:
        app()
    except AgentError as error:
        print(f"birthmark-agent: {in_a_line(error)}", file=sys.stderr)
        raise SystemExit(exit_code(error)) from error
    except OSError as error:
        if error.filename is not None or error.errno not in _UNWRITABLE:
            raise
        print(f"birthmark-agent: the output could not be written: {error.strerror}", file=sys.stderr)
        raise SystemExit(1) from error


def _all_given(options: dict[str, T | None]) -> dict[str, T]:
    missing = [name for name, value in options.items() if value is None]
    if missing:
        raise typer.BadParameter(f"missing: {', '.join(missing)}")
    given = {name: value for name, value in options.items() if value is not None}
    return {name.removeprefix("--").replace("-", "_"): value for name, value in given.items()}
