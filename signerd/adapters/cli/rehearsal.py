"""What `order rehearse` and `order open` have in common: a list is linted chip by chip, results are printed.

The list is linted in the command's own process, so that a hundred thousand chips take nothing from the line.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec

from birthmark.v1 import admin_pb2
from signerd.adapters.checks import load_issuer
from signerd.adapters.cli.output import counted, plain, print_table
from signerd.config import load
from signerd.core.names import is_chip_id
from signerd.core.order import Place, WorkOrder
from signerd.core.order_file import ProductRevision, parse_order_file
from signerd.core.product import Product, parse_product
from signerd.core.rehearsal import form_problems
from signerd.core.sample import CERTIFICATE_SERIAL, Sampled, one_a_family, sample_key, spki_of, stand_in
from signerd.core.serial_number import parse_pattern
from signerd.errors import Code, Fault, Refused

PASSED = "passed: every board that is known of gets its certificate"
_AT_ONCE = 500  # chips between two looks of the progress bar
_MOST_SHOWN = 10
_REFUSED = admin_pb2.REHEARSAL_OUTCOME_REFUSED
_NOTE = admin_pb2.REHEARSAL_OUTCOME_NOTE


def longest(listed: Sequence[str]) -> list[str]:
    """Of a list, the ids in which a field finds fault if it does in any: the longest, the shortest, and one
    with each character that occurs at the beginning, within and at the end."""
    listed = [line for line in listed if is_chip_id(line)]  # of the others the ids are not known
    if not listed:
        return []
    chosen = {max(listed, key=len): None, min(listed, key=len): None}
    for places in (lambda chip_id: chip_id[:1], lambda chip_id: chip_id[-1:], set):
        seen: set[str] = set()
        for chip_id in listed:
            if not seen.issuperset(places(chip_id)):
                seen.update(places(chip_id))
                chosen[chip_id] = None
    return list(chosen)


def lint_listed(
    config: Path, order_toml: str, product_toml: str, listed: Sequence[str]
) -> admin_pb2.RehearsalCheck:
    """Every chip of a list through signerd's own linter."""
    product = parse_product(product_toml)
    order = parse_order_file(order_toml, lambda _name: ProductRevision(product, b""))
    problems: list[str] = []
    wrong = 0
    with counted("linting chips") as advance:
        for problem in _problems(config, order, product, listed, advance):
            wrong += 1
            if wrong <= _MOST_SHOWN:
                problems.append(problem)
    if not wrong:
        linted = sum(map(is_chip_id, listed))
        said = f"{linted}, each of them linted"
        if linted < len(listed):
            said += f"; {len(listed) - linted} by key or UEID, whose ids are not known"
        if len(listed) < order.quantity:
            said += f"; the order is for {order.quantity} boards"
        return admin_pb2.RehearsalCheck(check="list", outcome=admin_pb2.REHEARSAL_OUTCOME_OK, text=said)
    more = f"; and {wrong - _MOST_SHOWN} more" if wrong > _MOST_SHOWN else ""
    return admin_pb2.RehearsalCheck(check="list", outcome=_REFUSED, text="; ".join(problems) + more)


def demand_certifiable(config: Path, order_toml: str, product_toml: str, listed: Sequence[str]) -> None:
    """Raises Refused `invalid` if a chip of the list would get no certificate."""
    check = lint_listed(config, order_toml, product_toml, listed)
    if check.outcome == _REFUSED:
        raise Refused(Code.INVALID, f"{check.check}: {check.text}")


def passed(checks: Iterable[admin_pb2.RehearsalCheck]) -> bool:
    """False if one of them refuses the order."""
    return all(check.outcome != _REFUSED for check in checks)


def notes(checks: Iterable[admin_pb2.RehearsalCheck]) -> Iterator[str]:
    """What deserves a second look, and how long the line can go on."""
    for check in checks:
        if check.outcome == _NOTE or check.check == "validity":
            yield f"{check.check}: {check.text}"


def plain_checks(checks: Iterable[admin_pb2.RehearsalCheck]) -> list[dict[str, Any]]:
    """For JSON."""
    return [plain(check) for check in checks]


def print_checks(title: str, checks: Iterable[admin_pb2.RehearsalCheck]) -> None:
    """A table."""
    rows = [(check["check"], check["outcome"], check["text"]) for check in plain_checks(checks)]
    print_table(title, ("check", "outcome", "found"), rows)


def _problems(
    config: Path,
    order: WorkOrder,
    product: Product,
    listed: Sequence[str],
    advance: Callable[[int, int], None],
) -> Iterator[str]:
    issuer = stand_in(load_issuer(load(config)))
    if isinstance(issuer.key, ec.EllipticCurvePublicKey):
        # What signs here is thrown away with its signature. P-384 would take longer than all the rest of it.
        issuer = replace(issuer, throwaway=ec.generate_private_key(ec.SECP256R1()))
    key = sample_key(one_a_family(product.keys.accept)[0])
    spki = spki_of(key)
    serial = parse_pattern(order.serial_pattern).render(order.serial_start + order.quantity - 1)
    for number, chip_id in enumerate(listed, 1):
        if number % _AT_ONCE == 0:
            advance(number, len(listed))
        if (problem := next(form_problems(product, chip_id), None)) is not None:
            yield problem
            continue
        if not is_chip_id(chip_id):
            continue
        place = Place(
            work_order=order.work_order,
            product=order.product,
            chip_id=chip_id,
            number=order.quantity,
            serial_number=serial,
            certificate_serial=CERTIFICATE_SERIAL,
            moment=order.not_after,
        )
        try:
            Sampled(product, place, key).prepared(issuer, spki)
        except (ValueError, Fault) as error:
            yield f"chip {chip_id}: {error}"
