"""The rules that an `issued` entry must keep, given all that stands before it in the log."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime

from auditor.core.anchors import Anchor, is_stated, name_anchor
from auditor.core.books import Books, CertificateState, IntentState, OrderState
from auditor.core.clock import IN_FLIGHT, SKEW
from auditor.core.codes import Code
from auditor.core.counting import PSA_MAC, counted_under, known, mark
from auditor.core.entry import CHIP_KEY, LEVELS, Issued, Stamped
from auditor.core.findings import Finding
from auditor.core.forms import render_serial, time_text

UNPROVED = "none"
_BY_LAYERS = "x509"  # the method by which a chip's name may be what its firmware says
_Same = Callable[[CertificateState], bool]  # whether a certificate is of the chip in question
_SIGNED = frozenset({"x509", "nrf91", "tpm2"})  # methods whose evidence a key signs, whatever the chip
_MEASURING = frozenset({"x509", "psa-token", "nrf91"})  # methods whose evidence may measure firmware


def issued(books: Books, index: int, entry: Issued) -> Iterator[Finding]:
    """Checks an `issued` entry, and enters it."""
    chip, anchored = _chip(books, index, entry)
    yield from anchored
    related = books.related(entry, chip)
    own = [certificate for certificate in related if certificate.chip == chip]
    order = books.order(entry.work_order)
    twice = list(_one_a_chip(books, index, entry, order, own))
    # A chip that comes again under another name, and may not: place and serial number are the name's then,
    # and one lie is one finding.
    renamed = bool(twice) and all(certificate.chip_id != entry.chip_id for certificate in own)
    same = _by_name(entry.chip_id) if renamed else _by_chip(chip)
    intent = books.intent(entry.work_order, entry.number)
    if order is None:
        yield _finding(
            Code.ORDER_UNKNOWN, "no such work order was opened", index, entry, found=entry.work_order
        )
    else:
        yield from _terms(index, entry, order)
        yield from _open(index, entry, order, intent)
        yield from check_station(books, index, entry, order, intent)
        yield from _place(index, entry, order, related, same)
        yield from _serial(index, entry, order, related, same)
    yield from _unique(books, index, entry, related)
    yield from twice
    yield from _attested(books, index, entry, chip)
    yield from _counted(books, index, entry, order, own)
    if intent is not None and not intent.resolved:
        yield from _resolve(books, index, entry, intent)
    _enter(books, index, entry, order, chip)


def _chip(books: Books, index: int, entry: Issued) -> tuple[int, list[Finding]]:
    """The chip, as an object: the one that its anchors, or an id that more than its firmware states, belong
    to, whatever it is called."""
    owners = books.owners(shown_anchors(entry))
    for other in _of_the_same_chip(books, entry):
        owners.setdefault(other.chip, other.index)
    if len(owners) <= 1:
        return min(owners, default=index), []
    entries = ", ".join(str(said) for said in sorted(owners.values()))
    detail = f"its chip is two others: those of entries {entries}"
    return min(owners), [_finding(Code.ANCHOR_HISTORY, detail, index, entry, found=entry.chip_id)]


def shown_anchors(entry: Issued) -> tuple[Anchor, ...]:
    """What the entry says that is one chip's. Form 1 says nothing of the kind."""
    if entry.anchors is None:
        return ()
    stated = entry.method != _BY_LAYERS or is_stated(entry.chip_id, entry.anchors)
    return (*entry.anchors, name_anchor(entry.chip_id)) if stated else entry.anchors


def _of_the_same_chip(books: Books, entry: Issued) -> Iterator[CertificateState]:
    """Earlier certificates of the chip that no anchor tells: of entries of form 1, which name it by its id;
    and of its board, whose serial number stays. An id that firmware wrote is no proof by itself."""
    named, board = books.newest_named(entry.chip_id), books.newest_numbered(entry.serial_number)
    label = entry.anchors and name_anchor(entry.chip_id) not in shown_anchors(entry)
    numbered = named is not None and named.serial_number == entry.serial_number
    if named is not None and (numbered or not label) and not books.has_anchors(named.chip):
        yield named
    of_form_1 = board is not None and not books.has_anchors(board.chip)
    if board is not None and entry.anchors is not None and (of_form_1 or board.chip_id == entry.chip_id):
        yield board


def _by_chip(chip: int) -> _Same:
    return lambda other: other.chip == chip


def _by_name(chip_id: str) -> _Same:
    return lambda other: other.chip_id == chip_id


def check_station(
    books: Books, index: int, entry: Issued | Stamped, order: OrderState, intent: IntentState | None
) -> Iterator[Finding]:
    """The station was listed on the order, registered before, and not revoked."""
    peer = books.peer(entry.station)
    reason = None
    if entry.station not in order.terms.stations:
        reason = f"the station is not on work order {order.terms.work_order}"
    elif peer is None:
        reason = "the station was not registered before"
    elif peer.revoked_at is not None and not _in_flight(peer.revoked_at, entry.time, intent):
        reason = f"the station was revoked at {time_text(peer.revoked_at)}"
    if reason is not None:
        yield Finding(Code.STATION_NOT_ALLOWED, reason, index, entry.serial_number, found=entry.station)


