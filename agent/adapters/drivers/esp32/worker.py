# SPDX-License-Identifier: GPL-2.0-or-later
"""The process that runs esptool for one port: JSON lines in, JSON lines out (docs/adr/0014).

A request is {"id": n, "command": name, …}; the answer {"id": n, "result": {…}} or {"id": n, "error": [kind,
code, detail, remedy]}, after any number of {"id": n, "progress": [done, total]}. One command at a time. The
end of input ends the process. What libraries print goes nowhere: the answers have a descriptor of their own.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from agent.adapters.drivers.esp32.gpl import efuses, progress
from agent.adapters.drivers.esp32.gpl.connection import Connection
from agent.adapters.drivers.esp32.gpl.errors import ESPTOOL_RAISES, WorkerError, translate

_MAX_REQUEST = 1_048_576  # bytes of a line
_DIRECTORY = "birthmark-esptool-"  # how the agent names it
_LOAD_AFTER_S = 1.0  # a boot has its end then, also where sixteen chips boot at once


class Commands:
    """What may be asked, by name. Fields come from the agent, which checked them."""

    def __init__(self, answers: IO[bytes]) -> None:
        self._answers = answers
        self._id = 0
        self._loads = False
        self._connection = Connection(progress.install(self._progress))

    def serve(self, request: dict[str, Any]) -> None:
        """Runs one command and answers."""
        self._id = request.pop("id")
        name = request.pop("command")
        try:
            result = _run(self._connection, name, request)
        except WorkerError as error:
            self._say({"error": error.answer})
        except ESPTOOL_RAISES as error:
            self._say({"error": translate(error, str(name)).answer})
        else:
            self._say({"result": result})
            if name == "run":
                self._load_soon()

    def _load_soon(self) -> None:
        """Makes ready to read eFuses, while the chip boots or makes its key and nobody waits for it."""
        if not self._loads:
            self._loads = True
            timer = threading.Timer(_LOAD_AFTER_S, efuses.load)
            timer.daemon = True
            timer.start()

    def _progress(self, done: int, total: int) -> None:
        self._say({"progress": [done, total]})

    def _say(self, fields: dict[str, Any]) -> None:
        self._answers.write(json.dumps({"id": self._id, **fields}).encode("ascii") + b"\n")
        self._answers.flush()


def _run(connection: Connection, name: str, fields: dict[str, Any]) -> dict[str, Any]:
    known: dict[str, Callable[..., dict[str, Any]]] = {
        "open": connection.open,
        "prepare": connection.prepare,
        "digests": connection.digests,
        "read": connection.read,
        "write": connection.write,
        "burned": connection.burned,
        "burn": connection.burn,
        "alive": connection.alive,
        "run": connection.run,
        "close": connection.close,
        "check_burns": efuses.check,
        "check_signatures": _check_signatures,
    }
    if name not in known:
        raise WorkerError("line", "worker_junk", f"no command {name!r}")
    return known[name](**fields)


def _check_signatures(images: list[tuple[str, str]], public_key_pem: str, key_sha256: str) -> dict[str, Any]:
    from agent.adapters.drivers.esp32.gpl import signatures  # noqa: PLC0415 (no port's worker needs it)

    files = [(name, Path(path)) for name, path in images]
    try:
        signatures.check(files, public_key_pem, bytes.fromhex(key_sha256))
    except signatures.SignatureRefusedError as error:
        raise WorkerError(
            "board", "image_unsigned", str(error), "Sign the images with the product's key."
        ) from error
    return {}


def main() -> None:
    """Serves until the input ends."""
    answers = os.fdopen(os.dup(1), "wb")
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    commands = Commands(answers)
    try:
        while line := sys.stdin.buffer.readline(_MAX_REQUEST):
            commands.serve(json.loads(line))
    finally:
        _remove_directory(Path.cwd())


def _remove_directory(own: Path) -> None:
    """An agent that was killed does not remove the directory that it made for this process."""
    if own.name.startswith(_DIRECTORY):
        os.chdir(own.parent)
        own.rmdir()


if __name__ == "__main__":
    main()
