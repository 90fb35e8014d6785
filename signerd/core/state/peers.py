"""Stations and auditors, by their keys: added, renewed, revoked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from signerd.core.names import parse_peer_uri
from signerd.core.state.times import moment
from signerd.core.state.values import Peer, StateError

Members = Mapping[str, Any]
ByKey = Mapping[bytes, Peer]
NewestKey = Mapping[str, bytes]
Changed = tuple[ByKey, NewestKey]


def added(by_key: ByKey, newest: NewestKey, index: int, members: Members) -> Changed:
    """A key is registered once, by whatever name; a name has one that is not revoked."""
    uri, key = members["peer"], bytes.fromhex(members["spki_sha256"])
    if key in by_key:
        raise StateError("a key of a peer is there already")
    if (last := newest.get(uri)) is not None and by_key[last].newest:
        raise StateError(f"{uri} has a key already")
    peer = Peer(parse_peer_uri(uri), key, index, moment(members["time"]))
    return {**by_key, key: peer}, {**newest, uri: key}


def renewed(by_key: ByKey, newest: NewestKey, index: int, members: Members) -> Changed:
    """For its key, or for another one, beside which that of before goes on."""
    last, key = _newest(by_key, newest, members), bytes.fromhex(members["spki_sha256"])
    if key == last.spki_sha256:
        return by_key, newest
    if key in by_key:
        raise StateError("a key of a peer is there already")
    uri = members["peer"]
    newer = Peer(last.name, key, index, moment(members["time"]), automatic=last.automatic)
    return {**by_key, last.spki_sha256: replace(last, renewed=True), key: newer}, {**newest, uri: key}


def chosen(by_key: ByKey, newest: NewestKey, _index: int, members: Members) -> Changed:
    """How it is renewed."""
    last = _newest(by_key, newest, members)
    return {**by_key, last.spki_sha256: replace(last, automatic=members["automatic"] is True)}, newest


def revoked(by_key: ByKey, newest: NewestKey, _index: int, members: Members) -> Changed:
    """All its keys."""
    name, at = _newest(by_key, newest, members).name, moment(members["time"])
    gone = {
        key: replace(peer, revoked_at=at)
        for key, peer in by_key.items()
        if peer.name == name and peer.revoked_at is None
    }
    return {**by_key, **gone}, newest


def _newest(by_key: ByKey, newest: NewestKey, members: Members) -> Peer:
    key = newest.get(members["peer"])
    if key is None or not by_key[key].newest:
        raise StateError(f"no peer {members['peer']!r:.80}")
    return by_key[key]
