"""Acts of administrators: which entries are one, and what each is about."""

from __future__ import annotations

from auditor.core.entry import AdministratorsEntry, AdministratorsSet, ClockAccepted, CrlIssued, Revoked
from auditor.core.forms import time_text

_SUBJECTS = (
    "work_order", "peer", "issuer", "product", "action", "vkey", "ca_sha256", "site", "deployment",
    "checkpoint",
)  # fmt: skip
"""Members that say what an entry is about: the first one that it has."""
MAX_ABOUT = 256  # characters


def is_somebodys(entry: AdministratorsEntry) -> bool:
    """False for what signerd does by itself: a CRL that nobody asked for, and the revocation of a certificate
    that a newer one of its chip supersedes."""
    if isinstance(entry, Revoked):
        return entry.superseded_by is None
    return not (isinstance(entry, CrlIssued) and entry.by is None)


def about(entry: AdministratorsEntry) -> str:
    """What an act was done to, in one word: a board's serial number and the reason, an order, a peer …"""
    if isinstance(entry, Revoked):
        return f"{entry.serial_number} {entry.reason}"
    if isinstance(entry, AdministratorsSet):
        names = sorted({each.name for each in entry.administrators})
        return f"{entry.threshold} of {' '.join(names)}"[:MAX_ABOUT]
    if isinstance(entry, ClockAccepted):
        return f"{time_text(entry.clock_from)} to {time_text(entry.clock_to)}"
    for name in _SUBJECTS:
        value = getattr(entry, name, None)
        if value is not None:
            return (value.hex() if isinstance(value, bytes) else str(value))[:MAX_ABOUT]
    return ""
