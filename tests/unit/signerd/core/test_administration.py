"""The administration's state, replayed from entries: what each does, and which contradict those before."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from signerd.core import entry as entries
from signerd.core.issuers import IssuerState
from signerd.core.state.administration import UNCHANGED, State, changes, may_change
from signerd.core.state.kinds import mentioned
from signerd.core.state.values import StateError

FORMS = Path(__file__).parents[3] / "vectors" / "forms"
TIME = "2026-11-15T12:00:00Z"
STATION = "birthmark://test/station/plant1/pc1"
VKEY = "test.example/line+c9502cef+AanQ9FgKc4BCmDQWoe7r17mqc3zuNMhsg5LWxTbaQWoo"
A, B, C = (f"{number:02x}" * 32 for number in (1, 2, 3))

Members = dict[str, Any]
OPENED: Members = {
    "type": "log_opened",
    "time": TIME,
    "deployment": "test",
    "origin": "test.example/line",
    "issuer_sha256": A,
    "root_sha256": B,
    "vkey": VKEY,
}


def station(kind: str, **members: object) -> Members:
    return {"type": kind, "time": TIME, "peer": STATION, "by": None, **members}


def product(sha256: str = A) -> Members:
    return {"type": "product_added", "time": TIME, "product": "sensor", "product_sha256": sha256}


def order(name: str = "WO-1", **members: object) -> Members:
    return {
        "type": "order_opened",
        "time": TIME,
        "work_order": name,
        "product": "sensor",
        "product_sha256": A,
        "quantity": 10,
        "not_before": "2026-11-14T12:00:00Z",
        "not_after": "2026-11-16T12:00:00Z",
        "stations": [STATION],
        "level": "chip",
        "minimum_firmware": {},
        "serial_pattern": "BM-{number:06d}",
        "serial_start": 1,
        "reissue": "never",
        "settings_sha256": B,
        **members,
    }


def issuer(kind: str, name: str = "second", certificate: str = C) -> Members:
    members = {"issuer": name, "ca": "main", "certificate_sha256": certificate, "root_sha256": B}
    return {"type": kind, "time": TIME, **members}


def replayed(*members: Members) -> State:
    state = State()
    for index, each in enumerate((OPENED, *members)):
        state = state.after(index, each)
    return state


def test_a_peer_is_renewed_beside_its_older_key_and_revoked_with_both() -> None:
    first, second = bytes.fromhex(A), bytes.fromhex(B)
    state = replayed(station("station_added", spki_sha256=A), station("renewal_chosen", automatic=True))
    assert state.peers[first].newest
    assert state.peers[first].automatic
    state = state.after(3, station("station_renewed", spki_sha256=B, not_after=TIME))
    assert (state.peers[first].newest, state.peers[first].revoked_at) == (False, None)
    assert state.peers[second].automatic
    before, state = state, state.after(4, station("station_revoked"))
    assert [peer.revoked_at for peer in state.peers.values()] == [datetime(2026, 11, 15, 12, tzinfo=UTC)] * 2
    assert before.peers[second].newest  # a state does not change
    state = state.after(5, station("station_added", spki_sha256=C))
    peer = state.peer_named(STATION)
    assert peer is not None
    assert (peer.spki_sha256, peer.newest) == (bytes.fromhex(C), True)


def test_an_order_has_the_terms_of_its_entry_until_it_is_closed() -> None:
    state = replayed(product(), order(firmware={"app": ["1.2.0", C]}, bundle_sha256=B))
    terms = state.orders["WO-1"]
    assert (terms.quantity, terms.firmware) == (10, {"app": ("1.2.0", bytes.fromhex(C))})
    assert terms.open_at(datetime(2026, 11, 15, tzinfo=UTC))
    assert not terms.open_at(datetime(2026, 11, 17, tzinfo=UTC))
    closed = state.after(3, {"type": "order_closed", "time": TIME, "work_order": "WO-1"}).orders["WO-1"]
    assert not closed.open_at(datetime(2026, 11, 15, tzinfo=UTC))


def test_of_a_ca_one_issuer_is_active() -> None:
    state = replayed(issuer("issuer_added"), issuer("issuer_activated"))
    assert [each.state for each in state.issuers] == [IssuerState.STANDBY, IssuerState.ACTIVE]
    state = state.after(3, issuer("issuer_retired", "main", A))
    assert state.issuers[0].state is IssuerState.RETIRED


def test_the_epoch_counts_what_changes_the_state() -> None:
    state = replayed(product())
    assert state.epoch == 2
    assert state.after(2, {"type": "issued"}) is state


CONTRADICTIONS: dict[str, tuple[Members, ...]] = {
    "a log opened twice": (OPENED,),
    "an entry of no type": ({"time": TIME},),
    "a type that nobody knows": ({"type": "gift", "time": TIME},),
    "a key twice": (station("station_added", spki_sha256=A), station("station_added", spki_sha256=A)),
    "a second key of a name": (
        station("station_added", spki_sha256=A),
        station("station_added", spki_sha256=B),
    ),
    "a peer that is not there revoked": (station("station_revoked"),),
    "a peer renewed with a key of before": (
        station("station_added", spki_sha256=A),
        station("station_renewed", spki_sha256=B, not_after=TIME),
        station("station_renewed", spki_sha256=A, not_after=TIME),
    ),
    "a revision twice": (product(), product()),
    "an order of no product": (order(),),
    "an order twice": (product(), order(), order()),
    "an order closed twice": (
        product(),
        order(),
        {"type": "order_closed", "time": TIME, "work_order": "WO-1"},
        {"type": "order_closed", "time": TIME, "work_order": "WO-1"},
    ),
    "a member missing": (product(), {key: value for key, value in order().items() if key != "quantity"}),
    "a time that is none": (product(), order(not_after="tomorrow")),
    "a retired issuer activated": (
        issuer("issuer_added"),
        issuer("issuer_retired"),
        issuer("issuer_activated"),
    ),
    "an issuer with another certificate": (issuer("issuer_added"), issuer("issuer_activated", certificate=A)),
    "an approval twice": (
        {"type": "action_approved", "time": TIME, "request": "00" * 16, "part": 0},
        {"type": "action_approved", "time": TIME, "request": "00" * 16, "part": 0},
    ),
    "administrators who are none": (
        {"type": "administrators_set", "time": TIME, "threshold": 1, "administrators": []},
    ),
}


@pytest.mark.parametrize("name", CONTRADICTIONS)
def test_what_does_not_follow_is_refused(name: str) -> None:
    *honest, wrong = CONTRADICTIONS[name]
    state = replayed(*honest)
    with pytest.raises(StateError):
        state.after(len(honest) + 1, wrong)


def test_nothing_comes_before_the_opening() -> None:
    with pytest.raises(StateError):
        State().after(0, product())


def test_each_type_of_entry_changes_the_state_or_is_known_not_to() -> None:
    def below(kind: type) -> set[type]:
        return {kind}.union(*map(below, kind.__subclasses__()))

    types = {vars(each)["type"] for each in below(entries.Entry) if "type" in vars(each)}
    assert {each for each in types if changes(each)} | UNCHANGED == types
    assert not any(map(changes, UNCHANGED))


@pytest.mark.parametrize("form", ["1", "2"])
def test_entries_that_are_skipped_change_nothing(form: str) -> None:
    lines = (FORMS / f"entries-{form}.jsonl").read_bytes().splitlines()
    for data in lines:
        assert json.loads(data)["type"].encode() in mentioned(data)
        assert may_change(mentioned(data)) or not changes(json.loads(data)["type"])
    assert {may_change(mentioned(data)) for data in lines} == {True, False}
