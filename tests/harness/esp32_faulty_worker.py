"""The real worker, which does something else at one command, once.

    python esp32_faulty_worker.py FILE COMMAND FAULT

FILE exists until the fault has happened, so that the process that comes next does all as it should. Faults:
`die`, `hang`, `junk`, `wrong` (another's answer), `unplug` (the chip's port is pulled out, and it goes on).
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

from agent.adapters.drivers.esp32.worker import Commands


def main() -> None:
    """Serves as the worker does."""
    file, command, fault = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    commands = Commands(answers)
    port = ""
    while line := sys.stdin.buffer.readline():
        request = json.loads(line)
        port = request.get("port", port)
        if request["command"] == command and file.exists():
            file.unlink()
            misbehave(fault, port, answers.fileno())
        commands.serve(request)


def misbehave(fault: str, port: str, answers: int) -> None:
    """Does what was asked for; all but `unplug` end the process or keep it for ever."""
    match fault:
        case "die":
            os._exit(1)
        case "hang":
            time.sleep(3_600)
        case "junk":
            os.write(answers, b"Connecting...\n")
        case "wrong":
            os.write(answers, b'{"id": 0, "result": {}}\n')
        case "unplug":
            Path(f"{port}.control").write_text("unplug\n", encoding="ascii")
            while Path(port).exists():
                time.sleep(0.001)
        case _:
            raise SystemExit(f"no fault {fault!r}")


if __name__ == "__main__":
    main()
