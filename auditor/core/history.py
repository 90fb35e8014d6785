"""The history of a log, entry by entry: does each follow from what stands before it?

    findings = apply(books, index, entry, trust=trust)

An entry that breaks a rule is still entered in the books, so that one lie is one finding and not a
trail of them. Issuance has a module of its own, `issuance`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from cryptography import x509

from auditor.core import entry as entries
from auditor.core.approval import ACTIONS, approved_members, one_form, problems
from auditor.core.books import Books, CertificateState, IntentState, OrderState, PeerState
from auditor.core.clock import SKEW
from auditor.core.codes import Code
from auditor.core.counting import identities
from auditor.core.entry import Entry
from auditor.core.findings import Finding
from auditor.core.forms import time_text
from auditor.core.issuance import check_station, issued
from auditor.core.issuers import check_abandoned, check_added, check_changed
from auditor.core.log_keys import check_activated, check_retired, has_successors, in_succession
from auditor.core.log_keys import check_added as check_log_key_added
from auditor.core.successions import check_succeeded

MAX_OPEN_RUNS = 100  # signerds without a stop that are kept: one runs at a time, and others have crashed


@dataclass(frozen=True, slots=True)
class Trust:
    """What the auditor holds of its own: nothing in the log may disagree with it."""

    deployment: str
    origin: str
    vkey: str
    roots: frozenset[str]  # SHA-256 of each pinned root, hexadecimal
    operations_cas: tuple[x509.Certificate, ...] = ()  # who may sign a successor of the log
    successor: int = 1  # which one is pinned by name: of it and those before, a person said so


def apply(books: Books, index: int, entry: Entry, *, data: bytes, trust: Trust) -> list[Finding]:
    """Checks one entry against the books, and enters it. `data` are its bytes."""
    if isinstance(entry, entries.AdministratorsEntry):
        books.add_act(index, entry)
    found = [
        *_form(books, index, entry),
        *_time(books, index, entry),
        *_approval(books, index, entry, data),
    ]
    if (index == 0) != isinstance(entry, entries.LogOpened):
        found.append(
            Finding(Code.LOG_IDENTITY, "`log_opened` is entry 0 and no other", index, found=entry.type)
        )
        return found
    if isinstance(entry, entries.LogOpened):
        found += _opened(books, index, entry, trust)
    elif isinstance(entry, entries.IssuerAdded):
        found += check_added(books.issuers(index), index, entry, trust.roots)
    elif isinstance(entry, entries.LogSucceeded):
        found += check_succeeded(books, index, entry, trust.origin, trust.operations_cas, trust.successor)
    else:
        found += _RULES[type(entry)](books, index, entry)
    return found


def unfinished(books: Books, trust: Trust) -> Iterator[Finding]:
    """What may not stand open at the end of a published tree, and the pinned key if the log does not lead
    to it."""
    if books.opened is not None and not in_succession(books, trust.vkey):
        detail, found = "`log_opened` names another vkey", books.opened.vkey
        yield Finding(Code.LOG_IDENTITY, detail, 0, None, trust.vkey, found)
    for chip_id, (index, _) in books.totals.superseding.items():
        yield Finding(
            Code.REVOCATION_HISTORY,
            "superseded, and no certificate came after it",
            index,
            found=f"chip {chip_id}",
        )
    if books.totals.approved is not None:
        index, action, _ = books.totals.approved
        yield Finding(
            Code.APPROVAL, "an approval that nothing came after which it is of", index, found=action
        )


def ahead(books: Books, now: datetime) -> Finding | None:
    """What is found as long as the log's time lies in the future of `now`, the auditor's clock. It ends when
    that moment has come, or when the clock was set right and an entry says so."""
    last = books.totals.last_time
    if last is None or last - now <= SKEW:
        return None
    detail = "an entry of the future: signerd's clock is ahead, or this one is behind"
    return Finding(Code.TIME_ORDER, detail, None, None, f"at most {time_text(now)}", time_text(last))


def _form(books: Books, index: int, entry: Entry) -> Iterator[Finding]:
    """Form 1 is what signerd wrote before it knew form 2: nothing new is in it, and an id is one entry's."""
    totals = books.totals
    if entry.form < totals.form:
        detail = "an entry of an older form than one before it"
        yield Finding(Code.FORM_ORDER, detail, index, None, str(totals.form), str(entry.form))
    totals.form = max(totals.form, entry.form)
    used = None if entry.id is None else books.add_id(entry.id, index)
    if entry.id is not None and used is not None:
        yield Finding(Code.VALUE_REUSED, f"id of entry {used} again", index, found=entry.id.hex())