def _in_flight(ended: datetime, moment: datetime, intent: IntentState | None) -> bool:
    """True if what stands at `moment` may have begun before `ended`: shortly before, or as an intent that
    a crash held up and that the ledger lists."""
    return moment - ended <= IN_FLIGHT or (intent is not None and intent.since <= ended)


def _terms(index: int, entry: Issued, order: OrderState) -> Iterator[Finding]:
    terms = order.terms
    if entry.product != terms.product:
        yield _finding(
            Code.ORDER_TERMS, "another product than ordered", index, entry, terms.product, entry.product
        )
    if LEVELS.index(entry.level) < LEVELS.index(terms.level):
        yield _finding(Code.LEVEL, "less evidence than ordered", index, entry, terms.level, entry.level)
    if (entry.method == UNPROVED) != (entry.level == LEVELS[0]):
        found = f"method {entry.method}, level {entry.level}"
        yield _finding(
            Code.LEVEL, "method `none` and level `none` belong together", index, entry, found=found
        )
    yield from _method(index, entry)


def _method(index: int, entry: Issued) -> Iterator[Finding]:
    """What the method can show, and what it cannot."""
    signed = entry.attester_sha256 is not None
    if signed != (entry.method in _SIGNED) and entry.method != "psa-token":
        yield _finding(Code.LEVEL, "method and attestation key do not go together", index, entry)
    if entry.measured and (entry.method not in _MEASURING or entry.level != LEVELS[-1]):
        detail = "measured firmware, although the method measures none or the level says that none counted"
        yield _finding(Code.LEVEL, detail, index, entry, found=f"method {entry.method}, level {entry.level}")
    for name, version in entry.measured.items():
        claimed = entry.claims.firmware.get(name, (version, b""))[0]
        if claimed != version:
            detail = f"firmware {name} is claimed otherwise than measured"
            yield _finding(Code.LEVEL, detail, index, entry, version, claimed)


def _open(index: int, entry: Issued, order: OrderState, intent: IntentState | None) -> Iterator[Finding]:
    terms, when = order.terms, time_text(entry.time)
    if order.closed_at is not None and not _in_flight(order.closed_at, entry.time, intent):
        expected = f"before {time_text(order.closed_at)}"
        yield _finding(Code.ORDER_NOT_OPEN, "issued after its order was closed", index, entry, expected, when)
    elif terms.not_before - entry.time > SKEW or not _in_flight(terms.not_after, entry.time, intent):
        window = f"{time_text(terms.not_before)} to {time_text(terms.not_after)}"
        yield _finding(Code.ORDER_NOT_OPEN, "issued outside its order's window", index, entry, window, when)


def _place(
    index: int, entry: Issued, order: OrderState, related: list[CertificateState], same: _Same
) -> Iterator[Finding]:
    here = [certificate for certificate in related if certificate.work_order == entry.work_order]
    if not any(same(certificate) for certificate in here):
        order.places += 1
        order.unproved += entry.method == UNPROVED
        if max(order.places, entry.number) > order.terms.quantity:
            found = f"place {entry.number}, chip {order.places} of the order"
            yield _finding(
                Code.OVER_QUANTITY, "more boards than ordered", index, entry, str(order.terms.quantity), found
            )
    for other in here:
        if (other.number == entry.number) != (same(other)):
            detail = f"chip and place do not go together as in entry {other.index}"
            expected = f"{other.chip_id} {other.number}"
            yield _finding(Code.NUMBER, detail, index, entry, expected, f"{entry.chip_id} {entry.number}")
            break


def _serial(
    index: int, entry: Issued, order: OrderState, related: list[CertificateState], same: _Same
) -> Iterator[Finding]:
    for other in related:
        if (other.serial_number == entry.serial_number) != (same(other)):
            detail = f"chip and serial number do not go together as in entry {other.index}"
            expected = f"{other.chip_id} {other.serial_number}"
            found = f"{entry.chip_id} {entry.serial_number}"
            yield _finding(Code.SERIAL_NUMBER, detail, index, entry, expected, found)
            return
    place = (entry.work_order, entry.number)
    if any(same(other) or (other.work_order, other.number) == place for other in related):
        return  # the chip keeps what it has; and a place given twice is a finding of its own
    expected = render_serial(order.terms.serial_pattern, order.terms.serial_start + entry.number - 1)
    if entry.serial_number != expected:
        detail = "not the serial number of this place"
        yield _finding(Code.SERIAL_NUMBER, detail, index, entry, expected, entry.serial_number)


