"""Administration and audit over the real database."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from harness.store_world import (
    NOW,
    ORDER,
    PRODUCT_TOML,
    STATION,
    World,
    digest,
    grant_of,
    intent,
    issue,
    prepare,
    stock,
    with_terms,
)
from signerd.adapters.store import RenewalRequest, SqlStore
from signerd.adapters.store.admin import MAX_CHIPS
from signerd.adapters.store.values import OrderCounts, RecordFilter, RevokedCertificate
from signerd.core.entry import digest_chips
from signerd.core.merkle import Tree, leaf_hash
from signerd.core.names import Role, parse_peer_uri
from signerd.errors import Code, Refused
from signerd.ports import PeerRecord, RecordState

AUDITOR = parse_peer_uri("birthmark://test/auditor/customer")


async def refused(awaitable: Any) -> Code:
    with pytest.raises(Refused) as caught:
        await awaitable
    return caught.value.code


async def told(awaitable: Any) -> str:
    """What an administrator is told of a refusal."""
    with pytest.raises(Refused) as caught:
        await awaitable
    return str(caught.value)


async def entry(store: SqlStore, index: int) -> dict[str, Any]:
    value = json.loads((await store.published(index)).entry)
    assert isinstance(value, dict)
    assert len(bytes.fromhex(value.pop("id"))) == 16
    return value


async def peer_of(store: SqlStore, uri: str) -> PeerRecord | None:
    """The peer of this URI as a station's call sees it."""
    context = await store.call_context(peer_uri=uri, work_order="", chip_id="", session_sha256=None)
    return context.peer


async def test_a_renewal_keeps_the_key_or_puts_another_beside_it(store: SqlStore) -> None:
    ends = [NOW + timedelta(days=days) for days in (30, 825, 1650)]
    await store.add_peer(AUDITOR, digest("first"), NOW, not_after=ends[0])
    same, index = await store.renew_peer(AUDITOR, digest("first"), NOW, not_after=ends[1], by="ann")
    assert await store.peer_of_key(digest("first")) == same
    assert same.not_after == ends[1]
    assert await entry(store, index) == {
        "v": 3,
        "type": "auditor_renewed",
        "time": "2026-11-15T12:00:00Z",
        "peer": AUDITOR.uri,
        "spki_sha256": digest("first").hex(),
        "not_after": f"{ends[1]:%Y-%m-%dT%H:%M:%SZ}",
        "by": "ann",
    }
    other, _ = await store.renew_peer(AUDITOR, digest("other"), NOW, not_after=ends[2])
    assert await store.peer_of_key(digest("other")) == other == await peer_of(store, AUDITOR.uri)
    assert await store.peer_of_key(digest("first")) == same  # until its own end
    assert await refused(store.add_peer(AUDITOR, digest("third"), NOW)) is Code.ALREADY_EXISTS
    # A key of before does not come back as the newer one.
    back = store.renew_peer(AUDITOR, digest("first"), NOW, not_after=ends[2])
    assert await refused(back) is Code.ALREADY_EXISTS

    await store.revoke_peer(AUDITOR.uri, NOW)
    for key in ("first", "other"):
        known = await store.peer_of_key(digest(key))
        assert known is not None
        assert known.revoked_at == NOW
    gone = store.renew_peer(AUDITOR, digest("other"), NOW, not_after=ends[2])
    assert await refused(gone) is Code.NOT_FOUND


async def test_peers_come_and_go(store: SqlStore) -> None:
    peer, index = await store.add_peer(AUDITOR, digest("auditor"), NOW, by="ann")
    assert await peer_of(store, AUDITOR.uri) == await store.peer_of_key(digest("auditor")) == peer
    assert await entry(store, index) == {
        "v": 3,
        "type": "auditor_added",
        "time": "2026-11-15T12:00:00Z",
        "peer": AUDITOR.uri,
        "spki_sha256": digest("auditor").hex(),
        "by": "ann",
    }
    assert [known.name.role for known in await store.list_peers()] == [Role.STATION, Role.AUDITOR]
    assert await store.list_peers(Role.AUDITOR) == [peer]

    gone, index = await store.revoke_peer(AUDITOR.uri, NOW)
    assert (await peer_of(store, AUDITOR.uri), gone.revoked_at) == (gone, NOW)
    assert (await entry(store, index))["type"] == "auditor_revoked"
    assert await refused(store.revoke_peer(AUDITOR.uri, NOW)) is Code.NOT_FOUND


