"""`signerd ledger succeed` where administrators are asked: nothing is done before they have signed what is
lost."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from harness.approvals import Administrators, changed
from harness.store_world import NOW, World
from harness.succession_world import LATER, SECOND, LostWorld, grow, lost_world
from signerd.core.note import claimed_checkpoint
from signerd.errors import Code, ConfigError, Refused

PEOPLE = Administrators.of("test", 2, "ann", "bob", "carol")


async def asked(world: World) -> None:
    async with world.opened() as store:
        store._writer.demanded = PEOPLE.set
        await store.ask_administrators(NOW)


async def test_administrators_sign_what_is_lost(tmp_path: Path) -> None:
    lost = await lost_world(tmp_path, before=asked)
    before = lost.world.database.read_bytes()

    async def refused(approval: object, code: Code) -> None:
        with pytest.raises(Refused) as caught:
            await lost.succeed(approval=approval)  # type: ignore[arg-type]
        assert caught.value.code is code
        assert lost.world.database.read_bytes() == before

    await refused(None, Code.APPROVAL_REQUIRED)
    statement = await PEOPLE.prepare(lambda approval: lost.succeed(approval=approval), now=LATER)
    assert statement.action == "log_succeeded"
    await refused(PEOPLE.approve(statement, "ann"), Code.APPROVAL_INVALID)
    wrongs: list[dict[str, object]] = [{"continued": 1}, {"predecessors": []}, {"number": 3}]
    for wrong in wrongs:
        await refused(PEOPLE.approve(changed(statement, **wrong), "ann", "bob"), Code.APPROVAL_INVALID)
    by_another_ca = LostWorld(lost.world, seen=lost.seen)
    with pytest.raises(Refused):
        await by_another_ca.succeed(approval=PEOPLE.approve(statement, "ann", "bob"))
    done = await lost.succeed(approval=PEOPLE.approve(statement, "ann", "bob"))
    assert (done.origin, done.size) == (SECOND, done.continued + 2)  # the approval is an entry before it
    async with lost.world.opened(now=LATER) as store:
        note = await grow(store, "chip-2")
        assert claimed_checkpoint(note, SECOND).size > done.size
    with pytest.raises(ConfigError, match="nothing is lost"):
        await lost.succeed(approval=PEOPLE.approve(replace(statement, request=bytes(16)), "ann", "bob"))
