"""What a database error means to the caller.

The constraints of `schema.py` are where races end: of two that take the last place, one chip or one
key, the second breaks a constraint, and this table says which refusal that is.
"""

from __future__ import annotations

from sqlalchemy.exc import IntegrityError, OperationalError, SQLAlchemyError

from signerd.errors import Code, Fault, Refused, Unavailable

# Constraint name (PostgreSQL), columns or check name (SQLite) -> code.
_MEANING = (
    ("one_active_record_a_chip", "records.chip", Code.CHIP_ALREADY_CERTIFIED),
    ("one_record_a_key", "records.spki_sha256", Code.KEY_ALREADY_CERTIFIED),
    ("one_chip_an_anchor", "anchors.kind, anchors.issuer, anchors.value", Code.CHIP_ALREADY_CERTIFIED),
    ("one_place_a_chip", "places.work_order, places.chip", Code.CHIP_ALREADY_CERTIFIED),
    ("places_within_quantity", "places_within_quantity", Code.ORDER_FULL),
    ("one_order_a_name", "orders.work_order", Code.ALREADY_EXISTS),
    ("one_use_an_approval", "approvals.request, approvals.part", Code.ALREADY_EXISTS),
    ("one_peer_a_key", "peers.spki_sha256", Code.ALREADY_EXISTS),
    ("one_valid_peer_a_uri", "peers.uri", Code.ALREADY_EXISTS),
    ("one_revision_a_text", "products.sha256", Code.ALREADY_EXISTS),
    (
        "one_identity_a_chip",
        "identities.product, identities.method, identities.chip_id",
        Code.ALREADY_EXISTS,
    ),
    (
        "one_identity_a_key_id",
        "identities.product, identities.method, identities.key_id",
        Code.ALREADY_EXISTS,
    ),
    ("one_identity_a_key", "identities.spki, identities.product, identities.method", Code.ALREADY_EXISTS),
)


def translated(error: SQLAlchemyError) -> Refused | Fault:
    """The domain error that stands for `error`, with `error` as its cause."""
    result = _translate(error)
    result.__cause__ = error
    return result


def _said(name: str, code: Code) -> str:
    if code is Code.ALREADY_EXISTS:  # an administrator reads it, whose call found nothing a moment before
        return f"another call has just entered it (constraint {name})"
    return f"constraint {name}"


def _translate(error: SQLAlchemyError) -> Refused | Fault:
    if isinstance(error, IntegrityError):
        text = str(error.orig)
        for name, columns, code in _MEANING:
            if f'"{name}"' in text or text.endswith(f": {columns}"):
                return Refused(code, _said(name, code))
        return Fault(f"a constraint that nothing should break: {text}")
    if isinstance(error, OperationalError):  # disk full, locked, connection lost
        return Unavailable(f"the database does not answer: {error.orig}")
    return Fault(f"database error: {type(error).__name__}")