def _approval(books: Books, index: int, entry: Entry, data: bytes) -> Iterator[Finding]:
    """Where administrators are asked, each action stands right behind its approval, and it is that action."""
    approved, books.totals.approved = books.totals.approved, None
    if approved is not None and (entry.type, one_form(json.loads(data))) == approved[1:]:
        return
    asked = books.administrators(index) if _is_action(entry) else None
    if asked is not None and asked.threshold > 0:
        detail = f"without the approval of {asked.threshold} administrators"
        yield Finding(Code.APPROVAL, detail, index, found=entry.type)
    elif approved is not None:
        detail = "an approval that nothing came after which it is of"
        yield Finding(Code.APPROVAL, detail, approved[0], None, approved[1], entry.type)


def _is_action(entry: Entry) -> bool:
    """A certificate that a newer one of its chip supersedes was revoked by nobody."""
    by_itself = isinstance(entry, entries.Revoked) and entry.superseded_by is not None
    return entry.type in ACTIONS and not by_itself


def _action_approved(books: Books, index: int, entry: entries.ActionApproved) -> Iterator[Finding]:
    opened = books.opened
    deployment, vkey = ("", "") if opened is None else (opened.deployment, opened.vkey)
    for problem in problems(entry, books.administrators(index), deployment, vkey):
        yield Finding(Code.APPROVAL, problem, index, found=entry.action)
    use = f"{entry.request.hex()} {entry.part}"
    first = books.totals.approvals.setdefault(use, index)
    if first != index:
        yield Finding(Code.APPROVAL, f"used a second time, first by entry {first}", index, found=entry.action)
    books.totals.approved = (index, entry.action, approved_members(entry) or "")


def _administrators_set(
    books: Books,  # noqa: ARG001
    index: int,
    entry: entries.AdministratorsSet,
) -> Iterator[Finding]:
    names = {each.name for each in entry.administrators}
    if not min(1, len(names)) <= entry.threshold <= len(names):
        detail = "a threshold that its administrators do not reach"
        yield Finding(Code.APPROVAL, detail, index, None, f"at most {len(names)}", str(entry.threshold))


def _time(books: Books, index: int, entry: Entry) -> Iterator[Finding]:
    last = books.totals.last_time
    if isinstance(entry, entries.ClockAccepted):
        return  # `_clock_accepted` judges both of its times
    if last is not None and last - entry.time > SKEW:
        yield Finding(
            Code.TIME_ORDER,
            "time runs backward",
            index,
            None,
            f"at least {time_text(last)}",
            time_text(entry.time),
        )
    books.totals.last_time = entry.time if last is None else max(last, entry.time)


def _opened(books: Books, index: int, entry: entries.LogOpened, trust: Trust) -> Iterator[Finding]:
    books.opened = entry
    for what, found, expected in (
        ("deployment", entry.deployment, trust.deployment),
        ("origin", entry.origin, trust.origin),
    ):
        if found != expected:
            yield Finding(
                Code.LOG_IDENTITY, f"`log_opened` names another {what}", index, None, expected, found
            )
    if (root := entry.root_sha256.hex()) not in trust.roots:
        expected = ", ".join(sorted(trust.roots))
        yield Finding(Code.LOG_IDENTITY, "`log_opened` names another root", index, None, expected, root)


def _keys_committed(books: Books, index: int, entry: entries.KeysCommitted) -> Iterator[Finding]:
    """Keys stay what they are and where they are; only token keys that open them come and go."""
    if (entry.chip_master == "sealed") != (entry.chip_master_commitment is not None):
        detail = "a sealed master key has a commitment, and no other"
        yield Finding(Code.LOG_IDENTITY, detail, index, found=entry.chip_master)
    sealed = "sealed" in (entry.checkpoint, entry.chip_master)
    # Where neither is, the seed of a successor of the log's key may be.
    if (sealed and not entry.recipients) or (entry.recipients and not (sealed or has_successors(books))):
        detail = "what is sealed is sealed to token keys, and nothing else is"
        yield Finding(Code.LOG_IDENTITY, detail, index, found=str(len(entry.recipients)))
    before = books.keys_committed(index)
    if before is None:
        return
    for what, found, expected in (
        ("place of the checkpoint key", entry.checkpoint, before.checkpoint),
        ("place of the chip master key", entry.chip_master, before.chip_master),
        ("chip master key", _hex(entry.chip_master_commitment), _hex(before.chip_master_commitment)),
    ):
        if found != expected:
            detail = f"`keys_committed` names another {what}"
            yield Finding(Code.LOG_IDENTITY, detail, index, None, expected, found)


