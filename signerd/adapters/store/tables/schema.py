"""The tables. Uniqueness lives here, as constraints; `constraints.py` says what breaking each one means.

Times are whole seconds since 1970, UTC. Large values stand last in their table, so that a scan over the
small ones does not read them.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
    false,
    null,
)

from signerd.core.names import FIRST

metadata = MetaData()

# SQLite numbers rows by itself only in a column of exactly this type.
_ID = BigInteger().with_variant(Integer(), "sqlite")


def _entry() -> Column[int]:
    """Of a row that came with a list: the index of the entry that has the list's digest. Null: a row of
    before schema 0013 that no entry bears out."""
    return Column("entry", BigInteger)


peers = Table(
    "peers",
    metadata,
    Column("id", _ID, primary_key=True),
    Column("uri", Text, nullable=False),
    Column("role", Text, nullable=False),
    Column("spki_sha256", LargeBinary, nullable=False),
    Column("added_at", BigInteger, nullable=False),
    Column("revoked_at", BigInteger),
    Column("not_after", BigInteger),  # of the newest certificate that was shown; absent where none was
    Column("renewed_at", BigInteger),  # when another key took its place, beside which it goes on to its end
    Column("automatic", Boolean, nullable=False, server_default=false()),  # renewed without an administrator
    Column("ca_sha256", LargeBinary),  # the operations CA of the certificate that it called with last
    UniqueConstraint("spki_sha256", name="one_peer_a_key"),
)
Index(
    "one_valid_peer_a_uri",
    peers.c.uri,
    unique=True,
    sqlite_where=peers.c.revoked_at.is_(null()) & peers.c.renewed_at.is_(null()),
    postgresql_where=peers.c.revoked_at.is_(null()) & peers.c.renewed_at.is_(null()),
)
Index("peers_by_uri", peers.c.uri, peers.c.id)

# Sub-CAs (`core.issuers`). Certificate and key of each are where the settings say.
issuers = Table(
    "issuers",
    metadata,
    Column("id", _ID, primary_key=True),
    Column("name", Text, nullable=False),
    Column("ca", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("added_index", BigInteger, nullable=False),
    Column("certificate_sha256", LargeBinary, nullable=False),
    Column("root_sha256", LargeBinary, nullable=False),
    UniqueConstraint("name", name="one_issuer_a_name"),
    UniqueConstraint("certificate_sha256", name="one_issuer_a_certificate"),
)
Index(
    "one_active_issuer_a_ca",
    issuers.c.ca,
    unique=True,
    sqlite_where=issuers.c.state == "active",
    postgresql_where=issuers.c.state == "active",
)

# Peers that asked for a newer certificate; one a key. The certificate is there once it is made.
renewals = Table(
    "renewals",
    metadata,
    Column("spki_sha256", LargeBinary, primary_key=True),
    Column("asked_at", BigInteger, nullable=False),
    Column("spki", LargeBinary, nullable=False),
    Column("certificate", LargeBinary),
)

# Operations CAs that were announced in the ledger; the first one has a row once it is retired.
operations_cas = Table(
    "operations_cas",
    metadata,
    Column("sha256", LargeBinary, primary_key=True),
    Column("added_index", BigInteger),
    Column("activated_index", BigInteger),
    Column("retired_index", BigInteger),
)

# Keys of the log that were announced; the first one has a row once it is retired. A successor of the log has
# one, with its verifier key and the index of `log_succeeded`. The entries decide
# (`store/log/checkpoint_keys.py`): an index that they do not bear out is damage.
checkpoint_keys = Table(
    "checkpoint_keys",
    metadata,
    Column("vkey", Text, primary_key=True),
    Column("added_index", BigInteger),
    Column("activated_index", BigInteger),
    Column("retired_index", BigInteger),
)

products = Table(
    "products",
    metadata,
    Column("id", _ID, primary_key=True),
    Column("sha256", LargeBinary, nullable=False),
    Column("name", Text, nullable=False),
    Column("added_at", BigInteger, nullable=False),
    Column("toml", Text, nullable=False),
    UniqueConstraint("sha256", name="one_revision_a_text"),
)
Index("products_by_name", products.c.name, products.c.id)

orders = Table(
    "orders",
    metadata,
    Column("id", _ID, primary_key=True),
    Column("work_order", Text, nullable=False),
    Column("product", Text, nullable=False),
    Column("product_sha256", LargeBinary, ForeignKey("products.sha256"), nullable=False),
    Column("quantity", BigInteger, nullable=False),
    Column("places", BigInteger, nullable=False),
    Column("not_before", BigInteger, nullable=False),
    Column("not_after", BigInteger, nullable=False),
    Column("level", Text, nullable=False),
    Column("serial_pattern", Text, nullable=False),
    Column("serial_start", BigInteger, nullable=False),
    Column("reissue", Text, nullable=False),
    Column("opened_index", BigInteger, nullable=False),
    Column("closed_at", BigInteger),
    Column("stations", Text, nullable=False),  # JSON array of peer URIs
    Column("minimum_firmware", Text, nullable=False),  # JSON object
    Column("settings", LargeBinary, nullable=False),
    Column("bundle_sha256", LargeBinary),  # null: it names no firmware bundle
    Column("firmware", Text),  # JSON object {name: [version, SHA-256]}; null: any
    UniqueConstraint("work_order", name="one_order_a_name"),
    CheckConstraint("places >= 0 AND places <= quantity", name="places_within_quantity"),
)

chips = Table(
    "chips",
    metadata,
    Column("chip_id", Text, primary_key=True),
    Column("locked", Boolean, nullable=False),
    Column("site", Text, nullable=False),
    Column("personalized_at", BigInteger, nullable=False),
    Column("key", Text, nullable=False, server_default="hmac-sha256"),  # which secret was burned
    Column("by", Text),  # null: personalized before this was noted
    _entry(),
)
Index("chips_by_entry", chips.c.entry)

# Attestation keys that administrators imported (docs/formats.md, "Identity keys").
identities = Table(
    "identities",
    metadata,
    Column("id", _ID, primary_key=True),
    Column("product", Text, nullable=False),
    Column("method", Text, nullable=False),
    Column("chip_id", Text, nullable=False),
    Column("key_id", LargeBinary, nullable=False),
    Column("imported_at", BigInteger, nullable=False),
    Column("by", Text, nullable=False),
    Column("spki", LargeBinary, nullable=False),
    _entry(),
    UniqueConstraint("product", "method", "chip_id", name="one_identity_a_chip"),
    UniqueConstraint("product", "method", "key_id", name="one_identity_a_key_id"),
    # The key first: its index also finds the key in the lists of other products and methods.
    UniqueConstraint("spki", "product", "method", name="one_identity_a_key"),
)

Index("identities_by_entry", identities.c.entry)

order_chips = Table(
    "order_chips",
    metadata,
    Column("work_order", Text, ForeignKey("orders.work_order"), primary_key=True),
    Column("chip_id", Text, primary_key=True),
    _entry(),
)
Index("order_chips_by_entry", order_chips.c.entry)

# Chips that took a place. A chip is its anchors: it may have had several names.
certified_chips = Table(
    "certified_chips",
    metadata,
    Column("id", _ID, primary_key=True),
    Column("chip_id", Text, nullable=False),  # its first name
    Column("serial_number", Text, nullable=False),  # its board's, sticky
    # Set by the upgrade from schema 0003 alone, where evidence of before showed that two chips are one.
    Column("merged_into", _ID, ForeignKey("certified_chips.id")),
    UniqueConstraint("serial_number", name="one_chip_a_board"),
)

# What is one chip's for ever, over all orders, products and methods. Beside anchors (`core.anchors`) that is
# a name that more than the chip's own firmware states (kind "name"), and any attestation key that signed
# evidence (kind "key"): a DICE layer's is no anchor, since it changes with the firmware, and yet one chip's.
anchors = Table(
    "anchors",
    metadata,
    Column("kind", Text, nullable=False),
    Column("issuer", Text, nullable=False),  # '' for none: NULLs would not be equal
    Column("value", Text, nullable=False),
    Column("chip", _ID, ForeignKey("certified_chips.id"), nullable=False),
    PrimaryKeyConstraint("kind", "issuer", "value", name="one_chip_an_anchor"),
    sqlite_with_rowid=False,
)

places = Table(
    "places",
    metadata,
    Column("work_order", Text, ForeignKey("orders.work_order"), primary_key=True),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("chip", _ID, ForeignKey("certified_chips.id", name="place_of_a_chip"), nullable=False),
    UniqueConstraint("work_order", "chip", name="one_place_a_chip"),
)

records = Table(
    "records",
    metadata,
    Column("id", _ID, primary_key=True),
    Column("work_order", Text, nullable=False),
    Column("number", BigInteger, nullable=False),
    Column("product", Text, nullable=False),
    Column("chip_id", Text, nullable=False),
    Column("serial_number", Text, nullable=False),
    Column("certificate_serial", Text, nullable=False),  # hexadecimal, as in the ledger
    Column("moment", BigInteger, nullable=False),
    Column("state", Text, nullable=False),
    Column("superseded", Boolean, nullable=False),
    Column("supersedes_id", BigInteger, ForeignKey("records.id")),
    Column("challenge", LargeBinary, nullable=False),
    Column("station", Text, nullable=False),
    Column("spki_sha256", LargeBinary, nullable=False),
    Column("method", Text, nullable=False),
    Column("level", Text, nullable=False),
    Column("certificate_sha256", LargeBinary),
    Column("issued_at", BigInteger),
    Column("issued_index", BigInteger),
    Column("stamped_at", BigInteger),
    Column("stamped_index", BigInteger),
    Column("revoked_at", BigInteger),
    Column("revoked_index", BigInteger),
    Column("revoked_reason", Text),
    Column("open_index", BigInteger),  # of the `intent_open` entry that lists it
    Column("claims", LargeBinary, nullable=False),
    Column("evidence", LargeBinary, nullable=False),
    Column("settings", LargeBinary, nullable=False),
    Column("csr_der", LargeBinary, nullable=False),
    Column("tbs", LargeBinary, nullable=False),
    Column("certificate_der", LargeBinary),
    Column("stamp", LargeBinary),
    Column("stamp_signature", LargeBinary),
    # Added by migration 0002, which a database adds at the end.
    Column("measured", Text, nullable=False, server_default="{}"),  # JSON object, component -> version
    Column("attester", LargeBinary),  # SubjectPublicKeyInfo; null: no attestation key signed
    Column("shared_prime_index", BigInteger),  # of the `shared_primes_found` entry that names it
    # Added by migration 0004. The place has the reference to the chip: SQLite adds none without rewriting.
    Column("chip", BigInteger, nullable=False, server_default="0"),
    Column("anchors", Text, nullable=False, server_default="[]"),  # that the evidence proved (`core.anchors`)
    # Added by migration 0007: whose certificate it is. Before there was one issuer.
    Column("issuer", BigInteger, nullable=False, server_default="1"),
    # Added by migration 0014: who wrote the intent (`core.intents`). Null: an intent of before.
    Column("intent_start", LargeBinary),
    Column("intent_mac", LargeBinary),
    ForeignKeyConstraint(
        ["work_order", "number"], ["places.work_order", "places.number"], name="record_place"
    ),
    UniqueConstraint("spki_sha256", name="one_record_a_key"),
    UniqueConstraint("certificate_serial", name="one_record_a_certificate_serial"),
    UniqueConstraint("certificate_sha256", name="one_record_a_certificate"),
)
Index(
    "one_active_record_a_chip",
    records.c.chip,
    unique=True,
    sqlite_where=records.c.superseded == false(),
    postgresql_where=records.c.superseded == false(),
)
Index("records_by_chip", records.c.chip_id, records.c.id)
Index("records_by_certified_chip", records.c.chip, records.c.id)
Index("records_by_serial", records.c.serial_number, records.c.id)
Index("records_by_order", records.c.work_order, records.c.id)
Index(
    "open_intents",
    records.c.id,
    sqlite_where=records.c.state == "intent",
    postgresql_where=records.c.state == "intent",
)
Index(
    "issued_records",
    records.c.id,
    sqlite_where=records.c.state == "issued",
    postgresql_where=records.c.state == "issued",
)
Index(
    "revoked_records",
    records.c.id,
    sqlite_where=records.c.state == "revoked",
    postgresql_where=records.c.state == "revoked",
)

grants = Table(
    "grants",
    metadata,
    Column("id", _ID, primary_key=True),
    Column("session_sha256", LargeBinary, nullable=False),
    Column("record_id", BigInteger, ForeignKey("records.id"), nullable=False),
    Column("challenge", LargeBinary, nullable=False),
    Column("station", Text, nullable=False),
    Column("csr_sha256", LargeBinary, nullable=False),
    UniqueConstraint("session_sha256", name="one_grant_a_session"),  # a session hands out one certificate
)
Index("grants_by_record", grants.c.record_id, grants.c.id)

entries = Table(
    "entries",
    metadata,
    Column("entry_index", _ID, primary_key=True, autoincrement=False),
    Column("leaf_hash", LargeBinary, nullable=False),
    Column("data", LargeBinary, nullable=False),
)

head = Table(
    "head",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("size", BigInteger, nullable=False),
    Column("root", LargeBinary, nullable=False),
    # How many entries changed the administration (`core.state.administration`).
    Column("epoch", BigInteger, nullable=False, server_default="0"),
    CheckConstraint("id = 1", name="one_head"),
)

# One a transaction with entries, until a checkpoint covers them (`core.commits`).
commits = Table(
    "commits",
    metadata,
    Column("id", _ID, primary_key=True),
    Column("size_after", BigInteger, nullable=False),  # to find them by; the MAC says nothing of it
    Column("start", LargeBinary, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("published", BigInteger, nullable=False),
    Column("leaves", LargeBinary, nullable=False),
    Column("mac", LargeBinary, nullable=False),
)
Index("commits_by_size", commits.c.size_after)

# The newest row is in force: what the newest `administrators_set` entry says.
administrator_sets = Table(
    "administrator_sets",
    metadata,
    Column("entry_index", _ID, primary_key=True, autoincrement=False),
    Column("threshold", Integer, nullable=False),
    Column("administrators", Text, nullable=False),  # JSON array, as in the entry
)

# Uses of approvals: each part of a request once.
approvals = Table(
    "approvals",
    metadata,
    Column("request", LargeBinary, nullable=False),
    Column("part", Integer, nullable=False),
    Column("entry_index", BigInteger, nullable=False),  # of the action
    PrimaryKeyConstraint("request", "part", name="one_use_an_approval"),
)

# What follows from the log's first entries (`core.state.kept`), with the name of the start whose key made its
# MAC. A cache: without it a start reads the log whole.
kept_states = Table(
    "kept_states",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("start", LargeBinary, nullable=False),
    Column("mac", LargeBinary, nullable=False),
    Column("state", LargeBinary, nullable=False),
    CheckConstraint("id = 1", name="one_kept_state"),
)

counters = Table(
    "counters",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", BigInteger, nullable=False),
)
CRL_NUMBER = "crl_number"  # the name of a counter, as the next two
CLOCK_ACCEPTED = "clock_accepted"  # the last such entry's index
KEYS_COMMITTED = "keys_committed"  # the last such entry's index, where it is not entry 1
# What the next start enters (`store/log/runs.py`), as numbers: a schema; seconds since 1970; entries.
UPGRADED_FROM = "upgraded_from"
BACKUP_MADE = "backup_made"
BACKUP_SIZE = "backup_size"
_CRL_NEXT_UPDATE = "crl_next_update"


def crl_next_update_of(issuer: str) -> str:
    """The name of the counter. The first issuer's has none: it is of before there were others."""
    return _CRL_NEXT_UPDATE if issuer == FIRST else f"{_CRL_NEXT_UPDATE} {issuer}"


def issuer_of_next_update(counter: str) -> str | None:
    """The issuer, if the counter is such a one."""
    name, _, issuer = counter.partition(" ")
    return (issuer or FIRST) if name == _CRL_NEXT_UPDATE else None
