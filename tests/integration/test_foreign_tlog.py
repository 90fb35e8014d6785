"""What signerd publishes, judged by code that nobody here wrote: Go's sumdb/note and sumdb/tlog,
transparency-dev's merkle and formats, tessera's fsck.

A log has an entry from its first moment, so the smallest tree that is signed has one. At size 0 nothing is
signed, and the folder has no checkpoint.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.foreign_tlog import foreign_program
from harness.store_world import World, refusals
from signerd.adapters.store import SqlStore

SMALL = [*range(1, 16), 255, 256, 257, 258]
LARGE = [65_535, 65_536, 65_537]
AT_ONCE = 50_000  # entries in one transaction


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = World(tmp_path / "world")
    made.database.parent.mkdir()
    made.create()
    return made


async def publish(world: World, size: int, into: Path) -> Path:
    """The log and its proofs as they are at this size, in a folder of their own."""
    async with world.opened() as store:
        while (have := store._writer._tree.size) < size:
            await store.append_refusals(refusals(min(AT_ONCE, size - have)))
        await store.published(size - 1)
        proofs = await made_by(store, size)
    folder = into / str(size)
    shutil.copytree(world.tiles, folder, copy_function=os.link)
    (folder / "proofs.json").write_text(json.dumps(proofs))
    return folder


async def made_by(store: SqlStore, size: int) -> dict[str, list[dict[str, object]]]:
    tree = store._writer._tree
    at = sorted({0, 1, size // 3, size // 2, 255, 256, 65_535, 65_536, size - 2, size - 1} & set(range(size)))
    return {
        "Inclusion": [
            {
                "Index": index,
                "Leaf": text(tree.leaf(index)),
                "Hashes": [text(each) for each in await store.inclusion_proof(index, size)],
            }
            for index in at
        ],
        "Consistency": [
            {
                "Old": index + 1,
                "Root": text(tree.root(index + 1)),
                "Hashes": [text(each) for each in await store.consistency_proof(index + 1, size)],
            }
            for index in at
        ],
    }


def text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def judged(world: World, *folders: Path) -> tuple[int, str]:
    program = foreign_program("tlog")
    command: list[str | Path] = [program, world.log_key.verifier.text(), *folders]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    return done.returncode, done.stderr if done.returncode else done.stdout


@pytest.mark.check
async def test_others_accept_the_log_as_it_grows(world: World, tmp_path: Path) -> None:
    assert not (world.tiles / "checkpoint").exists()
    folders = [await publish(world, size, tmp_path) for size in (*SMALL, *LARGE)]
    code, said = judged(world, *folders)
    assert (code, said.splitlines()) == (0, [f"ok {size}" for size in (*SMALL, *LARGE)])


@pytest.mark.check
async def test_others_find_the_tree_of_each_receipt(world: World, tmp_path: Path) -> None:
    """As it was when its checkpoint was signed, with the partial tiles of that size, also of sizes that came
    while another was written. Tessera's reader may take the full tile instead, sumdb does not."""
    signed: list[tuple[int, bytes, dict[str, list[dict[str, object]]]]] = []
    async with world.opened() as store:
        store._ledger.tiles._every_s = 60.0
        for count in (255, 4, 1, 30, 9):
            await store.append_refusals(refusals(count))
            await store.published(store._writer._tree.size - 1)
            size = store.published_size
            signed.append((size, store.checkpoint(), await made_by(store, size)))
    folders = []
    for size, note, proofs in signed:
        folder = tmp_path / str(size)
        shutil.copytree(world.tiles, folder, copy_function=os.link)
        (folder / "checkpoint").unlink()  # it is a link
        (folder / "checkpoint").write_bytes(note)
        (folder / "proofs.json").write_text(json.dumps(proofs))
        folders.append(folder)
    sizes = [256, 260, 261, 291, 300]
    assert judged(world, *folders) == (0, "".join(f"ok {size}\n" for size in sizes))
    (folders[1] / "tile/0/001.p/4").unlink()
    code, said = judged(world, *folders)
    assert (code, "tile/0/001.p/4" in said) == (1, True), said


@pytest.mark.soak
async def test_others_accept_a_million_entries(world: World, tmp_path: Path) -> None:
    assert judged(world, await publish(world, 1_000_000, tmp_path)) == (0, "ok 1000000\n")


def _flipped(data: bytes) -> bytes:
    return bytes((data[0] ^ 1,)) + data[1:]


@pytest.mark.check
@pytest.mark.parametrize(
    ("path", "change", "said"),
    [
        ("checkpoint", lambda data: data.replace(b"\n300\n", b"\n299\n"), "checkpoint"),
        ("tile/0/000", _flipped, "sumdb/tlog"),
        ("tile/0/001.p/44", lambda data: data[:-32], "sumdb/tlog"),
        ("tile/1/000.p/1", _flipped, "sumdb/tlog"),
        ("tile/entries/000", lambda data: data[:9] + bytes((data[9] ^ 1,)) + data[10:], "sumdb/tlog"),
        ("tile/entries/001.p/44", lambda data: data[:3000] + _flipped(data[3000:]), "fsck"),
        ("proofs.json", lambda data: data.replace(b'"Old": 2,', b'"Old": 3,'), "consistency with 3"),
    ],
)
async def test_others_refuse_a_log_that_was_altered(
    world: World, tmp_path: Path, path: str, change: Callable[[bytes], bytes], said: str
) -> None:
    folder = await publish(world, 300, tmp_path)
    assert judged(world, folder) == (0, "ok 300\n")
    before = (folder / path).read_bytes()
    (folder / path).unlink()  # it is a link
    (folder / path).write_bytes(change(before))
    assert change(before) != before
    code, answer = judged(world, folder)
    assert (code, said in answer) == (1, True), answer
