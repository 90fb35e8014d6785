"""`signerd.ports.Store`, as its docstrings say: places, certificates, stamps."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from harness.distributions import longer
from harness.store_world import (
    NOW,
    ORDER,
    STATION,
    certificate_of,
    digest,
    grant_of,
    intent,
    issue,
    prepare,
    with_terms,
)
from signerd.adapters.store import SqlStore
from signerd.adapters.store.values import OrderCounts
from signerd.core.names import Reissue
from signerd.core.order import Place
from signerd.errors import Code, Fault, Refused
from signerd.ports import PreparedBytes, Record, RecordState

SAMPLES, ROUNDS = 400, 3
ALIKE = 0.1  # 0.5 is alike; a record that is read and parsed gives more than 0.9


async def refused(awaitable: Any) -> Code:
    with pytest.raises(Refused) as caught:
        await awaitable
    return caught.value.code


async def entries(store: SqlStore) -> list[dict[str, Any]]:
    size = store.published_size
    return [json.loads(entry) for entry in await store.entries(0, size)]


async def counts(store: SqlStore, work_order: str) -> OrderCounts:
    state = await store.order(work_order)
    assert state is not None
    return state.counts


async def stamped(store: SqlStore, record: Record, stamp: bytes = b"stamp") -> Record:
    return await store.record_stamp(record, stamp=stamp, signature=b"signature", station=STATION, now=NOW)


async def ordered(store: SqlStore, name: str, reissue: Reissue, start: int, **terms: Any) -> Any:
    order = with_terms(work_order=name, reissue=reissue, serial_start=start, **terms)
    await store.open_order(order, NOW)
    return order


async def test_a_place_then_a_certificate_then_a_stamp(store: SqlStore) -> None:
    request = intent("chip-1")
    record = await store.take_place(request, prepare)
    assert record.state is RecordState.INTENT
    assert record.place == Place("WO-1", "sensor", "chip-1", 1, "BM-000001", request.certificate_serial, NOW)
    assert (record.tbs, record.settings) == (prepare(record.place).tbs, prepare(record.place).settings)

    issued = await store.complete(record, certificate_of(record), grant_of(request, record), NOW)
    assert (issued.state, issued.issued_at) == (RecordState.ISSUED, NOW)
    assert issued.certificate_der == certificate_of(record)
    assert issued.issued_index is not None
    entry = json.loads((await store.published(issued.issued_index)).entry)
    assert entry["type"] == "issued"
    assert entry["certificate_sha256"] == hashlib.sha256(issued.certificate_der).hexdigest()
    assert entry["csr_sha256"] == hashlib.sha256(request.csr_der).hexdigest()
    assert (entry["number"], entry["serial_number"], entry["supersedes"]) == (1, "BM-000001", None)

    final = await stamped(store, issued)
    assert (final.state, final.stamp, final.stamped_at) == (RecordState.STAMPED, b"stamp", NOW)
    assert final.stamped_index is not None
    entry = json.loads((await store.published(final.stamped_index)).entry)
    assert (entry["type"], entry["stamp_sha256"]) == ("stamped", hashlib.sha256(b"stamp").hexdigest())
    assert await store.record_by_serial("BM-000001") == final


async def test_the_same_chip_and_key_get_the_same_record(store: SqlStore) -> None:
    request = intent("chip-1")
    first = await store.take_place(request, prepare)
    assert await store.take_place(replace(request, certificate_serial=99), prepare) == first
    issued = await issue(store, request)
    again = replace(request, session_sha256=digest("a second session"))
    assert await issue(store, again) == issued
    assert (await counts(store, "WO-1")).places == 1


async def test_an_intent_is_resumed_after_the_order_closed(store: SqlStore) -> None:
    request = intent("chip-1")
    first = await store.take_place(request, prepare)
    await store.close_order("WO-1", NOW)
    assert await store.take_place(request, prepare) == first
    assert await refused(store.take_place(intent("chip-2"), prepare)) is Code.ORDER_NOT_OPEN


async def test_a_full_order_takes_no_other_chip(store: SqlStore) -> None:
    order = await ordered(store, "WO-2", Reissue.NEVER, 100, quantity=2)
    for chip in ("a", "b"):
        await issue(store, intent(chip, order=order))
    assert await refused(store.take_place(intent("c", order=order), prepare)) is Code.ORDER_FULL
    assert (await issue(store, intent("a", order=order))).place.number == 1


@pytest.mark.parametrize("offset", [timedelta(days=-2), timedelta(days=2)])
async def test_outside_the_window_there_is_no_place(store: SqlStore, offset: timedelta) -> None:
    late = replace(intent("chip-1"), moment=NOW + offset)
    assert await refused(store.take_place(late, prepare)) is Code.ORDER_NOT_OPEN
    assert (await store.take_place(intent("chip-1"), prepare)).place.number == 1


async def test_a_refused_place_leaves_no_gap(store: SqlStore) -> None:
    def broken(_place: Place) -> PreparedBytes:
        raise Fault("the profile gives no certificate")

    with pytest.raises(Fault, match="profile"):
        await store.take_place(intent("chip-1"), broken)
    record = await store.take_place(intent("chip-2"), prepare)
    assert (record.place.number, record.place.serial_number) == (1, "BM-000001")


async def test_a_key_belongs_to_one_chip(store: SqlStore) -> None:
    await store.take_place(intent("chip-1", "key"), prepare)
    assert await refused(store.take_place(intent("chip-2", "key"), prepare)) is Code.KEY_ALREADY_CERTIFIED
    assert (await counts(store, "WO-1")).places == 1


async def test_no_second_key_without_reissue(store: SqlStore) -> None:
    await store.take_place(intent("chip-1", "key-1"), prepare)
    second = intent("chip-1", "key-2")
    assert await refused(store.take_place(second, prepare)) is Code.CHIP_ALREADY_CERTIFIED


async def test_before_the_stamp_a_second_key_supersedes_the_first(store: SqlStore) -> None:
    order = await ordered(store, "WO-2", Reissue.BEFORE_STAMP, 100)
    first = await issue(store, intent("chip", "key-1", order=order))
    second = await issue(store, intent("chip", "key-2", order=order))
    assert (second.place.number, second.place.serial_number) == (1, "BM-000100")
    assert (await counts(store, "WO-2")).places == 1

    assert second.issued_index is not None
    await store.published(second.issued_index)
    revoked, issued = (await entries(store))[-2:]
    assert (revoked["type"], revoked["reason"]) == ("revoked", "superseded")
    assert revoked["superseded_by"] == digest("key-2").hex()
    assert issued["supersedes"] == revoked["certificate_sha256"]
    assert revoked["certificate_sha256"] == hashlib.sha256(first.certificate_der).hexdigest()

    old = await store.record_by_certificate(hashlib.sha256(first.certificate_der).digest())
    assert old is not None
    assert (old.state, old.superseded, old.revoked_at) == (RecordState.REVOKED, True, NOW)
    assert old.revoked_index == second.issued_index - 1
    first_again = intent("chip", "key-1", order=order, session="another")
    assert await refused(store.take_place(first_again, prepare)) is Code.KEY_ALREADY_CERTIFIED
    assert await refused(stamped(store, first)) is Code.CERTIFICATE_REVOKED

    await stamped(store, second)
    third = intent("chip", "key-3", order=order)
    assert await refused(store.take_place(third, prepare)) is Code.CHIP_ALREADY_CERTIFIED


async def test_always_means_also_after_the_stamp_and_the_revocation(store: SqlStore) -> None:
    order = await ordered(store, "WO-2", Reissue.ALWAYS, 100)
    await stamped(store, await issue(store, intent("chip", "key-1", order=order)))
    await issue(store, intent("chip", "key-2", order=order))
    await store.revoke(serial_number="BM-000100", reason="keyCompromise", now=NOW)
    third = await issue(store, intent("chip", "key-3", order=order))
    assert third.issued_index is not None
    await store.published(third.issued_index)
    types = [entry["type"] for entry in await entries(store)][-4:]
    assert types == ["revoked", "issued", "revoked", "issued"]
    last = (await entries(store))[-1]
    assert last["supersedes"] is None  # what it follows was revoked before, by an administrator


async def test_an_abandoned_superseding_intent_keeps_the_chain(store: SqlStore) -> None:
    order = await ordered(store, "WO-2", Reissue.ALWAYS, 100)
    first = await issue(store, intent("chip", "key-1", order=order))
    abandoned_request = intent("chip", "key-2", order=order)
    abandoned = await store.take_place(abandoned_request, prepare)
    await issue(store, intent("chip", "key-3", order=order))
    old = await store.record_by_certificate(hashlib.sha256(first.certificate_der).digest())
    assert old is not None
    assert old.state is RecordState.REVOKED
    late = store.complete(abandoned, b"late", grant_of(abandoned_request, abandoned), NOW)
    assert await refused(late) is Code.CHIP_ALREADY_CERTIFIED
    assert (await counts(store, "WO-2")).open_intents == 0


async def test_in_another_order_a_chip_takes_a_place_and_keeps_its_serial(store: SqlStore) -> None:
    other = await ordered(store, "WO-2", Reissue.ALWAYS, 100)
    await issue(store, intent("chip", "key-1"))
    again = await issue(store, intent("chip", "key-2", order=other))
    assert (again.place.work_order, again.place.number) == ("WO-2", 1)
    assert again.place.serial_number == "BM-000001"
    fresh = await issue(store, intent("another", order=other))
    assert (fresh.place.number, fresh.place.serial_number) == (2, "BM-000101")


async def test_a_revoked_certificate_is_not_given_again(store: SqlStore) -> None:
    await issue(store, intent("chip-1"))
    await store.revoke(serial_number="BM-000001", reason="keyCompromise", now=NOW)
    assert await refused(store.take_place(intent("chip-1"), prepare)) is Code.CERTIFICATE_REVOKED


async def test_a_session_hands_out_one_certificate_for_one_csr(store: SqlStore) -> None:
    request = intent("chip-1", session="session")
    record = await issue(store, request)
    assert await store.complete(record, b"other", grant_of(request, record), NOW) == record
    other_csr = replace(grant_of(request, record), csr_sha256=digest("another"))
    assert await refused(store.complete(record, b"other", other_csr, NOW)) is Code.SESSION_USED
    other_chip = intent("chip-2", session="session")
    assert await refused(issue(store, other_chip)) is Code.SESSION_USED
    left = await store.record_by_serial("BM-000002")
    assert left is not None
    assert left.state is RecordState.INTENT


async def test_a_stamp_is_recorded_once(store: SqlStore) -> None:
    record = await issue(store, intent("chip-1"))
    final = await stamped(store, record)
    again = await store.record_stamp(record, stamp=b"stamp", signature=b"new", station=STATION, now=NOW)
    assert again == final
    assert await refused(stamped(store, record, b"another")) is Code.STAMP_CONFLICT
    await store.revoke(serial_number="BM-000001", reason="keyCompromise", now=NOW)
    assert await refused(stamped(store, record)) is Code.CERTIFICATE_REVOKED


async def test_an_intent_cannot_be_stamped(store: SqlStore) -> None:
    record = await store.take_place(intent("chip-1"), prepare)
    with pytest.raises(Fault, match="no certificate"):
        await stamped(store, record)


async def test_the_context_of_a_call(store: SqlStore) -> None:
    await store.import_chips("WO-1", ["chip-1"], NOW)
    await store.personalize_chips(["chip-1"], locked=True, site="fab", key="hmac-sha256", by="ann", now=NOW)
    request = intent("chip-1")
    asked = {"peer_uri": STATION, "work_order": "WO-1", "chip_id": "chip-1"}
    before = await store.call_context(**asked, session_sha256=request.session_sha256)
    assert before.peer is not None
    assert (before.peer.name.uri, before.order, before.order_closed) == (STATION, ORDER, False)
    assert (before.product_toml, before.places_taken) == ('name = "sensor"\n', 0)
    assert before.chip is not None
    assert (before.chip.personalized, before.chip.locked, before.chip.listed) == (True, True, True)
    assert (before.has_place, before.grant, before.granted) == (False, None, None)

    record = await issue(store, request)
    after = await store.call_context(**asked, session_sha256=request.session_sha256)
    assert (after.has_place, after.revoked_here) == (True, False)
    assert (after.granted, after.places_taken) == (record, 1)
    assert after.grant == grant_of(request, record)


async def test_the_context_of_a_call_about_nothing(store: SqlStore) -> None:
    context = await store.call_context(peer_uri="x", work_order="x", chip_id="x", session_sha256=None)
    assert (context.peer, context.order, context.chip) == (None, None, None)
    assert (context.has_place, context.revoked_here) == (False, False)
    assert (context.product_toml, context.places_taken, context.grant) == (None, 0, None)


async def test_the_context_says_what_became_of_the_chip_in_this_order_alone(store: SqlStore) -> None:
    here = await ordered(store, "WO-2", Reissue.NEVER, 100)
    record = await issue(store, intent("chip", order=here))

    async def of(work_order: str) -> tuple[bool, bool]:
        context = await store.call_context(
            peer_uri=STATION, work_order=work_order, chip_id="chip", session_sha256=None
        )
        return context.has_place, context.revoked_here

    assert (await of("WO-2"), await of("WO-1")) == ((True, False), (False, False))
    await store.revoke(
        certificate_sha256=hashlib.sha256(record.certificate_der).digest(), reason="keyCompromise", now=NOW
    )
    assert (await of("WO-2"), await of("WO-1")) == ((True, True), (False, False))


async def test_the_context_takes_as_long_for_a_chip_that_another_order_certified(store: SqlStore) -> None:
    """As distributions: how often a call about the one takes longer than a call about the other."""
    elsewhere = await ordered(store, "WO-2", Reissue.NEVER, 100)
    await store.import_chips("WO-1", ["fresh", "known"], NOW)
    await issue(store, intent("known", order=elsewhere))
    found = []
    for _ in range(ROUNDS):
        taken: dict[str, list[int]] = {"fresh": [], "known": []}
        for _ in range(SAMPLES):
            for chip_id, times in taken.items():
                begin = time.perf_counter_ns()
                await store.call_context(
                    peer_uri=STATION, work_order="WO-1", chip_id=chip_id, session_sha256=None
                )
                times.append(time.perf_counter_ns() - begin)
        found.append(longer(taken["known"], taken["fresh"]))
        if abs(found[-1] - 0.5) < ALIKE:
            return
    pytest.fail(f"a chip that another order certified takes longer in {found} of the cases")


async def test_a_grant_outlives_its_records_place(store: SqlStore) -> None:
    order = await ordered(store, "WO-2", Reissue.ALWAYS, 100)
    request = intent("chip", "key-1", order=order)
    await issue(store, request)
    await issue(store, intent("chip", "key-2", order=order))
    context = await store.call_context(
        peer_uri=STATION, work_order="WO-2", chip_id="chip", session_sha256=request.session_sha256
    )
    assert context.has_place
    assert not context.revoked_here
    assert context.granted is not None
    assert (context.granted.state, context.granted.superseded) == (RecordState.REVOKED, True)


class TestRaces:
    """Many at once: exactly one wins, and the constraints say so."""

    async def test_the_last_places(self, store: SqlStore) -> None:
        requests = [intent(f"chip-{number}") for number in range(40)]
        outcomes = await asyncio.gather(
            *(issue(store, request) for request in requests), return_exceptions=True
        )
        won = [outcome for outcome in outcomes if isinstance(outcome, Record)]
        lost = [outcome.code for outcome in outcomes if isinstance(outcome, Refused)]
        assert sorted(record.place.number for record in won) == list(range(1, 11))
        assert lost == [Code.ORDER_FULL] * 30

    async def test_one_chip_with_many_keys(self, store: SqlStore) -> None:
        requests = [intent("chip", f"key-{number}") for number in range(20)]
        outcomes = await asyncio.gather(
            *(issue(store, request) for request in requests), return_exceptions=True
        )
        assert sum(isinstance(outcome, Record) for outcome in outcomes) == 1
        lost = [outcome.code for outcome in outcomes if isinstance(outcome, Refused)]
        assert lost == [Code.CHIP_ALREADY_CERTIFIED] * 19

    async def test_one_key_on_many_chips(self, store: SqlStore) -> None:
        requests = [intent(f"chip-{number}", "key") for number in range(20)]
        outcomes = await asyncio.gather(
            *(issue(store, request) for request in requests), return_exceptions=True
        )
        assert sum(isinstance(outcome, Record) for outcome in outcomes) == 1
        lost = [outcome.code for outcome in outcomes if isinstance(outcome, Refused)]
        assert lost == [Code.KEY_ALREADY_CERTIFIED] * 19

    async def test_one_chip_and_key_many_times(self, store: SqlStore) -> None:
        request = intent("chip")
        sessions = [replace(request, session_sha256=digest(f"session {number}")) for number in range(20)]
        records = await asyncio.gather(*(issue(store, asked) for asked in sessions))
        assert all(record == records[0] for record in records)
        issued = [entry for entry in await entries(store) if entry["type"] == "issued"]
        assert len(issued) <= 1
        assert records[0].issued_index is not None
        await store.published(records[0].issued_index)
        assert [entry["type"] for entry in await entries(store)].count("issued") == 1

    async def test_two_stamps(self, store: SqlStore) -> None:
        record = await issue(store, intent("chip"))
        outcomes = await asyncio.gather(
            *(stamped(store, record, b"stamp %d" % number) for number in range(10)), return_exceptions=True
        )
        assert sum(isinstance(outcome, Record) for outcome in outcomes) == 1
        lost = [outcome.code for outcome in outcomes if isinstance(outcome, Refused)]
        assert lost == [Code.STAMP_CONFLICT] * 9


async def test_work_goes_on_when_its_caller_goes_away(store: SqlStore) -> None:
    task = asyncio.create_task(store.take_place(intent("chip-1"), prepare))
    await asyncio.sleep(0)  # the unit of work is handed over
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    record = await store.take_place(intent("chip-1"), prepare)
    assert record.place.number == 1
    assert (await counts(store, "WO-1")).places == 1
