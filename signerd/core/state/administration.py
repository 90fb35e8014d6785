"""What administrators did, replayed from the log: one value for each point of it.

    state = State()
    for index, data in entries:
        state = state.after(index, json.loads(data))

Guarantees that the same entries give the same state, whatever the tables of a database hold, and that an
entry which contradicts those before it is refused. A state never changes: a call goes on with the one that it
began with, and a transaction that is taken back leaves the one of before.

`epoch` counts the entries that change it: two states of one log with the same epoch are the same. Entries of
boards change nothing here (`core/state/boards.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

from signerd.core.approval.administrators import NOBODY, AdministratorSet, read_members
from signerd.core.approval.errors import ApprovalError
from signerd.core.checkpoint_keys import LogKeys, StepRefusedError
from signerd.core.issuers import IssuerRecord, IssuerState
from signerd.core.names import FIRST
from signerd.core.note import NoteError, parse_vkey
from signerd.core.state import orders, peers
from signerd.core.state.values import KeysAt, NamedList, Opened, Peer, Revision, StateError, Terms
from signerd.core.succession import read_succession

Members = Mapping[str, Any]
"""An entry, as JSON has it."""


def _empty() -> Mapping[Any, Any]:
    return MappingProxyType({})


@dataclass(frozen=True, slots=True)
class State:
    """As of one entry. Mappings are never changed in place."""

    epoch: int = 0
    opened: Opened | None = None
    peers: Mapping[bytes, Peer] = field(default_factory=_empty)  # by key
    newest_key: Mapping[str, bytes] = field(default_factory=_empty)  # by URI: the key that was added last
    revisions: Mapping[bytes, Revision] = field(default_factory=_empty)  # of products, by SHA-256
    newest_revision: Mapping[str, bytes] = field(default_factory=_empty)  # by product
    orders: Mapping[str, Terms] = field(default_factory=_empty)
    issuers: tuple[IssuerRecord, ...] = ()
    administrators: AdministratorSet = NOBODY
    approvals: Mapping[tuple[bytes, int], int] = field(default_factory=_empty)  # used: index of the action
    log_keys: LogKeys | None = None
    keys_committed: KeysAt | None = None  # the last such entry
    sealed_keys: Mapping[str, str] = field(default_factory=_empty)  # sealed successors: vkey by key ID
    clock_accepted: int = 0  # likewise; 0: there is none
    lists: tuple[NamedList, ...] = ()  # `chips_imported`
    personalized: tuple[NamedList, ...] = ()  # `chips_personalized`
    identities: tuple[NamedList, ...] = ()  # `identities_imported`

    def after(self, index: int, members: Members) -> State:
        """With one more entry. Of a type that changes nothing here: the same state.

        Raises:
            StateError: it does not follow from those before.
        """
        kind = members.get("type")
        rule = _RULES.get(kind) if isinstance(kind, str) else None
        if rule is None:
            if kind == "log_opened" and index == 0 and self.epoch == 0:
                return _opened(self, index, members)
            if kind in UNCHANGED and self.opened is not None:
                return self
            raise StateError(f"an entry of type {kind!r:.80}, which nothing follows from")
        if self.opened is None:
            raise StateError("entry 0 is no log_opened")
        try:
            changed = rule(self, index, members)
        except (KeyError, TypeError, ValueError, ApprovalError, NoteError, StepRefusedError) as error:
            raise StateError(
                f"a {kind} entry that does not follow: {type(error).__name__}: {error}"
            ) from error
        return replace(changed, epoch=self.epoch + 1)

    def peer_named(self, uri: str) -> Peer | None:
        """The peer of this name, by the key that was added last, revoked or not."""
        key = self.newest_key.get(uri)
        return None if key is None else self.peers[key]


# Entries of boards, and of what follows from them.
UNCHANGED = frozenset(
    {
        "issued",
        "stamped",
        "revoked",
        "refused",
        "intent_open",
        "intent_abandoned",
        "shared_primes_found",
        "crl_issued",
        "signerd_started",
        "signerd_stopped",
    }
)


def _opened(state: State, index: int, members: Members) -> State:
    try:
        opened = Opened(members["deployment"], members["origin"], members["vkey"])
        first = IssuerRecord(
            issuer_id=1,
            name=FIRST,
            ca=FIRST,
            state=IssuerState.ACTIVE,
            certificate_sha256=bytes.fromhex(members["issuer_sha256"]),
            root_sha256=bytes.fromhex(members["root_sha256"]),
            added_index=index,
        )
        keys = LogKeys.first(parse_vkey(opened.vkey))
    except (KeyError, TypeError, ValueError, NoteError) as error:
        raise StateError(f"entry 0 is of another form: {error}") from error
    return replace(state, epoch=1, opened=opened, issuers=(first,), log_keys=keys)


def _issuer_added(state: State, index: int, members: Members) -> State:
    name = members["issuer"]
    if any(each.name == name for each in state.issuers):
        raise StateError(f"issuer {name} is there already")
    added = IssuerRecord(
        issuer_id=len(state.issuers) + 1,
        name=name,
        ca=members["ca"],
        state=IssuerState.STANDBY,
        certificate_sha256=bytes.fromhex(members["certificate_sha256"]),
        root_sha256=bytes.fromhex(members["root_sha256"]),
        added_index=index,
    )
    return replace(state, issuers=(*state.issuers, added))


def _issuer_activated(state: State, _index: int, members: Members) -> State:
    named = _issuer(state, members)

    def changed(each: IssuerRecord) -> IssuerRecord:
        if each.name == named.name:
            return replace(each, state=IssuerState.ACTIVE)
        before = each.ca == named.ca and each.state is IssuerState.ACTIVE
        return replace(each, state=IssuerState.STANDBY) if before else each

    return replace(state, issuers=tuple(map(changed, state.issuers)))


def _issuer_retired(state: State, _index: int, members: Members) -> State:
    named = _issuer(state, members)
    retired = replace(named, state=IssuerState.RETIRED)
    return replace(state, issuers=tuple(retired if each is named else each for each in state.issuers))


def _issuer(state: State, members: Members) -> IssuerRecord:
    for each in state.issuers:
        if each.name == members["issuer"]:
            if each.certificate_sha256 != bytes.fromhex(members["certificate_sha256"]):
                raise StateError(f"issuer {each.name} has another certificate")
            if each.state is IssuerState.RETIRED:
                raise StateError(f"issuer {each.name} is retired")
            return each
    raise StateError(f"no issuer {members['issuer']!r:.80}")


def _administrators_set(state: State, _index: int, members: Members) -> State:
    return replace(state, administrators=read_members(members["threshold"], members["administrators"]))


def _action_approved(state: State, index: int, members: Members) -> State:
    use = (bytes.fromhex(members["request"]), int(members["part"]))
    if use in state.approvals:
        raise StateError("an approval is used twice")
    return replace(state, approvals={**state.approvals, use: index + 1})  # the action follows it


def _keys_committed(state: State, index: int, members: Members) -> State:
    commitment = members["chip_master_commitment"]
    said = KeysAt(
        index,
        tuple(bytes.fromhex(each) for each in members["recipients"]),
        members["checkpoint"],
        members["chip_master"],
        None if commitment is None else bytes.fromhex(commitment),
    )
    return replace(state, keys_committed=said)


def _clock_accepted(state: State, index: int, _members: Members) -> State:
    return replace(state, clock_accepted=index)


def _checkpoint_key(state: State, index: int, members: Members) -> State:
    keys, verifier = state.log_keys, parse_vkey(members["vkey"])
    if keys is None:
        raise StateError("the log has no key")
    key_id = verifier.key_id.hex()
    match members["type"]:
        case "checkpoint_key_added":
            sealed = (
                {**state.sealed_keys, key_id: members["vkey"]} if members["recipients"] else state.sealed_keys
            )
            return replace(state, log_keys=keys.added(verifier, index), sealed_keys=sealed)
        case "checkpoint_key_activated":
            return replace(state, log_keys=keys.activated(key_id, index, members["checkpoint"].encode()))
        case _:
            open_ones = {name: vkey for name, vkey in state.sealed_keys.items() if name != key_id}
            return replace(state, log_keys=keys.retired(key_id, index), sealed_keys=open_ones)


def _log_succeeded(state: State, index: int, members: Members) -> State:
    if state.log_keys is None:
        raise StateError("the log has no key")
    return replace(state, log_keys=state.log_keys.succeeded(read_succession(index, members)))


def _seen(state: State, _index: int, _members: Members) -> State:
    """What counts elsewhere: the settings name the operations CAs, key holders keep their shares."""
    return state


def _chips_imported(state: State, index: int, members: Members) -> State:
    named = NamedList(
        index, members["count"], bytes.fromhex(members["chips_sha256"]), (members["work_order"],)
    )
    return replace(state, lists=(*state.lists, named))


def _chips_personalized(state: State, index: int, members: Members) -> State:
    named = NamedList(
        index,
        members["count"],
        bytes.fromhex(members["chips_sha256"]),
        (members.get("key", "hmac-sha256"), members["site"], members.get("by") or ""),
        members["locked"],
    )
    return replace(state, personalized=(*state.personalized, named))


def _identities_imported(state: State, index: int, members: Members) -> State:
    named = NamedList(
        index,
        members["count"],
        bytes.fromhex(members["identities_sha256"]),
        (members["product"], members["method"]),
    )
    return replace(state, identities=(*state.identities, named))


def _with_peers(rule: Callable[..., peers.Changed]) -> Callable[[State, int, Members], State]:
    def changed(state: State, index: int, members: Members) -> State:
        by_key, newest = rule(state.peers, state.newest_key, index, members)
        return replace(state, peers=by_key, newest_key=newest)

    return changed


def _product_added(state: State, index: int, members: Members) -> State:
    revision = orders.revision(index, members)
    if revision.sha256 in state.revisions:
        raise StateError(f"this revision of product {revision.product} is there already")
    return replace(
        state,
        revisions={**state.revisions, revision.sha256: revision},
        newest_revision={**state.newest_revision, revision.product: revision.sha256},
    )


def _order_opened(state: State, index: int, members: Members) -> State:
    terms = orders.terms(index, members)
    if terms.work_order in state.orders:
        raise StateError(f"work order {terms.work_order} is there already")
    revision = state.revisions.get(terms.product_sha256)
    if revision is None or revision.product != terms.product:
        raise StateError(f"work order {terms.work_order} names a product that was not added")
    return replace(state, orders={**state.orders, terms.work_order: terms})


def _order_closed(state: State, index: int, members: Members) -> State:
    terms = state.orders.get(members["work_order"])
    if terms is None or terms.closed is not None:
        raise StateError(f"no work order {members['work_order']!r:.80} is open")
    closed = replace(terms, closed=index)
    return replace(state, orders={**state.orders, terms.work_order: closed})


_RULES: Mapping[str, Callable[[State, int, Members], State]] = {
    "keys_committed": _keys_committed,
    "issuer_added": _issuer_added,
    "issuer_activated": _issuer_activated,
    "issuer_retired": _issuer_retired,
    "administrators_set": _administrators_set,
    "action_approved": _action_approved,
    "station_added": _with_peers(peers.added),
    "auditor_added": _with_peers(peers.added),
    "station_renewed": _with_peers(peers.renewed),
    "auditor_renewed": _with_peers(peers.renewed),
    "renewal_chosen": _with_peers(peers.chosen),
    "station_revoked": _with_peers(peers.revoked),
    "auditor_revoked": _with_peers(peers.revoked),
    "operations_ca_added": _seen,
    "operations_ca_activated": _seen,
    "operations_ca_retired": _seen,
    "checkpoint_key_added": _checkpoint_key,
    "checkpoint_key_activated": _checkpoint_key,
    "checkpoint_key_retired": _checkpoint_key,
    "log_succeeded": _log_succeeded,
    "product_added": _product_added,
    "order_opened": _order_opened,
    "order_closed": _order_closed,
    "share_given": _seen,
    "chips_imported": _chips_imported,
    "chips_personalized": _chips_personalized,
    "identities_imported": _identities_imported,
    "clock_accepted": _clock_accepted,
}

_CHANGING = frozenset(kind.encode() for kind in ("log_opened", *_RULES))


def changes(kind: str) -> bool:
    """Whether entries of this type change the state."""
    return kind == "log_opened" or kind in _RULES


def may_change(kinds: Iterable[bytes]) -> bool:
    """Of the types that an entry mentions (`kinds.mentioned`). False: it changes nothing, and need not be
    parsed."""
    return not _CHANGING.isdisjoint(kinds)
