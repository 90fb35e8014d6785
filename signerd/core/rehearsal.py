"""Rehearsal of a work order: whether every board that it could have gets a certificate.

What can be known before the first board is looked at here, at the desk: names filled with the longest and the
oddest ids, serial numbers to the last one, subjects over all orders, validity to the window's end, keys,
chips, firmware bundle. Pure: the linters (`adapters/linting.py`) get `samples`.

    result = rehearse(order, product, others, issuer=issuer, now=now, listed=())
    result.passed, result.rows, result.samples
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Protocol

from signerd.core.chip_form import ANY
from signerd.core.chip_list import check_line
from signerd.core.evidence.rules import ListedBy
from signerd.core.names import KeyType, Reissue, is_chip_id
from signerd.core.order import Place, WorkOrder
from signerd.core.product import Product, chip_form
from signerd.core.profile import Issuer, Names, chain_problems, name_problems
from signerd.core.sample import CERTIFICATE_SERIAL, Sampled, is_rsa, one_a_family, sample_key
from signerd.core.serial_number import Pattern, overlap, parse_pattern
from signerd.core.subjects import Subject, Verdict, compare
from signerd.core.validity import NO_EXPIRY, check_validity

_MOST_SHOWN = 6  # reasons a row; a template may be wrong in as many ways as there are characters
_YEAR = timedelta(days=365.25)
# RFC 8813 §3: no encipherment with keys for ECDSA. RFC 3279 §2.3.1: no agreement with RSA.
_NOT_EC = frozenset({"keyEncipherment", "dataEncipherment"})
_NOT_RSA = frozenset({"keyAgreement"})
_WITHOUT_HMAC = frozenset({"esp32", "esp32c2"})


class Outcome(StrEnum):
    """Of one check."""

    OK = "ok"
    NOTE = "note"  # deserves a second look
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Row:
    """One check and what it found."""

    check: str
    outcome: Outcome
    text: str


@dataclass(frozen=True, slots=True)
class Opened:
    """Another order, and the product's revision that it was opened with."""

    order: WorkOrder
    product: Product


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """What an order came to. `samples` are boards whose certificates the full linter is to see."""

    rows: tuple[Row, ...]
    samples: tuple[Sampled, ...] = field(repr=False)

    @property
    def passed(self) -> bool:
        """False if the order must not be opened."""
        return all(row.outcome is not Outcome.REFUSED for row in self.rows)


def rehearse(
    order: WorkOrder,
    product: Product,
    others: Sequence[Opened],
    *,
    issuer: Issuer,
    now: datetime,
    listed: Sequence[str],
) -> Rehearsal:
    """Looks at everything that is known of an order.

    Args:
        order: as its file says.
        product: the revision that it is to be opened with.
        others: all orders there are, closed ones too.
        issuer: the sub-CA.
        now: aware, UTC, whole seconds.
        listed: chip ids of its list, those that are known; the longest and the oddest are enough.
    """
    chips = _chips(product, listed)
    rows = [
        _window(order, now),
        _chip_row(product, listed),
        _names(order, product, others, chips),
        _chain(order, product, others, chips, issuer),
        _subjects(order, product, others),
        _serials(order, others),
        _validity(order, product, issuer, now),
        _keys(product),
        *_bundle(order, product),
    ]
    rehearsal = Rehearsal(tuple(rows), ())
    if not rehearsal.passed:
        return rehearsal
    return Rehearsal(tuple(rows), tuple(_samples(order, product, chips, now)))


def values_of(order: Numbered, serial: str, number: int, chip_id: str) -> dict[str, str]:
    """What templates are filled with, for one board of an order."""
    return {
        "serial": serial,
        "chip_id": chip_id,
        "number": str(number),
        "product": order.product,
        "work_order": order.work_order,
    }


class Numbered(Protocol):
    """What names and serial numbers an order gives: a `WorkOrder`, or the message that stands for one."""

    @property
    def work_order(self) -> str:
        """Its name."""

    @property
    def product(self) -> str:
        """Its product's name."""

    @property
    def quantity(self) -> int:
        """How many boards."""

    @property
    def serial_pattern(self) -> str:
        """With its one number."""

    @property
    def serial_start(self) -> int:
        """The first number."""


