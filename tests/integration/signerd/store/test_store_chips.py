"""A chip is its anchors: one board, under whatever names, by whatever methods, on whatever orders."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
import pytest_asyncio
from sqlalchemy import insert, select
from sqlalchemy.exc import IntegrityError

from harness.store_world import NOW, STATION, World, grant_of, intent, issue, prepare, with_terms
from signerd.adapters.store import SqlStore
from signerd.adapters.store.boards.certified_chips import _finding, shown
from signerd.adapters.store.tables.constraints import translated
from signerd.adapters.store.tables.database import make_engine
from signerd.adapters.store.tables.schema import anchors, certified_chips
from signerd.adapters.store.writer import Transaction
from signerd.core.anchors import Anchor, AnchorKind
from signerd.core.names import Reissue
from signerd.errors import Code, Refused
from signerd.ports import IntentRequest, Record

CA = b"SubjectPublicKeyInfo of the vendor's CA"
DEVICE_ID = Anchor.of_key(b"DeviceID of one chip")
UEID = Anchor.stated(AnchorKind.UEID, "01" + 32 * "ab", CA)
SERIAL = Anchor.stated(AnchorKind.SERIAL, "SN-1", CA)
AGAIN = with_terms(work_order="WO-2", reissue=Reissue.ALWAYS, serial_pattern="A-{number}", quantity=3)


@pytest_asyncio.fixture
async def lively(store: SqlStore) -> AsyncIterator[SqlStore]:
    """With an order that issues again."""
    await store.open_order(AGAIN, NOW)
    yield store


def shows(
    name: str,
    *proved: Anchor,
    key: str | None = None,
    label: bool = False,
    method: str = "x509",
    **terms: Any,
) -> IntentRequest:
    """A request of a board of this name whose evidence proves these anchors."""
    request = intent(name, key, **terms)
    return replace(request, attester=b"", method=method, anchors=proved, name_is_label=label)


async def refusal(store: SqlStore, request: IntentRequest) -> Refused:
    with pytest.raises(Refused) as caught:
        await store.take_place(request, prepare)
    return caught.value


async def places(store: SqlStore, work_order: str) -> int:
    state = await store.order(work_order)
    assert state is not None
    return state.counts.places


def kept(world: World) -> dict[tuple[str, str], str]:
    """Kind and value -> the first name of the chip whose they are."""
    asked = select(anchors.c.kind, anchors.c.value, certified_chips.c.chip_id).join(certified_chips)
    with make_engine(world.url, "read").connect() as connection:
        return {(row.kind, row.value): row.chip_id for row in connection.execute(asked)}


@pytest.mark.parametrize("label", [True, False], ids=["labels", "names"])
async def test_under_any_number_of_names_it_has_one_place(lively: SqlStore, label: bool) -> None:
    for number in range(6):
        request = shows(f"build-{number}", DEVICE_ID, key=f"key {number}", label=label, order=AGAIN)
        record = await issue(lively, request)
        assert (record.place.number, record.place.serial_number) == (1, "A-1")
        assert (record.place.chip_id, record.anchors) == (f"build-{number}", (DEVICE_ID,))
    assert await places(lively, "WO-2") == 1
    page = await lively.revoked_certificates()
    assert len(page) == 5  # the newest alone counts


async def test_and_where_nothing_is_issued_again_one_certificate(store: SqlStore) -> None:
    await issue(store, shows("build-0", DEVICE_ID, label=True))
    for number in range(1, 4):
        refused = await refusal(store, shows(f"build-{number}", DEVICE_ID, label=True))
        assert refused.code is Code.CHIP_ALREADY_CERTIFIED
    assert await places(store, "WO-1") == 1


async def test_of_another_order_too(lively: SqlStore) -> None:
    first = await issue(lively, shows("build-0", DEVICE_ID, UEID, label=True))
    second = await issue(lively, shows("build-1", UEID, key="2", label=True, method="tpm2", order=AGAIN))
    assert second.place.serial_number == first.place.serial_number
    assert second.place.number == 1
    assert len(await lively.revoked_certificates()) == 1


async def test_what_one_shows_later_is_its_own_from_then_on(world: World, lively: SqlStore) -> None:
    """The serial links two methods, and the second one's key is the chip's too."""
    ak = Anchor.of_key(b"AK of the TPM beside")
    await issue(lively, shows("chip-1", SERIAL, DEVICE_ID, order=AGAIN))
    await issue(lively, shows("chip-1", SERIAL, ak, key="2", method="tpm2", order=AGAIN))
    by_ak = await issue(lively, shows("other name", ak, key="3", label=True, method="tpm2", order=AGAIN))
    assert by_ak.place.number == 1
    assert set(kept(world).values()) == {"chip-1"}
    assert ("name", "other name") not in kept(world)


async def test_evidence_of_two_chips_is_refused_and_changes_nothing(world: World, lively: SqlStore) -> None:
    await issue(lively, shows("chip-1", DEVICE_ID, order=AGAIN))
    await issue(lively, shows("chip-2", UEID, order=AGAIN))
    before = kept(world)
    third = Anchor.of_key(b"a key that nobody showed yet")
    for request in (
        shows("chip-3", DEVICE_ID, UEID, third, order=AGAIN),
        shows("chip-1", UEID, third, order=AGAIN, key="5"),  # the name of one, the anchor of the other
        shows("chip-2", DEVICE_ID, order=AGAIN, key="6"),
    ):
        refused = await refusal(lively, request)
        assert refused.code is Code.CHIP_ALREADY_CERTIFIED
        assert "two chips that are known: chip-1, board A-1, and chip-2, board A-2" in refused.detail
    assert kept(world) == before
    assert await places(lively, "WO-2") == 2


async def test_a_label_is_nobodys(world: World, lively: SqlStore) -> None:
    """Two chips may have one label, and none has the name that another chip was given."""
    one, two = (Anchor.of_key(f"DeviceID {n}".encode()) for n in (1, 2))
    first = await issue(lively, shows("release 7", one, label=True, order=AGAIN))
    second = await issue(lively, shows("release 7", two, key="2", label=True, order=AGAIN))
    assert (first.place.number, second.place.number) == (1, 2)
    named = await issue(lively, shows("release 7", Anchor.personalized("release 7"), key="3", order=AGAIN))
    assert named.place.number == 3
    assert kept(world)[("name", "release 7")] == "release 7"


@pytest.mark.parametrize("shared", [(SERIAL,), ()], ids=["serial", "name"])
async def test_two_certified_keys_under_one_serial_are_refused(
    lively: SqlStore, shared: tuple[Anchor, ...]
) -> None:
    """As of a vendor that writes one name for all its chips: the second would take the first one's place."""
    one, two = (Anchor.of_key(f"key {n} of the vendor's".encode()) for n in (1, 2))
    first = await issue(lively, shows("IoT-Node", one, *shared, order=AGAIN))
    refused = await refusal(lively, shows("IoT-Node", two, *shared, key="2", order=AGAIN))
    assert refused.code is Code.CHIP_ALREADY_CERTIFIED
    assert "another certified key" in refused.detail
    again = await issue(lively, shows("IoT-Node", one, *shared, key="3", order=AGAIN))
    assert again.place.number == first.place.number


