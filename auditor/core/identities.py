"""The company's own list of attestation keys: JSON lines as docs/formats.md, "Identity keys", has them.

Who checks against it need not believe that signerd was given the right keys. A chip may stand in several
lines, one for each product and method.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from auditor.core import forms
from auditor.core.evidence.attestation_key import load_key, spki_of
from auditor.errors import CheckFailed, Malformed

MAX_LINE = 8_192  # characters
_KEY_ID = forms.matching(r"(?:[0-9a-fA-F]{2}){1,64}")


@dataclass(frozen=True, slots=True)
class Identities:
    """Attestation keys by chip id: (key id, SubjectPublicKeyInfo DER) each."""

    keys: Mapping[str, frozenset[tuple[bytes, bytes]]]

    @classmethod
    def joined(cls, lists: Iterable[Identities]) -> Identities:
        """All lists as one."""
        found: dict[str, frozenset[tuple[bytes, bytes]]] = {}
        for one in lists:
            for chip_id, keys in one.keys.items():
                found[chip_id] = found.get(chip_id, frozenset()) | keys
        return cls(found)

    def has(self, chip_id: str, key_id: bytes, spki: bytes) -> bool:
        """True if this is the chip's key. An empty key id, where evidence names none, fits any."""
        return any(
            spki == known and key_id in {b"", named} for named, known in self.keys.get(chip_id, frozenset())
        )


def read_identities(lines: Iterable[str]) -> Identities:
    """Reads the list; empty lines do not count. Raises Malformed, with the line's number."""
    found: dict[str, set[tuple[bytes, bytes]]] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            chip_id, key_id, spki = _line(line)
        except (Malformed, CheckFailed) as error:
            raise Malformed(f"line {number}: {error}") from error
        found.setdefault(chip_id, set()).add((key_id, spki))
    return Identities({chip_id: frozenset(keys) for chip_id, keys in found.items()})


def _line(line: str) -> tuple[str, bytes, bytes]:
    if len(line) > MAX_LINE:
        raise Malformed("is too long")
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise Malformed("is not JSON") from error
    if isinstance(value, dict) and (type(form := value.pop("v", 1)) is not int or form != 1):
        raise Malformed(f"is of another form, {repr(form)[:32]}, than this auditor reads")
    # `tpm_public` shows signerd what kind of key it imports; here it is evidence that speaks for itself.
    if not isinstance(value, dict) or value.keys() - {"tpm_public"} != {"chip_id", "key_id", "public_key"}:
        raise Malformed("is not {chip_id, key_id, public_key} and, for tpm2, tpm_public")
    key_id = bytes.fromhex(_KEY_ID(value["key_id"]))
    return forms.chip_id(value["chip_id"]), key_id, spki_of(load_key(_der(value["public_key"])))


def _der(value: Any) -> bytes:
    """SubjectPublicKeyInfo, from PEM (RFC 7468 §13) or the base64 of its DER."""
    if not isinstance(value, str):
        raise Malformed("public_key is not text")
    lines = value.strip().splitlines()
    if (
        len(lines) > 2
        and lines[0] == "-----BEGIN PUBLIC KEY-----"
        and lines[-1] == "-----END PUBLIC KEY-----"
    ):
        value = "".join(line.strip() for line in lines[1:-1])
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Malformed("public_key is neither PEM nor base64") from error
