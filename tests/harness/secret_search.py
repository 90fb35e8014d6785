"""Looks for a secret in files, in every form in which a program is likely to have written it.

found = search(secret_forms("code", b"K7QW3XRM"), directory)
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path

_ALIGNMENTS = 3  # base64 writes three bytes as four characters: what is found depends on what stands before


def secret_forms(name: str, secret: bytes) -> dict[str, bytes]:
    """Form -> bytes to look for. A digest without a salt tells a short secret as well."""
    text = secret.decode("latin-1")
    digest = hashlib.sha256(secret)
    forms = {
        "plain": secret,
        "hex": secret.hex().encode(),
        "HEX": secret.hex().upper().encode(),
        "hex with spaces": secret.hex(" ").encode(),
        "hex with colons": secret.hex(":").encode(),
        "repr": repr(secret)[2:-1].encode(),
        "UTF-16LE": text.encode("utf-16-le"),
        "UTF-16BE": text.encode("utf-16-be"),
        "SHA-256": digest.digest(),
        "SHA-256 hex": digest.hexdigest().encode(),
    }
    for shift in range(_ALIGNMENTS):
        for alphabet in (base64.b64encode, base64.urlsafe_b64encode):
            whole = alphabet(bytes(shift) + secret)
            # Only characters that are of the secret's bits alone.
            begin, end = -(-shift * 8 // 6), (shift + len(secret)) * 8 // 6
            forms[f"{alphabet.__name__} at {shift}"] = whole[begin:end]
    return {f"{name}, {form}": wanted for form, wanted in forms.items()}


def search(forms: Mapping[str, bytes], *places: Path) -> list[str]:
    """`file: form` for each that is found in a file, or in its name, below the places."""
    found = []
    for file in files_below(places):
        data = file.read_bytes() + b"\n" + str(file).encode()
        found += [f"{file}: {form}" for form, wanted in forms.items() if wanted in data]
    return found


def files_below(places: Iterable[Path]) -> list[Path]:
    """Every file."""
    return [
        path
        for place in places
        for path in sorted(place.rglob("*"))
        if path.is_file() and not path.is_socket()
    ]
