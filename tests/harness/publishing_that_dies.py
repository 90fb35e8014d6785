"""Publishes under load and dies of SIGKILL at a write, again and again. Run as a process:

python -m harness.publishing_that_dies DIRECTORY ROUNDS SEED

Each round is a child of its own on the same files. It dies amid entries, checkpoints and receipts.
A second child starts after it, as signerd does, and ends. The process looks that the tiles are then whole,
and that nothing which was handed out or published is gone. It prints a JSON line for each round: where the
child died, and each checkpoint that anybody could have seen.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import random
import signal
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from enum import StrEnum
from pathlib import Path

from sqlalchemy import Engine, event

from harness.read_tiles import checked
from harness.store_that_dies import die
from harness.store_world import SoftwareLogKey, World, refusals
from signerd.adapters.store import SqlStore
from signerd.adapters.tiles import TilePublisher

MOST = 40  # entries of one commit: a round fills a tile now and then
WRITERS = 4
LATEST_S = 8.0  # a round that has not died by then fails


class Write(StrEnum):
    """Where it dies, in the order of the writes."""

    NOT_COMMITTED = "entries not committed"
    SIGNED = "checkpoint signed"
    HEAD_TEMPORARY = "second place, under its temporary name"
    HEAD = "second place"
    RECEIPT = "receipt handed out"
    TILE_TEMPORARY = "tile, under its temporary name"
    TILE = "tile"
    CHECKPOINT_TEMPORARY = "tiles' checkpoint, under its temporary name"
    CHECKPOINT = "tiles' checkpoint"
    PARTIALS = "partial tiles removed"
    ANY_TIME = "any time"


class Trap:
    """Lets the child die at the n-th write of a kind."""

    def __init__(self, world: World, at: Write, count: int, say: Callable[[str, bytes], None]) -> None:
        self._world = world
        self._at = at
        self._left = count
        self.say = say

    def reached(self, write: Write) -> None:
        """To be called at each write."""
        if write is self._at:
            self._left -= 1
            if self._left <= 0:
                self.say("died", write.encode())
                die()

    def arm(self) -> None:
        """All files of ours get their names by `Path.replace`."""
        replace, rmdir = Path.replace, Path.rmdir
        world, reached = self._world, self.reached
        kinds = {
            world.head_file: (Write.HEAD_TEMPORARY, Write.HEAD),
            world.tiles / "checkpoint": (Write.CHECKPOINT_TEMPORARY, Write.CHECKPOINT),
        }

        def replaced(source: Path, target: Path) -> Path:
            before, after = kinds.get(target, (Write.TILE_TEMPORARY, Write.TILE))
            reached(before)
            done = replace(source, target)
            reached(after)
            return done

        def removed(folder: Path) -> None:
            reached(Write.PARTIALS)
            rmdir(folder)

        Path.replace = replaced  # type: ignore[method-assign,assignment]
        Path.rmdir = removed  # type: ignore[method-assign,assignment]
        event.listen(Engine, "commit", lambda _connection: reached(Write.NOT_COMMITTED))
        sign = SoftwareLogKey.sign_checkpoint

        async def signed(key: SoftwareLogKey, body: bytes) -> bytes:
            signature = await sign(key, body)
            reached(Write.SIGNED)
            return signature

        SoftwareLogKey.sign_checkpoint = signed  # type: ignore[method-assign,assignment]
        world.log_key = SoftwareLogKey()


async def publish(world: World, trap: Trap, chance: random.Random) -> None:
    """Enters, publishes and hands out, until it dies."""
    defaults = TilePublisher.__init__.__kwdefaults__
    assert defaults is not None
    defaults["every_s"] = 0.01
    store = await world.open()
    trap.arm()
    world.log_key.die_instead = None
    store._ledger._signs = {world.log_key.verifier: world.log_key.sign_checkpoint}
    loop = asyncio.get_running_loop()
    loop.call_later(chance.uniform(0.01, 0.2), trap.reached, Write.ANY_TIME)
    loop.call_later(LATEST_S, sys.exit, "the trap was not reached")
    async with asyncio.TaskGroup() as group:
        for _ in range(WRITERS):
            group.create_task(_write(store, trap, chance))


async def _write(store: SqlStore, trap: Trap, chance: random.Random) -> None:
    while True:
        await store.append_refusals(refusals(chance.randint(1, MOST)))
        receipt = (await store.published(store._ledger._committed - 1)).receipt
        trap.say("receipt", receipt.partition(b"\n\n")[2])
        trap.reached(Write.RECEIPT)


async def restart(world: World) -> None:
    """A start, and a clean end."""
    async with world.opened() as store, asyncio.timeout(30):
        await store.published(store._ledger._committed - 1)


def forked(run: Callable[[Callable[[str, bytes], None]], None]) -> tuple[int, list[tuple[str, bytes]]]:
    """Runs it in a child; its status, and what it said."""
    ours, its = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.close(ours)
            run(lambda what, data: _say(its, what, data))
            code = 0
        except SystemExit as error:
            print(error, file=sys.stderr)
        except BaseException:  # noqa: BLE001 -- a child goes no further up
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)
    os.close(its)
    with os.fdopen(ours, "rb") as pipe:
        lines = pipe.read().decode().split("\n")[:-1]
    said = [(what, base64.b64decode(data)) for what, _, data in (line.partition(" ") for line in lines)]
    return os.waitpid(child, 0)[1], said


def _say(pipe: int, what: str, data: bytes) -> None:
    """One write: a line is there whole, or not at all."""
    os.write(pipe, f"{what} {base64.b64encode(data).decode()}\n".encode())


def one_round(world: World, at: Write, chance: random.Random) -> dict[str, object]:
    """Dies, starts, and looks. Raises AssertionError."""
    trap_count, seed = 1 if at is Write.ANY_TIME else chance.randint(1, 4), chance.random()

    def dying(say: Callable[[str, bytes], None]) -> None:
        asyncio.run(publish(world, Trap(world, at, trap_count, say), random.Random(seed)))

    status, said = forked(dying)
    assert os.WIFSIGNALED(status), (at, status)
    assert os.WTERMSIG(status) == signal.SIGKILL, (at, status)
    assert ("died", at.encode()) in said, (at, said[-1:])  # another thread may have said something after it
    seen = [data for what, data in said if what == "receipt"]
    for file in (world.head_file, world.tiles / "checkpoint"):
        with suppress(FileNotFoundError):  # the first round may have died before there was one
            seen.append(file.read_bytes())
    if (world.tiles / "checkpoint").exists():
        checked(world.tiles)  # readers have a whole tree, whatever the child was at
    assert forked(lambda _say: asyncio.run(restart(world)))[0] == 0, at
    seen.append((world.tiles / "checkpoint").read_bytes())
    size = len(checked(world.tiles))
    sizes = [int(note.split(b"\n")[1]) for note in seen]
    assert max(sizes) <= size, f"{at}: a tree of {max(sizes)} entries was shown, and {size} are there"
    return {"died": at, "size": size, "notes": [note.decode() for note in dict.fromkeys(seen)]}


def main(directory: Path, rounds: int, seed: int) -> None:
    """All rounds, at each write in turn."""
    world, chance, writes = World(directory), random.Random(seed), list(Write)
    world.create()
    for number in range(rounds):
        print(json.dumps(one_round(world, writes[number % len(writes)], chance)), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