async def test_a_name_has_one_valid_key_and_a_key_is_never_reused(store: SqlStore) -> None:
    station = parse_peer_uri(STATION)
    assert await refused(store.add_peer(station, digest("new"), NOW)) is Code.ALREADY_EXISTS
    await store.revoke_peer(STATION, NOW)
    assert await refused(store.add_peer(station, digest("station"), NOW)) is Code.ALREADY_EXISTS
    peer, _ = await store.add_peer(station, digest("new"), NOW)
    assert await peer_of(store, STATION) == peer
    assert await peer_of(store, "birthmark://test/station/plant1/pc2") is None


async def test_an_administrator_is_told_which_peer_exists(store: SqlStore) -> None:
    station = parse_peer_uri(STATION)
    other = parse_peer_uri("birthmark://test/station/plant1/pc9")
    same = await told(store.add_peer(station, digest("station"), NOW))
    assert same == (
        f"already_exists: this key is registered as {STATION}, since 2026-11-15. If its certificate is"
        " lost or ends: `signerd station renew`"
    )
    said = await told(store.add_peer(other, digest("station"), NOW))
    assert f"registered as {STATION}, since 2026-11-15: make another key" in said
    said = await told(store.add_peer(station, digest("new"), NOW))
    assert f"{STATION} is registered with another key, since 2026-11-15" in said
    assert f"`signerd station revoke {STATION}` first" in said
    await store.revoke_peer(STATION, NOW)
    said = await told(store.add_peer(station, digest("station"), NOW))
    assert f"this key was {STATION}'s, revoked on 2026-11-15, and does not come back: make a new key" in said


async def test_an_administrator_is_told_which_peer_is_missing(store: SqlStore) -> None:
    await store.revoke_peer(STATION, NOW)
    said = await told(store.revoke_peer(STATION, NOW))
    assert said == f"not_found: {STATION} is revoked already, since 2026-11-15"
    said = await told(store.revoke_peer(AUDITOR.uri, NOW))
    assert said == f"not_found: no auditor '{AUDITOR.uri}' is registered: `signerd auditor list`"
    assert "no station 'pc1' is registered: `signerd station list`" in await told(
        store.revoke_peer("pc1", NOW)
    )


async def test_an_administrator_is_told_which_revision_exists(store: SqlStore) -> None:
    said = await told(store.add_product("sensor", PRODUCT_TOML, NOW))
    assert said.startswith(
        "already_exists: this file is a revision of product sensor, added on 2026-11-15, and"
    )
    assert said.endswith("and is the newest: there is nothing to do")
    await store.add_product("sensor", PRODUCT_TOML + "# revised\n", NOW)
    said = await told(store.add_product("sensor", PRODUCT_TOML, NOW))
    assert (
        "a newer one is in force: `signerd product show sensor`\nto go back to this one, change any" in said
    )


async def test_products_have_revisions(store: SqlStore) -> None:
    revised = PRODUCT_TOML + "# revised\n"
    index = await store.add_product("sensor", revised, NOW)
    assert (await entry(store, index))["product_sha256"] == hashlib.sha256(revised.encode()).hexdigest()
    assert [known.toml for known in await store.list_products()] == [revised]
    current = await store.product("sensor")
    assert current is not None
    assert current.toml == revised
    assert await store.product("other") is None
    assert await refused(store.add_product("sensor", PRODUCT_TOML, NOW)) is Code.ALREADY_EXISTS
    context = await store.call_context(peer_uri="", work_order="WO-1", chip_id="", session_sha256=None)
    assert context.product_toml == PRODUCT_TOML  # the order keeps the revision it was opened with


async def test_an_order_opens_and_closes(store: SqlStore) -> None:
    state = await store.order("WO-1")
    assert state is not None
    assert (state.order, state.closed, state.counts) == (ORDER, False, OrderCounts(0, 0, 0, 0, 0))
    opened = await entry(store, state.opened_index)
    assert (opened["quantity"], opened["serial_pattern"]) == (10, "BM-{number:06d}")
    index = await store.close_order("WO-1", NOW)
    assert (await entry(store, index))["type"] == "order_closed"
    (state,) = await store.list_orders()
    assert state.closed
    assert await refused(store.close_order("WO-1", NOW)) is Code.INVALID
    assert await refused(store.close_order("WO-2", NOW)) is Code.NOT_FOUND
    assert await store.order("WO-2") is None


