"""Approvals in the real database: who is asked, each used once, and what a crash means."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
import pytest_asyncio
from sqlalchemy import select

from harness.approval_that_dies import APPROVED, Point, write_approval
from harness.approvals import Act, Administrators, changed, would_append
from harness.doctored_store import log_of
from harness.process import REPOSITORY
from harness.ssh_signing import PRESENT, SshSigner
from harness.store_world import (
    NOW,
    ORDER,
    STATION,
    SoftwareLogKey,
    World,
    digest,
    intent,
    issue,
    stock,
    with_terms,
)
from signerd.adapters.store import Registered, SqlStore
from signerd.adapters.store.tables import schema
from signerd.core.approval.actions import Approval, Preparing
from signerd.core.approval.administrators import NOBODY, AdministratorSet, namespace_of
from signerd.core.approval.sshsig import read_signature
from signerd.core.entry import (
    AdministratorsSet,
    CheckpointKeyAdded,
    IssuerAdded,
    KeysCommitted,
    OrderClosed,
    Revoked,
)
from signerd.core.names import Reissue, parse_peer_uri
from signerd.errors import Code, Fault, Refused
from signerd.ports import Record

PEOPLE = Administrators.of("test", 2, "ann", "bob", "carol")
OTHERS = Administrators.of("test", 1, "dan")
SECOND = IssuerAdded(
    time=NOW, by="ann", issuer="second", ca="main", certificate_sha256=digest("second"),
    root_sha256=digest("root"), not_after=NOW + timedelta(days=3_650),
)  # fmt: skip
RECIPIENTS = KeysCommitted(
    time=NOW, by="ann", checkpoint="sealed", chip_master="sealed", chip_master_commitment=digest("master"),
    recipients=(digest("token"), digest("spare")),
)  # fmt: skip

SUCCESSOR = CheckpointKeyAdded(
    time=NOW, by="ann", vkey=SoftwareLogKey(b"second").verifier.text(), place="token", recipients=()
)


async def demanding(world: World, people: Administrators = PEOPLE) -> SqlStore:
    """What `signerd run` does where the settings ask administrators."""
    store = await world.open()
    store._writer.demanded = people.set
    await store.ask_administrators(NOW)
    return store


@pytest_asyncio.fixture
async def asked(world: World) -> AsyncIterator[SqlStore]:
    """A station, a product, an order, a board; then administrators are asked."""
    async with world.opened() as before:
        await stock(before, ORDER)
        await issue(before, intent("chip-1"))
    store = await demanding(world)
    try:
        yield store
    finally:
        await store.close()


def opening(store: SqlStore, now: datetime = NOW, **terms: object) -> Act:
    order = with_terms(APPROVED, **terms)
    return lambda approval: store.open_order(order, now, rehearsed=True, approval=approval)


async def refused(act: Act, approval: Approval, code: Code, said: str) -> None:
    with pytest.raises(Refused, match=said) as caught:
        await act(approval)
    assert caught.value.code is code


async def entries(store: SqlStore) -> list[dict[str, Any]]:
    """All that are committed, published or not."""
    asked = select(schema.entries.c.data).order_by(schema.entries.c.entry_index)
    found = await store._writer.do(lambda tx: tx.connection.execute(asked).scalars().all())
    return [json.loads(each) for each in found]


async def test_nobody_is_asked_unless_the_settings_say_so(store: SqlStore) -> None:
    assert await store.administrators() == NOBODY
    assert await store.ask_administrators(NOW) == NOBODY
    await opening(store)(None)
    assert all(entry["type"] != "administrators_set" for entry in await entries(store))


async def test_an_approval_that_nobody_asked_for_is_refused(store: SqlStore) -> None:
    statement = await PEOPLE.prepare(opening(store), now=NOW)
    await refused(
        opening(store), PEOPLE.approve(statement, "ann", "bob"), Code.INVALID, "no approval is asked"
    )


async def test_administrators_of_the_settings_are_entered_once(world: World, asked: SqlStore) -> None:
    assert (await asked.administrators()).same_as(PEOPLE.set)
    assert (await asked.ask_administrators(NOW)).same_as(PEOPLE.set)
    found = [entry for entry in await entries(asked) if entry["type"] == "administrators_set"]
    assert [entry["threshold"] for entry in found] == [2]
    assert [each["name"] for each in found[0]["administrators"]] == ["ann", "bob", "carol"]
    assert (await administrators_of(world, asked)).same_as(PEOPLE.set)


async def test_an_order_waits_for_its_administrators(asked: SqlStore) -> None:
    act = opening(asked)
    await refused(act, None, Code.APPROVAL_REQUIRED, "2 of ann, bob, carol")
    statement = await PEOPLE.prepare(act, now=NOW)
    await refused(act, PEOPLE.approve(statement, "ann"), Code.APPROVAL_INVALID, "and ann did")
    index = await act(PEOPLE.approve(statement, "carol", "ann"))
    approved, opened = (await entries(asked))[-2:]
    assert (approved["type"], opened["type"], index) == ("action_approved", "order_opened", opened_at(opened))
    assert approved["statement"].encode() == statement.text()
    assert [each["administrator"] for each in approved["signatures"]] == ["ann", "carol"]
    for each in approved["signatures"]:
        signature = read_signature(base64.b64decode(each["sshsig"]))
        signature.verify(statement.text(), namespace_of("test"))
    assert statement.entries[0].items() <= opened.items()


def opened_at(_opened: dict[str, Any]) -> int:
    """Entries before it: log, station, product, order, certificate, administrators, approval."""
    return 7


async def test_what_is_prepared_is_not_done(asked: SqlStore) -> None:
    before = await entries(asked)
    for act in actions(asked):
        await would_append(act)
    assert await entries(asked) == before
    assert await asked.order(APPROVED.work_order) is None


def actions(store: SqlStore) -> list[Act]:
    """Each kind."""
    return [
        opening(store),
        lambda approval: store.add_product("other", 'name = "other"\n', NOW, approval=approval),
        lambda approval: store.personalize_chips(
            ["c-1"], locked=True, site="lab", key="hmac-sha256", by="ann", now=NOW, approval=approval
        ),
        lambda approval: store.import_identities("sensor", "tpm2", [], by="ann", now=NOW, approval=approval),
        lambda approval: store.revoke(
            serial_number="BM-000001", reason="keyCompromise", now=NOW, approval=approval
        ),
        lambda approval: store.set_administrators(OTHERS.set, NOW, approval=approval),
        lambda approval: store.add_issuer(SECOND, approval),
        lambda approval: store.add_checkpoint_key(SUCCESSOR, approval),
        lambda approval: store.commit_recipients(RECIPIENTS, approval),
    ]


@pytest.mark.parametrize("number", range(9))
async def test_each_kind_of_action_waits_and_is_done_once(asked: SqlStore, number: int) -> None:
    act = actions(asked)[number]
    await refused(act, None, Code.APPROVAL_REQUIRED, "ann, bob, carol")
    statement = await PEOPLE.prepare(act, now=NOW)
    approval = PEOPLE.approve(statement, "ann", "bob")
    given = (await would_append(act)).given
    await act(replace(approval, given=given))
    approved, done = (await entries(asked))[-2:]
    assert (approved["type"], approved["action"], done["type"]) == (
        "action_approved", statement.action, statement.action
    )  # fmt: skip
    count = len(await entries(asked))
    with suppress(Refused):  # or it is answered as before
        await act(replace(approval, given=given))
    assert len(await entries(asked)) == count


async def test_shown_twice_it_is_one(asked: SqlStore) -> None:
    act = actions(asked)[2]  # personalizing again would be possible
    statement = await PEOPLE.prepare(act, now=NOW)
    approval = PEOPLE.approve(statement, "ann", "bob")
    await act(approval)
    used = len(await entries(asked)) - 1
    await refused(act, approval, Code.ALREADY_EXISTS, f"ledger entry {used} is what it did")
    late = NOW + timedelta(days=30)
    await refused(
        lambda approval: asked.personalize_chips(
            ["c-1"], locked=True, site="lab", key="hmac-sha256", by="ann", now=late, approval=approval
        ),
        PEOPLE.approve(statement, "bob", "carol"),  # other signatures are no other approval
        Code.ALREADY_EXISTS,
        "was used",
    )


async def test_recipients_that_the_ledger_names_ask_nobody_again(asked: SqlStore) -> None:
    """The command goes on after a crash between entry and file, also when the approval expired meanwhile."""
    act = actions(asked)[-1]
    await act(PEOPLE.approve(await PEOPLE.prepare(act, now=NOW), "ann", "bob"))
    index = len(await entries(asked)) - 1
    assert await act(None) == index
    await refused(act, Preparing(), Code.ALREADY_EXISTS, f"already: entry {index}")
    assert len(await entries(asked)) == index + 1


async def test_two_at_once_use_it_once(asked: SqlStore) -> None:
    act = actions(asked)[2]
    approval = PEOPLE.approve(await PEOPLE.prepare(act, now=NOW), "ann", "bob")
    outcomes = await asyncio.gather(*(act(approval) for _ in range(8)), return_exceptions=True)
    failed = [each for each in outcomes if isinstance(each, Refused)]
    assert len(failed) == 7
    assert {each.code for each in failed} == {Code.ALREADY_EXISTS}
    assert [entry["type"] for entry in await entries(asked)].count("chips_personalized") == 1


async def test_two_administrators_may_each_prepare_and_one_order_opens(asked: SqlStore) -> None:
    act = opening(asked)
    first, second = [await PEOPLE.prepare(act, now=NOW) for _ in range(2)]
    assert first.request != second.request
    outcomes = await asyncio.gather(
        act(PEOPLE.approve(first, "ann", "bob")),
        act(PEOPLE.approve(second, "bob", "carol")),
        return_exceptions=True,
    )
    failed = [each for each in outcomes if isinstance(each, Refused)]
    assert [each.code for each in failed] == [Code.ALREADY_EXISTS]
    assert [entry["type"] for entry in await entries(asked)].count("action_approved") == 1


async def test_signatures_of_two_requests_do_not_add_up(asked: SqlStore) -> None:
    act = opening(asked)
    first, second = [await PEOPLE.prepare(act, now=NOW) for _ in range(2)]
    mixed = PEOPLE.approve(first, "ann")
    mixed = replace(mixed, signatures=(*mixed.signatures, *PEOPLE.sign(second.text(), "bob")))
    await refused(act, mixed, Code.APPROVAL_INVALID, "signature 2: .*another text")


@pytest.mark.parametrize(
    ("terms", "said"),
    [
        ({"quantity": 11}, "quantity is now 11, and not 10"),
        ({"settings": b"\xa1\x61\x61\x01"}, "settings_sha256"),
        ({"stations": (STATION, "birthmark://test/station/plant2/pc1")}, "stations"),
        ({"serial_start": 2}, "serial_start is now 2"),
    ],
)
async def test_an_order_that_changed_is_stale(asked: SqlStore, terms: dict[str, Any], said: str) -> None:
    await asked.add_peer(parse_peer_uri("birthmark://test/station/plant2/pc1"), digest("pc2"), NOW)
    approval = PEOPLE.approve(await PEOPLE.prepare(opening(asked), now=NOW), "ann", "bob")
    await refused(opening(asked, **terms), approval, Code.APPROVAL_INVALID, said)
    await opening(asked)(approval)  # it was not used up


async def test_an_order_of_another_revision_is_stale(asked: SqlStore) -> None:
    approval = PEOPLE.approve(await PEOPLE.prepare(opening(asked), now=NOW), "ann", "bob")
    text = 'name = "sensor"\n# another revision\n'
    adding: Act = lambda approval: asked.add_product("sensor", text, NOW, approval=approval)  # noqa: E731
    await adding(PEOPLE.approve(await PEOPLE.prepare(adding, now=NOW), "ann", "bob"))
    revision = await asked.product("sensor")
    assert revision is not None
    await refused(
        opening(asked, product_sha256=revision.sha256),
        approval,
        Code.APPROVAL_INVALID,
        "product_sha256 is now",
    )


async def test_an_approval_ends(asked: SqlStore) -> None:
    approval = PEOPLE.approve(await PEOPLE.prepare(opening(asked), now=NOW), "ann", "bob")
    late = opening(asked, now=NOW + timedelta(days=7))
    await refused(late, approval, Code.APPROVAL_INVALID, "expired")
    await opening(asked, now=NOW + timedelta(days=7, seconds=-1))(approval)


async def test_an_emergency_takes_one(asked: SqlStore) -> None:
    revoking = actions(asked)[4]
    calm = await PEOPLE.prepare(revoking, now=NOW)
    await refused(revoking, PEOPLE.approve(calm, "ann"), Code.APPROVAL_INVALID, "2 administrators")
    emergency = await PEOPLE.prepare(revoking, now=NOW, emergency=True)
    await revoking(PEOPLE.approve(emergency, "ann"))
    approved = (await entries(asked))[-2]
    assert "emergency: true" in approved["statement"].splitlines()
    assert len(approved["signatures"]) == 1


async def test_a_certificate_that_another_supersedes_waits_for_nobody(asked: SqlStore) -> None:
    order, act = with_terms(APPROVED, reissue=Reissue.ALWAYS), opening(asked, reissue=Reissue.ALWAYS)
    await act(PEOPLE.approve(await PEOPLE.prepare(act, now=NOW), "ann", "bob"))
    records: list[Record] = [await issue(asked, intent("chip-9", key, order=order)) for key in ("one", "two")]
    assert [record.place.number for record in records] == [1, 1]
    superseded = [entry for entry in await entries(asked) if entry["type"] == "revoked"]
    assert [entry["reason"] for entry in superseded] == ["superseded"]


async def test_other_administrators_need_those_of_before(asked: SqlStore) -> None:
    new = Administrators.of("test", 1, "dan", "eve")
    act: Act = lambda approval: asked.set_administrators(new.set, NOW, approval=approval)  # noqa: E731
    waiting = PEOPLE.approve(await PEOPLE.prepare(opening(asked), now=NOW), "ann", "bob")
    statement = await PEOPLE.prepare(act, now=NOW)
    with pytest.raises(Refused, match="no administrator's key"):
        await act(new.approve(statement, "dan", "eve"))
    await act(PEOPLE.approve(statement, "bob", "carol"))
    assert (await asked.administrators()).same_as(new.set)
    await refused(opening(asked), waiting, Code.APPROVAL_INVALID, "no administrator's key")
    await opening(asked)(new.approve(await new.prepare(opening(asked), now=NOW), "eve"))


async def test_of_two_changes_at_once_the_second_needs_the_new_ones(asked: SqlStore) -> None:
    one, two = Administrators.of("test", 1, "dan"), Administrators.of("test", 1, "eve")
    acts: list[Act] = [
        lambda approval: asked.set_administrators(one.set, NOW, approval=approval),
        lambda approval: asked.set_administrators(two.set, NOW, approval=approval),
    ]
    approvals = [PEOPLE.approve(await PEOPLE.prepare(act, now=NOW), "ann", "bob") for act in acts]
    outcomes = await asyncio.gather(
        *(act(approval) for act, approval in zip(acts, approvals, strict=True)), return_exceptions=True
    )
    failed = [each for each in outcomes if isinstance(each, Refused)]
    assert [each.code for each in failed] == [Code.APPROVAL_INVALID]


async def test_nobody_is_asked_once_administrators_say_so(asked: SqlStore, world: World) -> None:
    act: Act = lambda approval: asked.set_administrators(NOBODY, NOW, approval=approval)  # noqa: E731
    await act(PEOPLE.approve(await PEOPLE.prepare(act, now=NOW), "ann", "bob"))
    asked._writer.demanded = None  # the line is out of the settings
    await opening(asked)(None)
    assert not (await administrators_of(world, asked)).asked


async def administrators_of(world: World, store: SqlStore) -> AdministratorSet:
    """As a command beside signerd reads them, once a checkpoint covers what is committed."""
    await store.published(len(log_of(world)) - 1)
    return Registered(world.url, world.head_file, lambda: world.log_key.verifier).administrators()


async def test_the_settings_do_not_change_who_is_asked(world: World, asked: SqlStore) -> None:
    await asked.close()
    async with world.opened() as without:
        await refused(opening(without), None, Code.APPROVAL_REQUIRED, "ann, bob, carol")
    other = await demanding(world, Administrators.of("test", 1, "mallory"))
    await refused(opening(other), None, Code.APPROVAL_REQUIRED, "ann, bob, carol")
    await other.close()


async def test_until_administrators_are_entered_nothing_is_done(world: World) -> None:
    """The clock is wrong, for example: nobody can be asked yet, and nobody may do without."""
    async with world.opened() as store:
        store._writer.demanded = PEOPLE.set
        with pytest.raises(Refused, match=r"approval_required: .*not in the ledger yet"):
            await store.add_product("sensor", 'name = "sensor"\n', NOW)


async def test_no_action_gets_around_the_question(asked: SqlStore) -> None:
    entry = Revoked(
        time=NOW, by="ann", work_order="WO-1", chip_id="c", serial_number="s", certificate_serial=b"\1",
        certificate_sha256=bytes(32), reason="keyCompromise", superseded_by=None,
    )  # fmt: skip
    with pytest.raises(Fault, match="no approval was asked for"):
        await asked._writer.do(lambda tx: tx.append(entry))
    administrators = AdministratorsSet(time=NOW, by=None, threshold=0, administrators=())
    with pytest.raises(Fault, match="no approval was asked for"):
        await asked._writer.do(lambda tx: tx.append(administrators))
    await asked._writer.do(lambda tx: tx.append(OrderClosed(time=NOW, by=None, work_order="WO-1")))


async def test_several_parts_are_used_each_once(asked: SqlStore) -> None:
    def part(chip: str) -> Act:
        return lambda approval: asked.personalize_chips(
            [chip], locked=True, site="lab", key="hmac-sha256", by="ann", now=NOW, approval=approval
        )

    statement = await PEOPLE.prepare(part("c-1"), part("c-2"), now=NOW)
    shown = [PEOPLE.approve(statement, "ann", "bob", part=number) for number in range(3)]
    await refused(part("c-2"), shown[0], Code.APPROVAL_INVALID, "chips_sha256 is now")
    await part("c-1")(shown[0])
    await part("c-2")(shown[1])
    await refused(part("c-1"), shown[0], Code.ALREADY_EXISTS, "was used")
    await refused(part("c-3"), shown[2], Code.APPROVAL_INVALID, "one more")


async def test_what_a_security_key_counted_is_noted(world: World) -> None:
    stick = SshSigner.sk_ed25519().saying(flags=PRESENT, counter=41)
    people = replace(PEOPLE, threshold=1, signers={"ann": stick})
    async with world.opened() as before:
        await stock(before, ORDER)
    store = await demanding(world, people)
    await opening(store)(people.approve(await people.prepare(opening(store), now=NOW), "ann"))
    approved = (await entries(store))[-2]
    assert [each["counter"] for each in approved["signatures"]] == [41]
    await store.close()


async def test_another_deployment_s_approval_does_not_count(asked: SqlStore) -> None:
    statement = await PEOPLE.prepare(opening(asked), now=NOW)
    other = replace(statement, log="test.example/line+00000000+AQ==")
    await refused(opening(asked), PEOPLE.approve(other, "ann", "bob"), Code.APPROVAL_INVALID, "for the log")
    raised = changed(statement, quantity=1_000)
    await refused(
        opening(asked), PEOPLE.approve(raised, "ann", "bob"), Code.APPROVAL_INVALID, "quantity is now 10"
    )


def die_at(world: World, point: Point) -> int:
    """How the process ended."""
    path = os.pathsep.join(map(str, (REPOSITORY / "tests", REPOSITORY, REPOSITORY / "proto")))
    command = [sys.executable, "-m", "harness.approval_that_dies", str(world.database.parent), point]
    environment = os.environ | {"PYTHONPATH": path}
    return subprocess.run(command, env=environment, timeout=60, check=False).returncode


@pytest.mark.parametrize("point", Point)
async def test_a_crash_leaves_action_and_approval_or_neither(
    world: World, asked: SqlStore, point: Point
) -> None:
    act = opening(asked)
    approval = PEOPLE.approve(await PEOPLE.prepare(act, now=NOW), "ann", "bob")
    write_approval(world.database.parent, approval)
    count = len(await entries(asked))
    await asked.close()
    assert await asyncio.to_thread(die_at, world, point) == -signal.SIGKILL
    async with world.opened() as again:
        committed = point is Point.COMMITTED
        assert (await again.order(APPROVED.work_order) is not None) == committed
        assert len(await entries(again)) == count + 2 * committed
        if committed:
            await refused(opening(again), approval, Code.ALREADY_EXISTS, "work order WO-2")
        else:
            await opening(again)(approval)
