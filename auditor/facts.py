"""What the kept, verified ledger says of one certificate."""

from __future__ import annotations

from auditor.core.books import CertificateState
from auditor.core.entry import Issued, Stamped, reread_entry
from auditor.core.record import Facts
from auditor.errors import ConfigError
from auditor.ports import State


def facts_of(state: State, certificate: CertificateState, size: int) -> Facts:
    """Collects the certificate's entries and its order's terms; `size` is the verified tree's.

    Raises:
        ConfigError: the kept entries are not what the books say: the state is damaged.
    """
    issued = reread_entry(state.entry(certificate.index))
    stamped = None
    if certificate.stamped_index is not None:
        stamped = reread_entry(state.entry(certificate.stamped_index))
    if not isinstance(issued, Issued) or not isinstance(stamped, Stamped | None):
        raise ConfigError("the state is damaged: move it away and verify anew")
    order = state.order(certificate.work_order)
    intent = state.intent(certificate.work_order, certificate.number)
    return Facts(
        issued,
        certificate,
        None if order is None else order.terms,
        stamped,
        size,
        None if intent is None else intent.since,
    )
