"""Runs simulated boards on ptys until SIGTERM: `PYTHONPATH=tests python -m boards --count 4`.

    --count 4 --evidence psa-token,x509 --trust trust.json --wrong '{"0": {"lifecycle": "unknown"}}'

makes boards of two methods in turn, writes what signerd must be given to trust them, and makes something
wrong with board 0, by a keyword of its vendor's `attester` (boards/attesters).

Writes a JSON line a board, `{"board": 0, "chip": "…", "method": "x509", "port": "/dev/pts/3", "link": null}`,
then `{"ready": 4}`. Reads commands from standard input, a JSON line each, and answers each with a line:

    {"board": 0, "reset": true}                                  presses reset
    {"board": 0, "erase": true}                                  erases its storage and presses reset
    {"board": 0, "faults": [{"kind": "lose_answer", "times": 2}]}  replaces its faults (boards/faults.py)
    {"board": 0, "show": true}                                   tells what it did and stored

SIGHUP presses reset on all of them.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import os
import signal
import sys
import threading
from pathlib import Path

from boards import keys
from boards.farm import FarmOptions, invented_chips, make_mixed_boards, mixed_chips, read_secrets, trust_in
from boards.faults import Faults
from boards.pty_line import PtyBoard
from boards.vendors import METHODS, make_vendors


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="boards", description="Simulated boards on ptys")
    parser.add_argument("--count", type=int, help="boards; default: one a secret, or one a method")
    parser.add_argument("--secrets", type=Path, help="CSV of chip_id,hexkey; default: invented chips")
    parser.add_argument("--state-dir", type=Path, help="keeps what the boards store over restarts")
    parser.add_argument("--link-dir", type=Path, help="makes links board-0, board-1, … to the ports here")
    parser.add_argument("--key-types", default="p256", help="comma-separated: p256,p384,rsa2048,…")
    parser.add_argument("--keygen-seconds", type=float, default=0.0)
    parser.add_argument("--baud", type=int, default=0, help="simulated line rate; 0: the line takes no time")
    parser.add_argument("--boot-seconds", type=float, default=0.0, help="deaf for so long after a reset")
    parser.add_argument("--buffer", type=int, default=1024, help="largest SMP message that a board takes")
    parser.add_argument("--null-parameters", action="store_true", help="CSRs as Mbed TLS 2.28 writes them")
    known = ",".join(METHODS)
    parser.add_argument("--evidence", default="hmac-sha256", help=f"the boards' methods in turn, of {known}")
    parser.add_argument("--evidence-in-csr", action="store_true", help="inside the CSR, where a method can")
    parser.add_argument("--pop", action="store_true", help="the boards have a proof-of-possession code")
    parser.add_argument("--prefix", default="CHIP-", help="of the ids of chips that no secret names")
    parser.add_argument("--trust", type=Path, help="writes the vendors' product sections and identities here")
    parser.add_argument("--wrong", default="{}", help='JSON: {"0": {"lifecycle": "unknown"}}')
    parser.add_argument("--faults", default="{}", help='JSON: {"0": [{"kind": "silent", "times": 1}]}')
    return parser.parse_args()


def _options(arguments: argparse.Namespace) -> FarmOptions:
    return FarmOptions(
        state_dir=arguments.state_dir,
        key_types=tuple(arguments.key_types.split(",")),
        keygen_s=arguments.keygen_seconds,
        baudrate=arguments.baud,
        boot_s=arguments.boot_seconds,
        buffer=arguments.buffer,
        null_parameters=arguments.null_parameters,
        evidence_in_csr=arguments.evidence_in_csr,
        pop=arguments.pop,
        faults={int(number): faults for number, faults in json.loads(arguments.faults).items()},
        wrong={int(number): wrong for number, wrong in json.loads(arguments.wrong).items()},
    )


def _say(item: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(item) + "\n")
    sys.stdout.flush()


def _link(directory: Path | None, number: int, port: str) -> str | None:
    if directory is None:
        return None
    directory.mkdir(parents=True, exist_ok=True)
    link = directory / f"board-{number}"
    link.unlink(missing_ok=True)
    link.symlink_to(port)
    return str(link)


def _command(boards: list[PtyBoard], line: str) -> dict[str, object]:
    try:
        command = json.loads(line)
        pty = boards[command["board"]]
        if "faults" in command:
            pty.board.faults = Faults.from_json(command["faults"])
        if command.get("erase"):
            pty.board.storage.erase()
        if command.get("erase") or command.get("reset"):
            pty.reset()
    except (ValueError, KeyError, IndexError, TypeError) as error:
        return {"ok": False, "error": str(error)}
    return {"ok": True, **(_show(pty) if command.get("show") else {})}


def _show(pty: PtyBoard) -> dict[str, object]:
    key, config = pty.board.key, pty.board.storage.get("config")
    return {
        "chip": pty.board.model.chip_id,
        "exchanges": pty.exchanges,
        "wire_bytes": pty.wire_bytes,
        "sealed": pty.board.sealed,
        "spki_sha256": None if key is None else hashlib.sha256(keys.public_der(key)).hexdigest(),
        "config": None if config is None else config.hex(),
    }


def _make(arguments: argparse.Namespace) -> list[PtyBoard]:
    methods = arguments.evidence.split(",")
    if arguments.secrets is not None:
        secrets = read_secrets(arguments.secrets)
    else:
        secrets = invented_chips(arguments.count or 1)
    count = arguments.count or (len(secrets) if arguments.secrets is not None else len(methods))
    vendors = make_vendors(methods, dict(secrets))
    chips = mixed_chips(methods, count, secrets, arguments.prefix)
    boards = make_mixed_boards(chips, vendors, _options(arguments))
    if arguments.trust is not None:
        arguments.trust.write_text(json.dumps(trust_in(vendors, boards)), encoding="utf-8")
    return boards


async def _run(arguments: argparse.Namespace) -> None:
    boards = _make(arguments)
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    for wanted in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(wanted, stopped.set)
    loop.add_signal_handler(signal.SIGHUP, _reset_all, boards)
    for number, pty in enumerate(boards):
        pty.start()
        link = _link(arguments.link_dir, number, pty.port)
        model = pty.board.model
        said = {"board": number, "chip": model.chip_id, "method": model.methods[0]}
        _say({**said, "port": pty.port, "link": link})
    _say({"ready": len(boards)})
    threading.Thread(target=_read_commands, args=(loop, boards), daemon=True).start()
    await stopped.wait()
    for pty in boards:
        await pty.stop()


def _reset_all(boards: list[PtyBoard]) -> None:
    for pty in boards:
        pty.reset()


def _read_commands(loop: asyncio.AbstractEventLoop, boards: list[PtyBoard]) -> None:
    """Runs in a thread until standard input ends; the boards go on without it."""
    rest = b""
    while data := os.read(sys.stdin.fileno(), 65_536):
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            loop.call_soon_threadsafe(_obey, boards, line.decode())


def _obey(boards: list[PtyBoard], line: str) -> None:
    _say(_command(boards, line))


if __name__ == "__main__":
    asyncio.run(_run(_arguments()))
