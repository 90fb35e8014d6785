"""`birthmark-auditor witness …`: a witness of logs, for a machine that the company does not run."""

from __future__ import annotations

import asyncio
import json
import signal
import ssl
import sys
from pathlib import Path
from typing import Annotated

import typer

from auditor.adapters.enrolment import load_vkey
from auditor.adapters.witness_journal import Event, WitnessJournal, signed_by
from auditor.adapters.witness_server import WitnessServer
from auditor.adapters.witness_state import WitnessState, make_witness
from auditor.errors import ConfigError
from birthmark.proof import log_name, parse_vkey

app = typer.Typer(help="A witness: follows logs, and cosigns what continues them.", no_args_is_help=True)

DirectoryOption = Annotated[Path, typer.Option("--dir", help="The witness's folder.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Prints JSON, for machines.")]
DEFAULT_DIRECTORY = Path("witness")


@app.command()
def init(
    name: Annotated[str, typer.Option("--name", help="Its name, as witness.example.com/w1.")],
    directory: DirectoryOption = DEFAULT_DIRECTORY,
    *,
    as_json: JsonOption = False,
) -> None:
    """Makes a witness: a key and an empty state. Prints the verifier key, which logs and readers are
    given."""
    key = make_witness(directory, name)
    print(json.dumps({"vkey": key.text(), "directory": str(directory)}) if as_json else key.text())


@app.command("add-log")
def add_log(
    vkeys: Annotated[list[Path], typer.Argument(help="The log's verifier key, log.vkey; all of its keys.")],
    directory: DirectoryOption = DEFAULT_DIRECTORY,
    *,
    as_json: JsonOption = False,
) -> None:
    """Follows one more log, or takes another key of one that it follows. A running witness knows it at
    once."""
    keys = [parse_vkey(load_vkey(path)) for path in vkeys]
    state = WitnessState(directory)
    try:
        state.follow(keys)
        lost = {key.name: _before(state, key.name) for key in keys}
    finally:
        state.close()
    for key in keys:
        origin, size = lost[key.name]
        if as_json:
            said: dict[str, object] = {"origin": key.name, "vkey": key.text()}
            print(json.dumps(said | ({"before": origin, "cosigned_before": size} if origin else {})))
            continue
        print(f"follows {key.name}")
        if origin:
            print(
                f"the log {origin} lost its end: this witness has cosigned {size} entries of it. Ask the"
                f" company what is lost, and send it: birthmark-auditor witness show --checkpoint {origin}",
                file=sys.stderr,
            )


def _before(state: WitnessState, name: str) -> tuple[str, int]:
    """The log of before that this one succeeds, and how far it was cosigned; empty: none is known."""
    log, number = log_name(name)
    for earlier in range(number - 1, 0, -1):
        origin = log if earlier == 1 else f"{log}/successor-{earlier}"
        if origin in state.logs:
            return origin, state.kept(origin).size
    return "", 0


@app.command()
def show(
    directory: DirectoryOption = DEFAULT_DIRECTORY,
    *,
    checkpoint: Annotated[
        str,
        typer.Option(
            "--checkpoint",
            metavar="LOG",
            help="Prints the last checkpoint of the log of this name that it cosigned, and nothing else.",
        ),
    ] = "",
    as_json: JsonOption = False,
) -> None:
    """Its verifier key, and how far it has followed each log."""
    if checkpoint and as_json:
        raise typer.BadParameter("--checkpoint prints the checkpoint as it is: leave out --json")
    state = WitnessState(directory)
    try:
        if checkpoint:
            sys.stdout.write(_checkpoint(state, checkpoint))
            return
        logs = {origin: state.kept(origin).size for origin in state.logs}
    finally:
        state.close()
    if as_json:
        print(json.dumps({"vkey": state.vkey.text(), "logs": logs}))
        return
    print(state.vkey.text())
    for origin, size in logs.items():
        print(f"{origin}: {size} entries")


def _checkpoint(state: WitnessState, origin: str) -> str:
    """With the log's own signatures. Raises ConfigError: none was cosigned."""
    keys = state.logs.get(origin)
    note = b"" if keys is None else state.note(origin)
    if not keys or not note:
        known = ", ".join(state.logs) or "no log"
        raise ConfigError(f"--checkpoint {origin}: no checkpoint of it was cosigned here. Followed: {known}")
    return signed_by(note, keys)


@app.command()
def run(
    directory: DirectoryOption = DEFAULT_DIRECTORY,
    listen: Annotated[
        str, typer.Option("--listen", help="HOST:PORT; another than this machine's own wants TLS.")
    ] = "127.0.0.1:7380",
    certificate: Annotated[
        Path | None, typer.Option("--tls-certificate", help="PEM of its TLS certificate, with its chain.")
    ] = None,
    key: Annotated[Path | None, typer.Option("--tls-key", help="PEM of that certificate's key.")] = None,
) -> None:
    """Serves until SIGTERM or SIGINT. Prints a JSON line for each larger tree that it cosigns. Of repetitions
    and of wrong requests it prints one a minute for each log, verdict and size of the tree by powers of two,
    with the number left out."""
    host, port = _address(listen)
    tls = _tls(certificate, key)
    if tls is None and host not in {"127.0.0.1", "::1", "localhost"}:
        raise ConfigError(
            f"--listen {listen}: give --tls-certificate and --tls-key, or listen here behind a proxy"
        )
    state = WitnessState(directory)
    try:
        asyncio.run(_served(state, host, port, tls))
    finally:
        state.close()


async def _served(state: WitnessState, host: str, port: int, tls: ssl.SSLContext | None) -> None:
    stop, journal = asyncio.Event(), WitnessJournal(_print)
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    try:
        server = await WitnessServer(state, journal).start(host, port, tls)
    except OSError as error:
        raise ConfigError(f"cannot listen on {host}:{port}: {error.strerror or error}") from error
    bound = server.sockets[0].getsockname()[1]
    _line({"event": "serving", "host": host, "port": bound, "vkey": state.vkey.text()})
    await stop.wait()
    server.close()
    for event in journal.rest():
        _print(event)


def _print(event: Event) -> None:
    said: dict[str, object] = {"event": event.name, "origin": event.origin, "size": event.size}
    if event.detail:
        said |= {"detail": event.detail, "note": event.note}
    if event.left_out:
        said["left_out"] = event.left_out
    _line(said)


def _line(said: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(said) + "\n")
    sys.stdout.flush()


def _address(listen: str) -> tuple[str, int]:
    host, _, port = listen.rpartition(":")
    if not host or not (port.isascii() and port.isdecimal()) or int(port) > 65_535:
        raise ConfigError(f"--listen {listen}: must be HOST:PORT")
    return host.strip("[]"), int(port)


def _tls(certificate: Path | None, key: Path | None) -> ssl.SSLContext | None:
    if certificate is None and key is None:
        return None
    if certificate is None or key is None:
        raise ConfigError("--tls-certificate and --tls-key belong together")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"--tls-certificate {certificate}, --tls-key {key}: {error}") from error
    return context