def form_problems(product: Product, line: str) -> Iterator[str]:
    """Why one line of an order's list could never count, whatever its certificate."""
    if check_line(line) not in product.evidence.listed_by:
        known = ", ".join(product.evidence.listed_by)
        yield f"{line}: product {product.name} lists chips by {known} (listed_by)"
    elif is_chip_id(line):
        form = chip_form(product.evidence)
        if not form.matches(line):
            yield f"chip {line} is not of the product's form, {form.text}"


def line_problems(order: Numbered, product: Product, line: str) -> Iterator[str]:
    """What is wrong with one line of an order's list, for the order's last and longest serial number. Of a
    chip that is listed by something else, the id is not known."""
    wrong = list(form_problems(product, line))
    if wrong or not is_chip_id(line):
        yield from wrong
        return
    serial, number = _last(order)
    for problem in name_problems(product.certificate, values_of(order, serial, number, line)):
        yield f"chip {line}: {problem}"


def needs_list(product: Product) -> bool:
    """True if each chip of the product's orders stands on the order's list, with its id."""
    rules = product.evidence
    if rules.chips == "listed":
        return rules.listed_by == (ListedBy.ID,)
    return set(rules.methods) == {"none"}


def _chips(product: Product, listed: Sequence[str]) -> list[str]:
    """The chip ids to fill templates with: of the list where each chip stands on it, else of the form."""
    form = chip_form(product.evidence)
    if needs_list(product):
        if listed:
            return list(listed)
        if product.evidence.chip_ids is None:
            return [form.plain()]
    return list(form.extremes())


def _window(order: WorkOrder, now: datetime) -> Row:
    said = f"{order.not_before:%Y-%m-%d} to {order.not_after:%Y-%m-%d}, {order.quantity} boards"
    if order.not_after < now:
        return Row("window", Outcome.REFUSED, f"{said}: it is over")
    return Row("window", Outcome.OK, said)


def _chip_row(product: Product, listed: Sequence[str]) -> Row:
    form = chip_form(product.evidence)
    if needs_list(product) and listed:
        return Row(
            "chips", Outcome.OK, f"those of the list; the longest id has {max(map(len, listed))} characters"
        )
    if needs_list(product) and product.evidence.chip_ids is None:
        return Row("chips", Outcome.NOTE, "none listed yet: each is looked at when it is listed")
    said = "any chip id of 1 to 64 characters" if form is ANY else f"of the form {form.text}"
    return Row("chips", Outcome.OK, said)


def _names(order: WorkOrder, product: Product, others: Sequence[Opened], chips: Iterable[str]) -> Row:
    problems: dict[str, str] = {}
    for serial, number in _boards(order, others):
        for chip_id in chips:
            values = values_of(order, serial, number, chip_id)
            for problem in name_problems(product.certificate, values):
                problems.setdefault(problem, f"{problem} (chip {chip_id}, serial number {serial})")
    if not problems:
        return Row(
            "names", Outcome.OK, f"{_templates(product)} fit, with the longest ids and to the last board"
        )
    shown = "; ".join(list(problems.values())[:_MOST_SHOWN])
    return Row("names", Outcome.REFUSED, shown + _name_remedy(product, problems))


def _name_remedy(product: Product, problems: Mapping[str, str]) -> str:
    if product.evidence.chip_ids is None and any("{chip_id}" in problem for problem in problems):
        return ". If the product's chip ids are narrower, say so: evidence.chip_ids; or have each listed"
    return ""


def _templates(product: Product) -> str:
    profile = product.certificate
    count = len(profile.subject) + len(profile.san_dns) + len(profile.san_uri)
    return f"{count} name" + ("s" if count > 1 else "")


def _chain(
    order: WorkOrder, product: Product, others: Sequence[Opened], chips: Sequence[str], issuer: Issuer
) -> Row:
    """What the CAs above the boards allow: names and purposes (RFC 5280 §4.2.1.10 and §4.2.1.12)."""
    allows = issuer.allows
    problems: dict[str, str] = {}
    for serial, number in _boards(order, others):
        for chip_id in (*chips, *_like_dns(product, chips)):
            values = values_of(order, serial, number, chip_id)
            try:
                names = Names.of(product.certificate, values)
            except ValueError:  # the row before says why
                continue
            for problem in chain_problems(product.certificate, names, issuer):
                problems.setdefault(problem, f"{problem} (chip {chip_id}, serial number {serial})")
        if not allows.constraints:
            break  # what else there is to say is of no board alone
    if problems:
        shown = "; ".join(list(problems.values())[:_MOST_SHOWN])
        return Row("chain", Outcome.REFUSED, f"the CAs above the boards forbid it: {shown}")
    constrained = f"; names within what {len(allows.constraints)} of them allow" if allows.constraints else ""
    return Row("chain", Outcome.OK, f"the CAs above the boards allow it{constrained}")