def _hex(commitment: bytes | None) -> str:
    return "none" if commitment is None else commitment.hex()


def _peer_added(
    books: Books, index: int, entry: entries.StationAdded | entries.AuditorAdded
) -> Iterator[Finding]:
    known = books.peer(entry.peer)
    if known is not None and known.revoked_at is None:
        yield Finding(Code.PEER_HISTORY, "added while it is registered", index, found=entry.peer)
    if books.opened is not None and not entry.peer.startswith(f"birthmark://{books.opened.deployment}/"):
        yield Finding(
            Code.PEER_HISTORY,
            "a peer of another deployment",
            index,
            None,
            books.opened.deployment,
            entry.peer,
        )
    books.put_peer(PeerState(entry.peer, entry.spki_sha256, None))


def _peer_renewed(
    books: Books, index: int, entry: entries.StationRenewed | entries.AuditorRenewed
) -> Iterator[Finding]:
    """Only what is registered is renewed, and only to an end that is still to come."""
    known = books.peer(entry.peer)
    if known is None or known.revoked_at is not None:
        yield Finding(Code.PEER_HISTORY, "renewed without being registered", index, found=entry.peer)
        return
    if entry.not_after <= entry.time:
        detail = "renewed with a certificate that had ended"
        yield Finding(Code.PEER_HISTORY, detail, index, entry.peer, found=time_text(entry.not_after))
    books.put_peer(replace(known, spki_sha256=entry.spki_sha256))


def _renewal_chosen(books: Books, index: int, entry: entries.RenewalChosen) -> Iterator[Finding]:
    known = books.peer(entry.peer)
    if known is None or known.revoked_at is not None:
        yield Finding(
            Code.PEER_HISTORY, "its renewal chosen without being registered", index, found=entry.peer
        )


def _peer_revoked(
    books: Books, index: int, entry: entries.StationRevoked | entries.AuditorRevoked
) -> Iterator[Finding]:
    known = books.peer(entry.peer)
    if known is None or known.revoked_at is not None:
        yield Finding(Code.PEER_HISTORY, "revoked without being registered", index, found=entry.peer)
    else:
        books.put_peer(replace(known, revoked_at=entry.time))


def _operations_ca_added(books: Books, index: int, entry: entries.OperationsCaAdded) -> Iterator[Finding]:
    """One beside the one of before, once, and not after its end."""
    digest, known = entry.ca_sha256.hex(), books.totals.operations_cas
    if digest in known:
        yield Finding(Code.OPERATIONS_CA_HISTORY, "added twice", index, found=digest)
    if entry.not_after <= entry.time:
        detail = "added when it had ended"
        yield Finding(Code.OPERATIONS_CA_HISTORY, detail, index, found=time_text(entry.not_after))
    known[digest] = "added"


def _operations_ca_activated(
    books: Books, index: int, entry: entries.OperationsCaActivated
) -> Iterator[Finding]:
    digest, known = entry.ca_sha256.hex(), books.totals.operations_cas
    if known.get(digest) != "added":
        detail = "activated, and was not just added"
        yield Finding(Code.OPERATIONS_CA_HISTORY, detail, index, None, "added", known.get(digest, "unknown"))
    known[digest] = "activated"


def _operations_ca_retired(books: Books, index: int, entry: entries.OperationsCaRetired) -> Iterator[Finding]:
    """The first one of an installation has no entry before: one may be retired of which nothing is known, as
    long as another one remains."""
    digest, known = entry.ca_sha256.hex(), books.totals.operations_cas
    first_gone = any(state == "first, retired" for state in known.values())
    if known.get(digest, "").endswith("retired"):
        yield Finding(Code.OPERATIONS_CA_HISTORY, "retired twice", index, found=digest)
    elif digest not in known and first_gone:
        yield Finding(Code.OPERATIONS_CA_HISTORY, "retired, and was not added", index, found=digest)
    known[digest] = "retired" if digest in known or first_gone else "first, retired"
    first_lives = not any(state == "first, retired" for state in known.values())
    if not first_lives and all(state.endswith("retired") for state in known.values()):
        yield Finding(Code.OPERATIONS_CA_HISTORY, "retired, and none remains", index, found=digest)