async def test_an_administrator_is_told_which_order_exists_or_is_missing(store: SqlStore) -> None:
    index = (await store.list_orders())[0].opened_index
    for state in ("open", "closed"):
        said = await told(store.open_order(with_terms(work_order="WO-1", serial_start=11), NOW))
        assert said.startswith(
            f"already_exists: work order WO-1 exists, and is {state} (ledger entry {index}):"
        )
        assert "`signerd order show WO-1`" in said
        if state == "open":
            await store.close_order("WO-1", NOW)
    missing = "not_found: no work order 'WO-2': `signerd order list` lists them"
    assert await told(store.close_order("WO-2", NOW)) == missing
    assert await told(store.import_chips("WO-2", ["a"], NOW)) == missing


@pytest.mark.parametrize(
    ("terms", "code"),
    [
        ({"work_order": "WO-1"}, Code.ALREADY_EXISTS),
        ({"product_sha256": digest("unknown revision")}, Code.INVALID),
        ({"product": "other"}, Code.INVALID),
        ({"stations": ("birthmark://test/station/plant1/unknown",)}, Code.INVALID),
        ({"serial_start": 10}, Code.INVALID),
        ({"serial_start": 1, "serial_pattern": "BM-0{number:05d}"}, Code.INVALID),
        ({"serial_pattern": "BM"}, Code.INVALID),
        ({"quantity": 2**64}, Code.INVALID),
    ],
)
async def test_terms_that_open_no_order(store: SqlStore, terms: dict[str, Any], code: Code) -> None:
    good: dict[str, Any] = {"work_order": "WO-2", "serial_start": 11}
    assert await refused(store.open_order(with_terms(**(good | terms)), NOW)) is code
    assert await store.open_order(with_terms(**good), NOW)


async def test_a_revoked_station_opens_no_order(store: SqlStore) -> None:
    await store.revoke_peer(STATION, NOW)
    order = with_terms(work_order="WO-2", serial_start=11)
    assert await refused(store.open_order(order, NOW)) is Code.INVALID


async def test_chips_are_counted_once(store: SqlStore) -> None:
    assert await store.import_chips("WO-1", ["b", "a", "b"], NOW) == (2, 4)
    added, index = await store.import_chips("WO-1", ["c", "a"], NOW)
    assert added == 1
    assert (await entry(store, index))["chips_sha256"] == digest_chips(["c"]).hex()
    assert await refused(store.import_chips("WO-2", ["a"], NOW)) is Code.NOT_FOUND
    await store.close_order("WO-1", NOW)
    assert await refused(store.import_chips("WO-1", ["d"], NOW)) is Code.INVALID


async def test_personalized_chips_keep_their_locks_and_their_key(store: SqlStore) -> None:
    async def personalize(*chips: str, locked: bool = True, key: str = "psa-iak-sha256") -> tuple[int, int]:
        return await store.personalize_chips(chips, locked=locked, site="fab", key=key, by="ann@x", now=NOW)

    added, index = await personalize("x", "y")
    assert added == 2
    assert await entry(store, index) == {
        "v": 3,
        "type": "chips_personalized",
        "time": "2026-11-15T12:00:00Z",
        "count": 2,
        "again": 0,
        "chips_sha256": digest_chips(["x", "y"]).hex(),
        "locked": True,
        "site": "fab",
        "key": "psa-iak-sha256",
        "by": "ann@x",
    }
    assert (await personalize("x"))[0] == 0
    assert await refused(personalize("x", "z", locked=False)) is Code.INVALID
    assert await refused(personalize("x", "z", key="hmac-sha256")) is Code.INVALID
    assert (await personalize("z", locked=False, key="hmac-sha256"))[0] == 1


async def test_ten_thousand_chips_a_call(store: SqlStore) -> None:
    many = [f"chip-{number}" for number in range(MAX_CHIPS)]
    assert (await store.import_chips("WO-1", many, NOW))[0] == MAX_CHIPS
    assert (await store.import_chips("WO-1", many, NOW))[0] == 0
    assert await refused(store.import_chips("WO-1", [*many, "more"], NOW)) is Code.INVALID


