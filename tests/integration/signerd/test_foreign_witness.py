"""signerd's checkpoints and proofs before transparency-dev's witness, which nobody here wrote."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest

from harness.go_witness import GoWitness, built, go_witness
from harness.store_world import World, intent, issue, stock, with_terms
from signerd.adapters import witnesses
from signerd.adapters.store import SqlStore
from signerd.adapters.witness_line import WitnessLine
from signerd.adapters.witnesses import Witnesses
from signerd.core.cosigning import parse_witness_key, read_answer

pytestmark = pytest.mark.soak  # it builds a Go program of modules from the network


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = built(tmp_path_factory.mktemp("gowitness"))
    if made is None:
        pytest.skip("there is no Go here")
    return made


async def opened(world: World, witness: GoWitness, required: int) -> SqlStore:
    key, line = parse_witness_key(witness.vkey), WitnessLine(witness.url, None)
    world.witnesses = Witnesses([(key, witness.url, line)], required)
    return await world.open()


async def grow(store: SqlStore, witness: GoWitness, chip: str) -> None:
    record = await issue(store, intent(chip))
    assert record.issued_index is not None
    receipt = (await store.published(record.issued_index)).receipt
    _, text, lines = receipt.rsplit(b"\n\n", 2)
    key = parse_witness_key(witness.vkey)
    assert read_answer(200, "", lines, text=text + b"\n", key=key).line


async def test_it_cosigns_each_size_and_refuses_a_log_that_was_put_back(
    tmp_path: Path, program: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(witnesses, "PACE_S", 0.01)
    world = World(tmp_path)
    world.create()
    with go_witness(program, "witness.example/go", world.log_key.verifier.text()) as witness:
        store = await opened(world, witness, 1)
        await stock(store, with_terms(quantity=400))
        for number in range(20):
            await grow(store, witness, f"chip-{number}")
        await store.close()
        backup = tmp_path / "backup"
        shutil.copy(world.database, backup)
        shutil.copy(world.head_file, backup.with_suffix(".head"))
        store = await opened(world, witness, 1)  # after a start, which does not know what it saw last
        for number in range(20, 40):
            await grow(store, witness, f"chip-{number}")
        await store.close()
        world.restore(backup)
        shutil.copy(backup.with_suffix(".head"), world.head_file)
        shutil.rmtree(world.tiles)  # they went back too
        store = await opened(world, witness, 0)
        (state,) = world.witness_states
        async with asyncio.timeout(20):
            while not state.alarm:  # noqa: ASYNC110 -- another task's
                await asyncio.sleep(0.01)
        # Past the size that it saw, on another way: the proof does not hold for it.
        for number in range(50, 75):
            record = await issue(store, intent(f"chip-{number}"))
            assert record.issued_index is not None
            await store.published(record.issued_index)
        async with asyncio.timeout(60):
            while "(422)" not in state.trouble:  # noqa: ASYNC110 -- another task's
                await asyncio.sleep(0.01)
        assert state.alarm
        await store.close()