def _product_added(books: Books, index: int, entry: entries.ProductAdded) -> Iterator[Finding]:  # noqa: ARG001
    books.add_product(entry.product, entry.product_sha256)  # any revision may follow any other
    yield from ()


def _order_opened(books: Books, index: int, entry: entries.OrderOpened) -> Iterator[Finding]:
    if not books.has_product(entry.product, entry.product_sha256):
        yield Finding(
            Code.PRODUCT_UNKNOWN,
            f"no revision {entry.product_sha256.hex()} was added",
            index,
            found=entry.product,
        )
    if books.order(entry.work_order) is not None:
        yield Finding(Code.ORDER_HISTORY, "opened twice", index, found=entry.work_order)
        return
    if entry.not_before >= entry.not_after:
        yield Finding(Code.ORDER_HISTORY, "its window is empty", index, found=entry.work_order)
    if entry.shares is not None and sum(entry.shares.values()) != entry.quantity:
        yield Finding(Code.ORDER_HISTORY, "its shares are not its quantity", index, found=entry.work_order)
    if entry.firmware is not None and entry.bundle_sha256 is None:
        yield Finding(Code.ORDER_HISTORY, "it names firmware of no bundle", index, found=entry.work_order)
    if entry.rehearsed is False:  # None: form 1, which has no such member
        yield Finding(Code.ORDER_HISTORY, "opened without a rehearsal", index, found=entry.work_order)
    books.add_order(OrderState(entry, index))


def _share_given(books: Books, index: int, entry: entries.ShareGiven) -> Iterator[Finding]:
    order = books.order(entry.work_order)
    if order is None or order.closed_at is not None:
        yield Finding(Code.ORDER_HISTORY, "a share of no open order", index, found=entry.work_order)
    elif entry.places > order.terms.quantity:
        yield Finding(Code.ORDER_HISTORY, "a share beyond the quantity", index, found=entry.work_order)


def _order_closed(books: Books, index: int, entry: entries.OrderClosed) -> Iterator[Finding]:
    order = books.order(entry.work_order)
    if order is None or order.closed_at is not None:
        yield Finding(Code.ORDER_HISTORY, "closed without being open", index, found=entry.work_order)
    else:
        order.closed_at, order.at_close = entry.time, order.counts()


def _chips_imported(books: Books, index: int, entry: entries.ChipsImported) -> Iterator[Finding]:
    order = books.order(entry.work_order)
    if order is None:
        yield _unknown_order(index, entry.work_order)
    else:
        order.imported += entry.count


def _chips_personalized(books: Books, index: int, entry: entries.ChipsPersonalized) -> Iterator[Finding]:  # noqa: ARG001
    known = books.totals.known
    known[entry.key] = known.get(entry.key, 0) + entry.count  # it adds to a count, and contradicts nothing
    if entry.locked:
        locked = books.totals.locked
        locked[entry.key] = locked.get(entry.key, 0) + entry.count
    yield from ()


def _identities_imported(books: Books, index: int, entry: entries.IdentitiesImported) -> Iterator[Finding]:
    known, name = books.totals.known, identities(entry.method, entry.product)
    known[name] = known.get(name, 0) + entry.count
    if not books.knows_product(entry.product):
        yield Finding(Code.PRODUCT_UNKNOWN, "identities of no known product", index, found=entry.product)


def _shared_primes_found(books: Books, index: int, entry: entries.SharedPrimesFound) -> Iterator[Finding]:
    for digest in entry.certificates:
        books.add_weak_key(index, digest)
        if books.certificate(digest) is None:
            detail = "a certificate that was not issued"
            yield Finding(Code.SHARED_PRIMES_HISTORY, detail, index, found=digest.hex())
    if entry.count != len(entry.certificates):
        detail = "it counts other than it names"
        expected, found = str(len(entry.certificates)), str(entry.count)
        yield Finding(Code.SHARED_PRIMES_HISTORY, detail, index, None, expected, found)