async def test_revocation_and_crl(store: SqlStore) -> None:
    request = intent("chip-1")
    record = await issue(store, request)
    await issue(store, intent("chip-2"))
    index = await store.revoke(serial_number="BM-000001", reason="keyCompromise", now=NOW)
    revoked = await entry(store, index)
    assert (revoked["reason"], revoked["superseded_by"]) == ("keyCompromise", None)
    assert revoked["certificate_serial"] == f"{request.certificate_serial:x}".zfill(32)
    expected = RevokedCertificate(request.certificate_serial, NOW, "keyCompromise")
    assert await store.revoked_certificates() == [expected]
    certificate = hashlib.sha256(record.certificate_der).digest()
    again = store.revoke(certificate_sha256=certificate, reason="keyCompromise", now=NOW)
    assert await told(again) == (
        "certificate_revoked: the certificate of board BM-000001 (chip chip-1) is revoked already:"
        f" ledger entry {index}"
    )
    unknown = store.revoke(certificate_sha256=digest("unknown"), reason="keyCompromise", now=NOW)
    assert await told(unknown) == f"not_found: no certificate has the SHA-256 {digest('unknown').hex()}"
    unknown = store.revoke(serial_number="bm-000001", reason="keyCompromise", now=NOW)
    assert (await told(unknown)).startswith("not_found: no board has the serial number 'bm-000001': ")
    assert await refused(store.revoke(reason="keyCompromise", now=NOW)) is Code.INVALID

    assert [await store.allot_crl_number() for _ in range(3)] == [1, 2, 3]
    index = await store.record_crl(
        number=3, crl_sha256=digest("crl"), next_update=NOW + timedelta(hours=1), count=1, now=NOW
    )
    listed = await entry(store, index)
    assert (listed["crl_number"], listed["next_update"]) == (3, "2026-11-15T13:00:00Z")


async def test_an_intent_has_nothing_to_revoke(store: SqlStore) -> None:
    await store.take_place(intent("chip-1"), prepare)
    revoking = store.revoke(serial_number="BM-000001", reason="keyCompromise", now=NOW)
    assert await told(revoking) == (
        "not_found: board BM-000001 (chip chip-1) has no certificate yet: there is nothing to revoke"
    )


async def test_counts(store: SqlStore) -> None:
    records = [await issue(store, intent(f"chip-{number}")) for number in range(3)]
    for record in records[:2]:
        await store.record_stamp(record, stamp=b"s", signature=b"s", station=STATION, now=NOW)
    await store.revoke(serial_number="BM-000001", reason="keyCompromise", now=NOW)
    await store.take_place(intent("chip-3"), prepare)
    state = await store.order("WO-1")
    assert state is not None
    assert state.counts == OrderCounts(places=4, issued=3, stamped=2, revoked=1, open_intents=1)


async def test_records_are_found_page_by_page(store: SqlStore) -> None:
    records = [await issue(store, intent(f"chip-{number}")) for number in range(5)]
    intent_left = await store.take_place(intent("chip-5"), prepare)
    page = await store.find_records(RecordFilter(), page_size=4)
    assert (list(page.records), page.more) == (records[:4], True)
    rest = await store.find_records(RecordFilter(), after_record_id=records[3].record_id, page_size=2)
    assert (list(rest.records), rest.more) == ([records[4], intent_left], False)
    for wanted in (
        RecordFilter(chip_id="chip-2"),
        RecordFilter(serial_number="BM-000003"),
        RecordFilter(work_order="WO-1", chip_id="chip-2", state=RecordState.ISSUED),
    ):
        assert (await store.find_records(wanted)).records == (records[2],)
    assert (await store.find_records(RecordFilter(state=RecordState.INTENT))).records == (intent_left,)
    assert (await store.find_records(RecordFilter(work_order="WO-2"))).records == ()
    assert (await store.find_records(RecordFilter(), after_record_id=2**64 - 1)).records == ()
    assert await store.record_by_serial("BM-000009") is None
    assert await store.record_by_certificate(digest("unknown")) is None