def _unique(books: Books, index: int, entry: Issued, related: list[CertificateState]) -> Iterator[Finding]:
    others = [(other.index, books.issued(other.index)) for other in related]
    for earlier, other in others:
        if other.spki_sha256 == entry.spki_sha256:
            detail = f"entry {earlier} certified this key already"
            yield _finding(Code.KEY_TWICE, detail, index, entry, found=entry.spki_sha256.hex())
            return
    for what in ("certificate_sha256", "certificate_serial", "challenge"):
        value = getattr(entry, what)
        used = next((earlier for earlier, other in others if getattr(other, what) == value), None)
        if used is not None:
            yield _finding(
                Code.VALUE_REUSED, f"{what} of entry {used} again", index, entry, found=value.hex()
            )


def _one_a_chip(
    books: Books, index: int, entry: Issued, order: OrderState | None, own: list[CertificateState]
) -> Iterator[Finding]:
    names = {entry.chip_id, *(certificate.chip_id for certificate in own)}
    waiting = next(filter(None, [books.totals.superseding.pop(name, None) for name in names]), None)
    if not own:
        if entry.supersedes is not None:
            yield _finding(Code.CHIP_TWICE, "supersedes a certificate that this chip never had", index, entry)
        return
    last = own[0]
    reissue = "never" if order is None else order.terms.reissue
    if last.revoked_index is None:
        reason = "still counts"
    elif reissue == "never" or (reissue == "before-stamp" and last.stamped_index is not None):
        reason = f"may not be followed by another: reissue is {reissue}"
    elif entry.supersedes != (None if waiting is None else last.certificate_sha256):
        reason = "is not what this one says that it supersedes"
    elif waiting is not None and waiting[1] != entry.spki_sha256:
        reason = "was superseded by another key"
    else:
        return
    detail = f"the chip's certificate of entry {last.index} {reason}"
    yield _finding(Code.CHIP_TWICE, detail, index, entry, found=entry.chip_id)


def _attested(books: Books, index: int, entry: Issued, chip: int) -> Iterator[Finding]:
    """An attestation key is one chip's, on all orders and by whatever method; a chip may have several
    (docs/evidence.md)."""
    if entry.attester_sha256 is None:
        return
    other = books.other_chip_of(entry, chip)
    if other is not None:
        detail = f"the attestation key is that of chip {other.chip_id} in entry {other.index}"
        yield _finding(Code.ATTESTER, detail, index, entry, other.chip_id, entry.chip_id)


def _counted(
    books: Books, index: int, entry: Issued, order: OrderState | None, own: list[CertificateState]
) -> Iterator[Finding]:
    """New chips must have been counted before: personalized, imported, or put on the order's list."""
    name, totals = counted_under(entry), books.totals
    before = {certificate.counted for certificate in own}
    tallies = []
    if name and not any(counted.startswith(f"{name}/") for counted in before):
        tallies.append(("chips", totals.shown, totals.known))
    if name in {CHIP_KEY, PSA_MAC} and entry.level == LEVELS[-1] and mark(entry) not in before:
        tallies.append(("locked chips", totals.shown_locked, totals.locked))
    exceeded = False
    for what, shown, counted in tallies:
        shown[name] = shown.get(name, 0) + 1
        least = known(counted, name)
        if shown[name] > least and not exceeded:
            exceeded = True
            detail = f"more {what} than were personalized or imported: {name}"
            found = str(shown[name])
            yield _finding(Code.CHIPS_UNCOUNTED, detail, index, entry, f"at most {least}", found)
    if entry.method == UNPROVED and not own and order is not None and order.unproved > order.imported:
        detail = "more chips than stand on the order's list"
        found = str(order.unproved)
        yield _finding(Code.CHIPS_UNCOUNTED, detail, index, entry, f"at most {order.imported}", found)


def _resolve(books: Books, index: int, entry: Issued, intent: IntentState) -> Iterator[Finding]:
    expected = f"{intent.chip_id} {intent.serial_number}"
    found = f"{entry.chip_id} {entry.serial_number}"
    if found != expected:
        detail = f"another board than the intent of entry {intent.index}"
        yield _finding(Code.INTENT_HISTORY, detail, index, entry, expected, found)
    books.put_intent(replace(intent, resolved=True))


def _enter(books: Books, index: int, entry: Issued, order: OrderState | None, chip: int) -> None:
    books.add_certificate(index, entry, chip)
    books.add_anchors(shown_anchors(entry), chip, index)
    totals = books.totals
    totals.certificates += 1
    totals.levels[entry.level] = totals.levels.get(entry.level, 0) + 1
    if order is not None:
        order.certificates += 1
        order.highest = max(order.highest, entry.number)


def _finding(
    code: Code, detail: str, index: int, entry: Issued, expected: str = "", found: str = ""
) -> Finding:
    return Finding(code, detail, index, entry.serial_number, expected, found)