def _like_dns(product: Product, chips: Sequence[str]) -> Iterator[str]:
    """Ids with a dot within, where the form has them: a common name of one may be held against DNS names."""
    form = chip_form(product.evidence)
    for chip_id in {min(chips, key=len), form.plain()}:
        for place in range(1, len(chip_id) - 1):
            if form.matches(dotted := f"{chip_id[:place]}.{chip_id[place + 1 :]}"):
                yield dotted


def _boards(order: WorkOrder, others: Sequence[Opened]) -> list[tuple[str, int]]:
    """Serial and place numbers at both ends; a chip that comes again keeps the serial of its first order."""
    pattern = parse_pattern(order.serial_pattern)
    numbers = [1, order.quantity, *_longer(1, order.quantity), *_longer(order.serial_start, order.quantity)]
    boards = [(pattern.render(order.serial_start + number - 1), number) for number in numbers]
    if order.reissue is not Reissue.NEVER:
        for other in others:
            if other.order.product == order.product:
                boards += [(_last(other.order)[0], order.quantity)]
    return list(dict.fromkeys(boards))


def _longer(first: int, count: int) -> Iterator[int]:
    """The places, of `count` numbers from `first` on, where a number has a digit more than the one before.

    What stands behind it moves, and a label's third and fourth place are not like others.
    """
    power = 10
    while power < first + count:
        if power > first:
            yield power - first + 1
        power *= 10


def _last(order: Numbered) -> tuple[str, int]:
    pattern = parse_pattern(order.serial_pattern)
    return pattern.render(order.serial_start + order.quantity - 1), order.quantity


def _subjects(order: WorkOrder, product: Product, others: Sequence[Opened]) -> Row:
    own = Subject.of(order, product.certificate)
    if not own.tells_boards_apart:
        return Row(
            "subjects",
            Outcome.REFUSED,
            "two boards would have one subject, here or in the next order: it needs {serial} or {chip_id}, or"
            " {work_order} beside {number}, set off from what varies beside it",
        )
    unsure = []
    for other in others:
        match compare(own, Subject.of(other.order, other.product.certificate)):
            case Verdict.EQUAL:
                name = other.order.work_order
                return Row(
                    "subjects", Outcome.REFUSED, f"a board of work order {name} could have the same subject"
                )
            case Verdict.UNKNOWN:
                unsure.append(other.order.work_order)
            case Verdict.DISTINCT:
                pass
    if unsure:
        shown = ", ".join(unsure[:_MOST_SHOWN])
        said = f"a chip id that looks like names of work order {shown} could bring one subject to two boards"
        return Row("subjects", Outcome.NOTE, said)
    return Row(
        "subjects", Outcome.OK, f"differ from board to board, and from those of {len(others)} other orders"
    )


def _serials(order: WorkOrder, others: Sequence[Opened]) -> Row:
    first, last = parse_pattern(order.serial_pattern).render(order.serial_start), _last(order)[0]
    said = f"{first} to {last}"
    for other in others:
        if overlap(*_folded(order), *_folded(other.order)):
            return Row(
                "serial numbers",
                Outcome.REFUSED,
                f"{said}: they overlap those of work order {other.order.work_order}, or differ from them by"
                " letter case alone: take another serial_pattern or serial_start",
            )
    if len(first) != len(last):
        return Row("serial numbers", Outcome.NOTE, f"{said}: the last is longer than the first")
    return Row("serial numbers", Outcome.OK, said)


def _folded(order: WorkOrder) -> tuple[Pattern, range]:
    pattern = parse_pattern(order.serial_pattern)
    folded = Pattern(pattern.prefix.lower(), pattern.width, pattern.suffix.lower())
    return folded, range(order.serial_start, order.serial_start + order.quantity)