async def test_proofs_are_bounded_to_the_published_tree(store: SqlStore) -> None:
    record = await issue(store, intent("chip-1"))
    assert record.issued_index is not None
    await store.published(record.issued_index)
    size = store.published_size
    read = await store.entries(0, size)
    tree = Tree()
    for data in read:
        tree.append(leaf_hash(data))
    assert await store.inclusion_proof(1, size) == tree.inclusion(1, size)
    assert await store.consistency_proof(2, size) == tree.consistency(2, size)
    assert await store.entries(2, 4) == read[2:4]
    assert await store.entries(size, size) == []
    for index, of in ((size, size), (0, size + 1), (0, 0)):
        with pytest.raises(Refused):
            await store.inclusion_proof(index, of)
    for old, new in ((0, size), (2, 1), (1, size + 1)):
        with pytest.raises(Refused):
            await store.consistency_proof(old, new)
    assert await refused(store.entries(0, size + 1)) is Code.NOT_FOUND
    assert await refused(store.entries(2, 1)) is Code.NOT_FOUND


async def test_a_grant_for_another_record_is_refused(store: SqlStore) -> None:
    one, other = intent("chip-1"), intent("chip-2")
    first = await issue(store, one)
    second = await store.take_place(other, prepare)
    grant = grant_of(other, second)
    stolen = type(grant)(one.session_sha256, second.record_id, grant.challenge, STATION, grant.csr_sha256)
    assert await refused(store.complete(second, b"certificate", stolen, NOW)) is Code.SESSION_USED
    assert first.place.number == 1


async def test_a_page_of_large_records_is_cut(store: SqlStore) -> None:
    large = bytes(300 * 1024)
    for number in range(5):
        await issue(store, replace(intent(f"large:{number}"), evidence=large))
    found: list[int] = []
    pages, more = 0, True
    while more:
        page = await store.find_records(RecordFilter(), after_record_id=found[-1] if found else 0)
        assert 1 <= len(page.records) <= 4
        found += [record.record_id for record in page.records]
        pages, more = pages + 1, page.more
    assert (pages, len(found), len(set(found))) == (2, 5, 5)


async def test_the_ca_that_a_peer_called_with_is_kept(store: SqlStore) -> None:
    old, new = digest("old CA"), digest("new CA")
    await store.add_peer(AUDITOR, digest("first"), NOW, ca_sha256=old)
    await store.renew_peer(AUDITOR, digest("second"), NOW, not_after=NOW + timedelta(days=9))
    assert [peer.ca_sha256 for peer in await store.list_peers(Role.AUDITOR)] == [old, None]
    await store.note_cas({digest("second"): new, digest("nobody"): new})
    assert [peer.ca_sha256 for peer in await store.list_peers(Role.AUDITOR)] == [old, new]
    known = await store.peer_of_key(digest("second"))
    assert known is not None
    assert known.ca_sha256 == new


async def test_a_request_for_a_renewal_waits_over_a_restart(world: World) -> None:
    end = NOW + timedelta(days=825)
    request = RenewalRequest(AUDITOR, digest("first"), b"spki")
    async with world.opened() as store:
        await stock(store)
        await store.add_peer(AUDITOR, digest("first"), NOW)
        assert await store.ask_renewal(request, NOW)
        assert not await store.ask_renewal(request, NOW)
    async with world.opened() as store:
        (waiting,) = await store.pending_renewals()
        assert (waiting.name, waiting.spki, waiting.asked_at) == (AUDITOR, b"spki", NOW)
        await store.renew_peer(AUDITOR, digest("first"), NOW, not_after=end, certificate=b"approved")
        assert await store.pending_renewals() == []
        assert (await store.renewal_of(request)).certificate == b"approved"
        index = await store.choose_renewal(AUDITOR.uri, NOW, automatic=True, by="ann")
        assert (await entry(store, index))["automatic"] is True
        known = await store.peer_of_key(digest("first"))
        assert known is not None
        assert known.automatic
        await store.revoke_peer(AUDITOR.uri, NOW)
        made = store.renew_by_itself(request, b"made", end, NOW)  # revoked since it was let in
        assert await refused(made) is Code.NOT_FOUND
        assert await refused(store.choose_renewal(AUDITOR.uri, NOW, automatic=False)) is Code.NOT_FOUND
        assert (await store.renewal_of(request)).newest is False