def _stamped(books: Books, index: int, entry: entries.Stamped) -> Iterator[Finding]:
    certificate = books.certificate(entry.certificate_sha256)
    if certificate is None:
        yield _off(Code.STAMP_HISTORY, "a stamp of a certificate that was not issued", index, entry)
        return
    if certificate.stamped_index is not None:
        yield _off(
            Code.STAMP_HISTORY, f"stamped twice, first by entry {certificate.stamped_index}", index, entry
        )
        return
    if certificate.revoked_index is not None:
        yield _off(
            Code.STAMP_HISTORY, f"stamped after entry {certificate.revoked_index} revoked it", index, entry
        )
    yield from _agrees(Code.STAMP_HISTORY, index, entry, certificate)
    order = books.order(certificate.work_order)
    if order is not None:
        yield from check_station(books, index, entry, order, None)
        order.stamped += 1
        order.stamped_revoked += certificate.revoked_index is not None
    books.stamped(certificate, index, entry)
    books.totals.stamped += 1


def _revoked(books: Books, index: int, entry: entries.Revoked) -> Iterator[Finding]:
    certificate = books.certificate(entry.certificate_sha256)
    if certificate is None:
        yield _off(Code.REVOCATION_HISTORY, "a certificate that was not issued", index, entry)
        return
    if certificate.revoked_index is not None:
        first = certificate.revoked_index
        yield _off(Code.REVOCATION_HISTORY, f"revoked twice, first by entry {first}", index, entry)
        return
    yield from _agrees(Code.REVOCATION_HISTORY, index, entry, certificate)
    if books.issued(certificate.index).certificate_serial != entry.certificate_serial:
        yield _off(Code.REVOCATION_HISTORY, "another certificate serial than was issued", index, entry)
    if entry.superseded_by is not None:
        books.totals.superseding[entry.chip_id] = (index, entry.superseded_by)
        if entry.reason != "superseded":
            yield _off(Code.REVOCATION_HISTORY, f"superseded, for the reason {entry.reason}", index, entry)
    books.revoked(certificate, index)
    books.totals.revoked += 1
    order = books.order(certificate.work_order)
    if order is not None:
        order.revoked += 1
        order.stamped_revoked += certificate.stamped_index is not None


def _refused(books: Books, index: int, entry: entries.RefusedCall) -> Iterator[Finding]:
    refused = books.totals.refused  # anybody may be refused anything
    refused[entry.code] = refused.get(entry.code, 0) + entry.count
    order = None if entry.work_order is None else books.order(entry.work_order)
    if order is not None:
        order.refused += entry.count
    books.add_refusal(index, entry)
    yield from ()


def _intent_open(books: Books, index: int, entry: entries.IntentOpen) -> Iterator[Finding]:
    totals = books.totals
    order = books.order(entry.work_order)
    if order is None:
        yield _unknown_order(index, entry.work_order)
        return
    if not order.terms.not_before <= entry.since <= order.terms.not_after:
        yield _off(Code.INTENT_HISTORY, "an intent that began outside its order's window", index, entry)
    latest = entry.time if totals.ahead_until is None else max(entry.time, totals.ahead_until)
    if entry.since - latest > SKEW:
        yield _off(Code.INTENT_HISTORY, "an intent that is older than its beginning", index, entry)
    books.put_intent(
        IntentState(
            index,
            entry.work_order,
            entry.number,
            entry.chip_id,
            entry.serial_number,
            entry.since,
            resolved=False,
        )
    )


def _issuer_changed(
    books: Books, index: int, entry: entries.IssuerActivated | entries.IssuerRetired
) -> Iterator[Finding]:
    yield from check_changed(books.issuers(index), index, entry)


def _intent_abandoned(books: Books, index: int, entry: entries.IntentAbandoned) -> Iterator[Finding]:
    if books.order(entry.work_order) is None:
        yield _unknown_order(index, entry.work_order)
    yield from check_abandoned(books.issuers(index), index, entry)


def _clock_accepted(books: Books, index: int, entry: entries.ClockAccepted) -> Iterator[Finding]:
    """Times may go back here, from where the log stands and to this entry's own time, and nothing that ended
    before may seem open again: what the books keep of the time that is taken back goes back with it."""
    totals, last = books.totals, books.totals.last_time
    if entry.clock_to != entry.time:
        expected, found = time_text(entry.time), time_text(entry.clock_to)
        yield Finding(Code.TIME_ORDER, "a clock is accepted at another time", index, None, expected, found)
    if last is not None and last - entry.clock_from > SKEW:
        expected, found = f"at least {time_text(last)}", time_text(entry.clock_from)
        yield Finding(Code.TIME_ORDER, "a clock goes back from another time", index, None, expected, found)
    if last is not None and last > entry.time:
        books.shift_times(entry.time, last - entry.time)
    if entry.clock_from > entry.time:
        totals.ahead_until = max(totals.ahead_until or entry.clock_from, entry.clock_from)
    totals.last_time = entry.time