async def test_a_lost_answer_under_another_name(store: SqlStore) -> None:
    """The same key: the certificate of before, with the name of before, in this session as well."""
    first = await issue(store, shows("build-1", DEVICE_ID, key="its key", label=True))
    request = shows("build-2", DEVICE_ID, key="its key", label=True, session="another")
    again = await store.take_place(request, prepare)
    assert again == first
    done = await store.complete(again, again.certificate_der, grant_of(request, again), NOW)
    assert (done.certificate_der, done.place.chip_id) == (first.certificate_der, "build-1")
    context = await store.call_context(
        peer_uri=STATION, work_order="WO-1", chip_id="build-2", session_sha256=request.session_sha256
    )
    assert context.granted == first


async def test_an_intent_is_resumed_under_another_name(store: SqlStore) -> None:
    left = await store.take_place(shows("build-1", DEVICE_ID, key="its key", label=True), prepare)
    assert await store.take_place(shows("build-2", DEVICE_ID, key="its key", label=True), prepare) == left
    assert await places(store, "WO-1") == 1


async def test_an_intent_of_the_future_begins_again_under_the_name_that_came(store: SqlStore) -> None:
    ahead = shows("build-1", DEVICE_ID, key="its key", label=True)
    await store.take_place(replace(ahead, moment=NOW + timedelta(hours=2)), prepare)
    request = shows("build-2", DEVICE_ID, UEID, key="its key", label=True)
    again = await store.take_place(replace(request, certificate_serial=77), prepare)
    assert (again.place.chip_id, again.place.number, again.anchors) == ("build-2", 1, (DEVICE_ID, UEID))
    assert await places(store, "WO-1") == 1


