"""A network with a loopback and nothing else. A port of this machine's is there where a test says so.

    with LonelyNetwork(folder) as network:
        network.carry(signerd_port)
        subprocess.run(network.inside("birthmark-agent", "doctor"))

`python -m harness.lonely_network LISTEN TO` passes connections on. Each is a port of the loopback or the path
of a socket, which is the same in every network.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

from harness.process import REPOSITORY, Program, or_ended, wait_until

_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"  # where Debian has ip
_HOLD = f"PATH='{_PATH}'; ip link set lo up && echo made && exec sleep infinity"


class LonelyNetwork:
    """A namespace, which is there while the context is."""

    def __init__(self, folder: Path) -> None:
        """`folder`: for its sockets and logs."""
        self._folder = folder
        self._programs = ExitStack()

    def __enter__(self) -> Self:
        holder = Program(["unshare", "--net", "/bin/sh", "-c", _HOLD], log=self._folder / "network")
        self._holder = self._programs.enter_context(holder)
        with or_ended(self._programs.close):
            wait_until(lambda: "made" in holder.output(), "a network", program=holder)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._programs.close()

    def inside(self, *command: str | Path) -> list[str]:
        """The command, in this network."""
        return ["nsenter", f"--net=/proc/{self._holder.pid}/ns/net", "--", *map(str, command)]

    def carry(self, port: int) -> None:
        """Who connects to this port of the loopback inside reaches the same port outside."""
        way = self._folder / f"{port}.socket"
        for name, prefix, listen, to in (
            ("outside", [], str(way), str(port)),
            ("inside", self.inside(), str(port), str(way)),
        ):
            passing = Program(
                [*prefix, sys.executable, "-m", "harness.lonely_network", listen, to],
                log=self._folder / f"{port}-{name}",
                environment={"PYTHONPATH": str(REPOSITORY / "tests")},
            )
            self._programs.enter_context(passing)
            wait_until(partial(_listens, passing), "a way", program=passing)


def _listens(passing: Program) -> bool:
    return "listens" in passing.output()


def no_lonely_network() -> str:
    """Why there is none here; an empty text if there is."""
    for tool in ("unshare", "nsenter", "ip"):
        if shutil.which(tool, path=_PATH) is None:
            return f"{tool} is not installed"
    inside = ["unshare", "--net", "/bin/sh", "-c", f"PATH='{_PATH}'; ip link set lo up"]
    done = subprocess.run(inside, capture_output=True, text=True, check=False)
    return f"no network namespace here: {done.stderr.strip()}" if done.returncode else ""


async def _serve(listen: str, to: str) -> None:
    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, theirs = await (
            asyncio.open_connection("127.0.0.1", int(to))
            if to.isdigit()
            else asyncio.open_unix_connection(to)
        )
        await asyncio.gather(_pass(reader, theirs), _pass(there, writer))

    server = await (
        asyncio.start_server(take, "127.0.0.1", int(listen))
        if listen.isdigit()
        else asyncio.start_unix_server(take, listen)
    )
    print("listens", flush=True)
    await server.serve_forever()


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        pass  # the other side is gone
    finally:
        writer.close()


if __name__ == "__main__":
    asyncio.run(_serve(*sys.argv[1:]))
