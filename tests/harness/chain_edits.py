"""What mutations of a chain are made of: places, extensions, values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Any

from boards.attesters.certificate_writer import tlv
from harness.rebuilt import Template

Chain = list[Template]
Mutation = Callable[[Random, Chain], Chain]
Extension = tuple[str, bytes, bytes]

TRUE = tlv(0x01, b"\xff")
CONSTRAINTS, USAGE, PURPOSES, SAN = "2.5.29.19", "2.5.29.15", "2.5.29.37", "2.5.29.17"
TCB, MULTI, UEID = "2.23.133.5.4.1", "2.23.133.5.4.5", "2.23.133.5.4.4"


def place(rng: Random, chain: Chain, least: int = 1) -> int:
    """A place below the root; `least` 0: the root's too."""
    return rng.randrange(least, len(chain))


def with_fields(chain: Chain, number: int, **fields: Any) -> Chain:
    """Changes fields of one certificate."""
    found = list(chain)
    found[number] = replace(found[number], **fields)
    return found


def put(chain: Chain, number: int, *extensions: Extension, at: int | None = None) -> Chain:
    """Puts extensions in, at the end or before the one at this place."""
    here = list(chain[number].extensions)
    position = len(here) if at is None else at
    here[position:position] = extensions
    return with_fields(chain, number, extensions=tuple(here))


def without(chain: Chain, number: int, *oids: str) -> Chain:
    """Leaves extensions out."""
    kept = tuple(one for one in chain[number].extensions if one[0] not in oids)
    return with_fields(chain, number, extensions=kept)


def value_of(chain: Chain, number: int, dotted: str) -> bytes | None:
    """Of an extension, if the certificate has it."""
    return next((value for kind, _, value in chain[number].extensions if kind == dotted), None)


def set_value(chain: Chain, number: int, dotted: str, value: bytes, critical: bytes | None = None) -> Chain:
    """Changes an extension's value where it stands; puts it at the end if it is not there."""
    found = []
    for kind, was, old in chain[number].extensions:
        found.append(
            (kind, was if critical is None else critical, value) if kind == dotted else (kind, was, old)
        )
    if all(kind != dotted for kind, _, _ in found):
        found.append((dotted, critical or b"", value))
    return with_fields(chain, number, extensions=tuple(found))