def _validity(order: WorkOrder, product: Product, issuer: Issuer, now: datetime) -> Row:
    """Of the first certificate that there may be, and of the last."""
    profile, ends = product.certificate, issuer.allows.ends
    first, last = max(order.not_before, now), max(order.not_after, now)
    try:
        profile.check_written()
    except ValueError as error:
        return Row("validity", Outcome.REFUSED, str(error))
    try:
        for moment in (first, last):
            begins = profile.begins(moment, issuer.allows.begins)
            check_validity(begins, profile.expires(moment), ends, issuer.limits)
    except ValueError as error:
        return Row(
            "validity",
            Outcome.REFUSED,
            f"a board certified on {moment:%Y-%m-%d}: {error}{_remedy(product, ends)}",
        )
    until, why = certifies_until(product, ends)
    left = max(until - now, timedelta())
    return Row(
        "validity",
        Outcome.OK,
        f"boards can be certified until {until:%Y-%m-%d}, {left / _YEAR:.1f} years from now: {why}",
    )


def certifies_until(product: Product, issuer_ends: datetime) -> tuple[datetime, str]:
    """When the line stops, and what stops it."""
    profile = product.certificate
    ends = f"the sub-CA, or a CA above it, ends at {issuer_ends:%Y-%m-%d}"
    if profile.validity_days is not None:
        days = profile.validity_days
        return issuer_ends - timedelta(days=days), f"{ends}, and certificates are valid for {days} days"
    fixed = profile.expires(issuer_ends)
    if fixed == NO_EXPIRY:
        return issuer_ends, f"{ends}; certificates do not expire"
    return fixed, f"certificates end at {fixed:%Y-%m-%d}"


def _remedy(product: Product, issuer_ends: datetime) -> str:
    days = product.certificate.validity_days
    if days is None:
        return (
            ". In the product, certificate.not_after is a day between the window's end and the sub-CA's, or"
            " 99991231235959Z where authority.allow_no_expiry says so; or take validity_days"
        )
    latest = issuer_ends - timedelta(days=days)
    return f". Shorten validity_days, end the window by {latest:%Y-%m-%d}, or take a sub-CA that ends later"


def _keys(product: Product) -> Row:
    usage, accepted = set(product.certificate.key_usage), product.keys.accept
    said = ", ".join(accepted)
    for key_type in accepted:
        wrong = usage & (_NOT_RSA if is_rsa(key_type) else _NOT_EC)
        if wrong:
            source = "RFC 3279 §2.3.1" if is_rsa(key_type) else "RFC 8813 §3"
            text = f"{said}: {', '.join(sorted(wrong))} is no usage of {key_type} keys ({source})"
            return Row("keys", Outcome.REFUSED, text)
    if product.evidence.methods == ("nrf91",) and KeyType.P256 not in accepted:
        return Row("keys", Outcome.REFUSED, f"{said}: the modem makes P-256 keys alone")
    return Row("keys", Outcome.OK, said)


def _bundle(order: WorkOrder, product: Product) -> Iterator[Row]:
    wanted = product.chip
    if wanted is not None and wanted in _WITHOUT_HMAC and product.evidence.methods == ("hmac-sha256",):
        yield Row("silicon", Outcome.REFUSED, f"{wanted} has no HMAC peripheral: no board has this evidence")
    bundle = order.bundle
    if bundle is None:
        return
    if bundle.chip is None:
        said = "its chip is not named: `birthmark-agent bundle show --order` prints it"
        yield Row("bundle", Outcome.NOTE if wanted is None else Outcome.REFUSED, said)
    elif wanted is not None and bundle.chip != wanted:
        yield Row(
            "bundle", Outcome.REFUSED, f"it is for {bundle.chip}, and the product's boards have {wanted}"
        )
    else:
        yield Row("bundle", Outcome.OK, f"for {bundle.chip}")


def _samples(order: WorkOrder, product: Product, chips: Sequence[str], now: datetime) -> Iterator[Sampled]:
    """The first board with a plain chip id, the last with the longest, for a key of each family."""
    moments = max(order.not_before, now), max(order.not_after, now)
    first = parse_pattern(order.serial_pattern).render(order.serial_start), 1
    boards = [(first, chips[0], moments[0]), (_last(order), max(chips, key=len), moments[1])]
    for key_type in one_a_family(product.keys.accept):
        for (serial, number), chip_id, moment in boards:
            place = Place(
                work_order=order.work_order,
                product=order.product,
                chip_id=chip_id,
                number=number,
                serial_number=serial,
                certificate_serial=CERTIFICATE_SERIAL,
                moment=moment,
            )
            yield Sampled(product, place, sample_key(key_type))
