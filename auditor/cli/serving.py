"""`birthmark-auditor serve-tiles`."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from cryptography import x509

from auditor.adapters.enrolment import load_operations_cas, load_vkey
from auditor.adapters.tile_files import CHECKPOINT, TileFiles
from auditor.adapters.tile_server import TileServer
from auditor.cli.options import DEFAULT_CONFIG, ConfigOption, JsonOption
from auditor.config import load
from auditor.core.proofs import open_checkpoint, parse_vkey
from auditor.errors import ConfigError
from auditor.logged import Held
from birthmark.proof import VerifierKey
from birthmark.proof.succession import SUCCESSION_PATH


@dataclass(frozen=True, slots=True)
class Log:
    """What the folder's checkpoint says at the start."""

    origin: str
    size: int


def serve_tiles(
    folder: Annotated[Path, typer.Argument(help="The folder of tiles: signerd's, or a copy of it.")],
    config: ConfigOption = DEFAULT_CONFIG,
    *,
    listen: Annotated[str, typer.Option(help="HOST:PORT; port 0: a free one.")] = "127.0.0.1:8480",
    name: Annotated[
        list[str] | None, typer.Option(help="A name that readers ask for; addresses and localhost need none.")
    ] = None,
    vkey: Annotated[
        Path | None, typer.Option(help="The log's verifier key, instead of the one in the settings.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Serves a folder of tiles over HTTP to readers of C2SP tlog-tiles, until it is ended.

    It only reads, and has no login: who reaches the address reads the whole log. So it listens on this
    machine alone unless told otherwise. It begins once the folder has a checkpoint of the log.
    """
    host, port = _address(listen)
    key, cas = _trusted(vkey, config)
    with closing(TileFiles(folder)) as files:
        found = files.read(CHECKPOINT)
        if found is None:
            raise ConfigError(
                f"{folder} has no checkpoint: name the folder of tiles, as [publication] folder has it"
            )
        succession = files.read(SUCCESSION_PATH)
        held = Held(key, cas, b"" if succession is None else succession.data)
        head = open_checkpoint(found.data, held.key_of(found.data))
        with suppress(KeyboardInterrupt):
            asyncio.run(_serve(files, host, port, name or [], Log(head.origin, head.size), as_json=as_json))


def _trusted(vkey: Path | None, config: Path) -> tuple[VerifierKey, Sequence[x509.Certificate]]:
    """The log's key, and who may sign a successor of the log: nobody, where the key was given."""
    if vkey is not None:
        return parse_vkey(load_vkey(vkey)), ()
    settings = load(config)
    key = parse_vkey(load_vkey(settings.trust.log_vkey))
    return key, load_operations_cas(settings.signerd.operations_ca)


def _address(listen: str) -> tuple[str, int]:
    host, _, port = listen.rpartition(":")
    if not host or not port.isascii() or not port.isdecimal() or int(port) > 65_535:
        raise typer.BadParameter(f"{listen!r} is not HOST:PORT")
    return host.strip("[]"), int(port)


async def _serve(
    files: TileFiles, host: str, port: int, names: list[str], log: Log, *, as_json: bool
) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with TileServer(files, host, port, names) as server:
        shown = f"[{host}]" if ":" in host else host
        said = {"url": f"http://{shown}:{server.port}/", "origin": log.origin, "size": log.size}
        text = f"serves the log {log.origin} at {said['url']}, now of {log.size} entries"
        typer.echo(json.dumps({"event": "serving", **said}) if as_json else text)
        await stop.wait()