def _crl_issued(books: Books, index: int, entry: entries.CrlIssued) -> Iterator[Finding]:
    totals = books.totals
    if entry.crl_number <= totals.crl_number:
        yield Finding(
            Code.CRL_HISTORY,
            "its number does not rise",
            index,
            None,
            f"> {totals.crl_number}",
            str(entry.crl_number),
        )
    if entry.count > totals.revoked:
        yield Finding(
            Code.CRL_HISTORY,
            "it lists more than was revoked",
            index,
            None,
            f"<= {totals.revoked}",
            str(entry.count),
        )
    totals.crl_number = max(totals.crl_number, entry.crl_number)


def _agrees(
    code: Code, index: int, entry: entries.Stamped | entries.Revoked, certificate: CertificateState
) -> Iterator[Finding]:
    for what, found, expected in (
        ("work order", entry.work_order, certificate.work_order),
        ("chip id", entry.chip_id, certificate.chip_id),
        ("serial number", entry.serial_number, certificate.serial_number),
    ):
        if found != expected:
            detail = f"another {what} than entry {certificate.index} issued"
            yield Finding(code, detail, index, entry.serial_number, expected, found)


def _off(
    code: Code, detail: str, index: int, entry: entries.Stamped | entries.Revoked | entries.IntentOpen
) -> Finding:
    return Finding(code, detail, index, entry.serial_number)


def _started(books: Books, index: int, entry: entries.SignerdStarted) -> Iterator[Finding]:
    runs = books.totals.runs
    earlier = books.add_run(entry.run, index)
    first = runs.get(entry.run.hex()) if earlier is None else earlier
    # Those that crashed stay open for ever: of so many, the eldest are long gone.
    while len(runs) >= MAX_OPEN_RUNS:
        del runs[next(iter(runs))]
    runs.setdefault(entry.run.hex(), index)
    if first is not None:
        detail = f"a signerd of the name of the one that entry {first} started"
        yield Finding(Code.RUN_HISTORY, detail, index, found=entry.run.hex())


def _stopped(books: Books, index: int, entry: entries.SignerdStopped) -> Iterator[Finding]:
    if books.totals.runs.pop(entry.run.hex(), None) is None:
        detail = "a signerd stopped that had not started, or had stopped already"
        yield Finding(Code.RUN_HISTORY, detail, index, found=entry.run.hex())


def _unknown_order(index: int, work_order: str) -> Finding:
    return Finding(Code.ORDER_UNKNOWN, "no such work order was opened", index, found=work_order)


_RULES: dict[type[Entry], Callable[[Books, int, Any], Iterator[Finding]]] = {
    entries.AdministratorsSet: _administrators_set,
    entries.ActionApproved: _action_approved,
    entries.KeysCommitted: _keys_committed,
    entries.IssuerActivated: _issuer_changed,
    entries.IssuerRetired: _issuer_changed,
    entries.StationAdded: _peer_added,
    entries.AuditorAdded: _peer_added,
    entries.StationRenewed: _peer_renewed,
    entries.AuditorRenewed: _peer_renewed,
    entries.RenewalChosen: _renewal_chosen,
    entries.StationRevoked: _peer_revoked,
    entries.AuditorRevoked: _peer_revoked,
    entries.OperationsCaAdded: _operations_ca_added,
    entries.OperationsCaActivated: _operations_ca_activated,
    entries.OperationsCaRetired: _operations_ca_retired,
    entries.CheckpointKeyAdded: check_log_key_added,
    entries.CheckpointKeyActivated: check_activated,
    entries.CheckpointKeyRetired: check_retired,
    entries.ProductAdded: _product_added,
    entries.OrderOpened: _order_opened,
    entries.ShareGiven: _share_given,
    entries.OrderClosed: _order_closed,
    entries.ChipsImported: _chips_imported,
    entries.ChipsPersonalized: _chips_personalized,
    entries.IdentitiesImported: _identities_imported,
    entries.Issued: issued,
    entries.Stamped: _stamped,
    entries.Revoked: _revoked,
    entries.RefusedCall: _refused,
    entries.IntentOpen: _intent_open,
    entries.IntentAbandoned: _intent_abandoned,
    entries.SharedPrimesFound: _shared_primes_found,
    entries.CrlIssued: _crl_issued,
    entries.ClockAccepted: _clock_accepted,
    entries.SignerdStarted: _started,
    entries.SignerdStopped: _stopped,
}
