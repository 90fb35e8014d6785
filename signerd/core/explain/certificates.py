"""Certificates: what stands in them, and what each method would make of them as a chain.

Without a product the last certificate stands for the root: what a product pins need not be self-signed. The
chip id is then told for each rule that a product could have.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from itertools import pairwise
from typing import Final

from pydantic import ValidationError

from signerd.core.evidence import METHODS
from signerd.core.evidence.certificate import read_certificate, readable, same_name
from signerd.core.evidence.errors import EvidenceError
from signerd.core.evidence.rules import EvidenceRules
from signerd.core.explain.methods import judge, judge_certificates
from signerd.core.explain.remedies import EVIDENCE_PAGE
from signerd.core.explain.report import Line, MethodVerdict, State, shown
from signerd.core.file_problems import in_one_line, problems

# Rules for the chip id that are tried where no product says one; patterns are for the product to write.
CHIP_ID_RULES: Final[tuple[str | dict[str, str], ...]] = (
    "serialNumber",
    "CN",
    {"from": "san-directory-name", "attribute": "serialNumber"},
    {"from": "san-hardware-serial-hex"},
    {"from": "certificate-serial"},
    {"from": "ueid"},
    {"from": "device-id-key"},
    {"from": "key"},
)


def explain_certificates(
    certificates: Sequence[bytes], rules: EvidenceRules | None, now: datetime, *, method: str = ""
) -> tuple[list[Line], tuple[MethodVerdict, ...]]:
    """What is to say of them, and each method's verdict.

    Args:
        certificates: DER, in the file's order.
        rules: of a product; None: none was named.
        now: aware; at which they must be valid.
        method: they stand in evidence of this method: it alone is asked, and nothing is left aside.
    """
    lines = [_described(der, number) for number, der in enumerate(certificates)] + _order(certificates)
    if rules is None:
        taking = tuple(name for name in METHODS if METHODS[name].traits.takes_chains)
        more, verdicts = _without_product(certificates, now, (method,) if method else taking)
        return lines + more, verdicts
    path, more = (certificates, []) if method else _without_root(certificates, rules)
    return lines + more, judge_certificates(path, rules, now)


def _without_root(certificates: Sequence[bytes], rules: EvidenceRules) -> tuple[Sequence[bytes], list[Line]]:
    """Files of chains often end with the root, or with the CA that is pinned; evidence must not."""
    if len(certificates) < 2:
        return certificates, []
    if _is_pinned(certificates[-1], rules):
        what = "pinned by the product"
    elif _self_issued(certificates[-1]):
        what = "self-signed"
    else:
        return certificates, []
    return certificates[:-1], [
        Line(
            State.NOTE,
            f"the last certificate is {what}, and was left aside: evidence goes without its root",
            "leave it out of what the board sends",
        )
    ]


def _without_product(
    certificates: Sequence[bytes], now: datetime, methods: Sequence[str]
) -> tuple[list[Line], tuple[MethodVerdict, ...]]:
    if len(certificates) == 1:
        return [_alone(certificates[0])], ()
    root = Line(
        State.NOTE, "no product was named: the last certificate stands for the root that one would pin"
    )
    verdicts = []
    for method in methods:
        verdicts += _by_each_rule(method, certificates, now)
    return [root], tuple(verdicts)


def _alone(der: bytes) -> Line:
    try:
        read_certificate(der)
    except EvidenceError as error:
        return Line(State.WRONG, shown(str(error)), EVIDENCE_PAGE)
    return Line(
        State.OPEN,
        "one certificate says nothing of its issuer",
        "name a product whose roots hold the issuer (--product FILE), or give the issuers behind it",
    )


def _by_each_rule(method: str, certificates: Sequence[bytes], now: datetime) -> list[MethodVerdict]:
    """The verdict by each rule that names a chip; one refusal, where none does."""
    sections = []
    for rule in CHIP_ID_RULES:
        try:
            sections.append(_section(method, certificates[-1], rule))
        except ValidationError as error:
            if not sections and rule == CHIP_ID_RULES[0]:
                reason = f"the last certificate is no root: {shown(in_one_line(problems(error)))}"
                return [MethodVerdict(method, reason, accepted=False, remedy=EVIDENCE_PAGE)]
            # A rule that the method does not have.
    found = [judge(method, certificates[:-1], section, now) for section in sections]
    holding = [verdict for verdict in found if verdict.accepted]
    return holding or [replace(found[0], chip_id_rule="")]


def _section(method: str, root: bytes, rule: str | dict[str, str]) -> EvidenceRules:
    pem = _pem(root)
    return EvidenceRules.model_validate({"methods": [method], method: {"roots": [pem], "chip_id": rule}})


def _pem(der: bytes) -> str:
    text = base64.encodebytes(der).decode("ascii")
    return f"-----BEGIN CERTIFICATE-----\n{text}-----END CERTIFICATE-----\n"


def _is_pinned(der: bytes, rules: EvidenceRules) -> bool:
    return any(der == root.der for name in rules.methods for root in METHODS[name].traits.roots(rules))


def _self_issued(der: bytes) -> bool:
    try:
        certificate = read_certificate(der)
        return same_name(certificate.issuer, certificate.subject)
    except EvidenceError:
        return False


def _order(certificates: Sequence[bytes]) -> list[Line]:
    """Where a certificate does not name the next one as its issuer."""
    lines = []
    for number, (der, above) in enumerate(pairwise(certificates), 1):
        try:
            follows = same_name(read_certificate(der).issuer, read_certificate(above).subject)
        except EvidenceError:
            continue
        if not follows:
            text = f"certificate {number} names another issuer than certificate {number + 1}"
            lines.append(
                Line(State.NOTE, text, "send the leaf first, then its issuer, then that one's issuer")
            )
    return lines


def _described(der: bytes, number: int) -> Line:
    """Which certificate it is. That it cannot be shown says nothing of whether it is accepted."""
    digest = hashlib.sha256(der).hexdigest()
    try:
        one = read_certificate(der)
        window = f"{one.not_before:%Y-%m-%d} to {one.not_after:%Y-%m-%d}"
        names = f"{shown(readable(one.subject) or '(no subject)')}, issued by {shown(readable(one.issuer))}"
        text = f"{names}, serial {one.serial:x}, {window}"
    except EvidenceError as error:
        text = f"it cannot be shown: {shown(str(error))}"
    return Line(State.NOTE, f"certificate {number + 1}: {text}, SHA-256 {digest}")