async def test_a_revoked_chip_stays_revoked_under_another_name(lively: SqlStore) -> None:
    record = await issue(lively, shows("build-1", DEVICE_ID, key="its key", label=True))
    await lively.revoke(serial_number=record.place.serial_number, reason="keyCompromise", now=NOW)
    same_key = shows("build-2", DEVICE_ID, key="its key", label=True)
    assert (await refusal(lively, same_key)).code is Code.CERTIFICATE_REVOKED
    new_key = shows("build-2", DEVICE_ID, key="new key", label=True)
    assert (await refusal(lively, new_key)).code is Code.CHIP_ALREADY_CERTIFIED
    # Certified anew where the order allows it, as the same board.
    anew = await issue(lively, replace(new_key, order=AGAIN))
    assert anew.place.serial_number == record.place.serial_number


async def test_records_of_a_chip_are_bounded_over_its_names(lively: SqlStore) -> None:
    for number in range(16):
        await issue(lively, shows(f"build-{number}", DEVICE_ID, key=f"{number}", label=True, order=AGAIN))
    refused = await refusal(lively, shows("build-16", DEVICE_ID, label=True, order=AGAIN))
    assert (refused.code, refused.detail) == (
        Code.CHIP_ALREADY_CERTIFIED,
        "the chip has had 16 records, and may have no more",
    )


async def test_of_names_that_race_for_an_anchor_one_wins(world: World, store: SqlStore) -> None:
    requests = [shows(f"build-{number}", DEVICE_ID, label=True) for number in range(20)]
    outcomes = await asyncio.gather(*(issue(store, each) for each in requests), return_exceptions=True)
    (won,) = [outcome for outcome in outcomes if isinstance(outcome, Record)]
    assert [each.code for each in outcomes if isinstance(each, Refused)] == [Code.CHIP_ALREADY_CERTIFIED] * 19
    assert kept(world) == {("key", DEVICE_ID.value): won.place.chip_id}
    assert await places(store, "WO-1") == 1


async def test_a_second_writer_ends_at_the_primary_key(world: World, store: SqlStore) -> None:
    await issue(store, shows("chip-1", UEID))
    row = {"kind": "ueid", "issuer": UEID.issuer, "value": UEID.value, "chip": 1}
    with make_engine(world.url, "write").connect() as connection:
        connection.execute(insert(anchors), row | {"issuer": "another vendor's"})
        with pytest.raises(IntegrityError) as broken:
            connection.execute(insert(anchors), row)
    meaning = translated(broken.value)
    assert isinstance(meaning, Refused)
    assert meaning.code is Code.CHIP_ALREADY_CERTIFIED


async def test_lists_name_chips_in_several_ways(store: SqlStore) -> None:
    line = f"key={DEVICE_ID.value}"
    request = replace(shows("build-1", DEVICE_ID, label=True), listed_as=("build-1", line))
    assert (await refusal(store, request)).code is Code.CHIP_UNKNOWN
    await store.open_order(AGAIN, NOW)
    await store.import_chips("WO-2", [line], NOW)  # another order's list is not this one's
    assert (await refusal(store, request)).code is Code.CHIP_UNKNOWN
    assert await places(store, "WO-1") == 0
    await store.import_chips("WO-1", [line], NOW)
    assert (await issue(store, request)).place.number == 1


async def test_a_board_takes_six_statements_up_to_its_intent(store: SqlStore) -> None:
    seen: list[str] = []

    def note(statement: str) -> None:
        if not statement.startswith(("PRAGMA", "BEGIN", "COMMIT", "SAVEPOINT", "RELEASE", "--")):
            seen.append(statement.split(maxsplit=1)[0])

    def trace(tx: Transaction) -> None:
        driver: Any = tx.connection.connection
        driver.set_trace_callback(note)

    await store._writer.do(trace)
    await store.take_place(shows("chip-1", DEVICE_ID, UEID, SERIAL), prepare)
    assert seen == ["SELECT", "UPDATE", "INSERT", "INSERT", "INSERT", "INSERT"]


async def test_the_look_for_a_chip_is_served_by_the_primary_key(world: World, store: SqlStore) -> None:
    await store.close()
    engine = make_engine(world.url, "read")
    rows = shown(shows("chip-1", DEVICE_ID, UEID))
    statement = _finding(len(rows))._statement.compile(dialect=engine.dialect)
    with engine.connect() as connection:
        plan = str(connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", tuple("x" * 9)).all())
    assert "SEARCH anchors USING PRIMARY KEY" in plan
    assert "SCAN anchors" not in plan
    assert "one_active_record_a_chip" in plan
