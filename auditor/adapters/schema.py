"""Tables of the kept state, SQLite. The version is checked at opening: an older one is brought here, and goes
on from where it stood."""

from __future__ import annotations

VERSION = 5

_ENTRY_IDS = """
CREATE TABLE entry_ids (id BLOB PRIMARY KEY, idx INTEGER NOT NULL) WITHOUT ROWID;
"""

_ANCHORS = """
CREATE TABLE anchors (
    kind TEXT, issuer TEXT, value TEXT, chip INTEGER NOT NULL, idx INTEGER NOT NULL,
    PRIMARY KEY (kind, issuer, value)
) WITHOUT ROWID;
CREATE INDEX anchor_chip ON anchors (chip);
CREATE TABLE derived_anchors (
    kind TEXT, issuer TEXT, value TEXT, chip INTEGER NOT NULL, idx INTEGER NOT NULL,
    PRIMARY KEY (kind, issuer, value, chip)
) WITHOUT ROWID;
CREATE INDEX certificate_of_chip ON certificates (chip);
"""
# Entries of form 1 know a chip by its id alone.
_ADD_CHIPS = """
ALTER TABLE certificates ADD COLUMN chip INTEGER NOT NULL DEFAULT -1;
UPDATE certificates SET chip = (SELECT min(o.idx) FROM certificates o WHERE o.chip_id = certificates.chip_id);
"""

UPGRADES = {3: _ENTRY_IDS, 4: _ADD_CHIPS + _ANCHORS}  # what brings the state of a version to the next one

SCHEMA = f"""
{_ENTRY_IDS}
CREATE TABLE meta (key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE entries (idx INTEGER PRIMARY KEY, kind TEXT NOT NULL, data BLOB NOT NULL);
CREATE TABLE peers (uri TEXT PRIMARY KEY, spki BLOB NOT NULL, revoked_at INTEGER) WITHOUT ROWID;
CREATE TABLE products (name TEXT, sha256 BLOB, PRIMARY KEY (name, sha256)) WITHOUT ROWID;
CREATE TABLE orders (
    opened_index INTEGER PRIMARY KEY, work_order TEXT NOT NULL UNIQUE, counts TEXT NOT NULL
);
CREATE TABLE certificates (
    idx INTEGER PRIMARY KEY,
    sha256 BLOB NOT NULL, serial BLOB NOT NULL, spki BLOB NOT NULL, challenge BLOB NOT NULL,
    work_order TEXT NOT NULL, number INTEGER NOT NULL, chip_id TEXT NOT NULL, serial_number TEXT NOT NULL,
    stamped_index INTEGER, revoked_index INTEGER, superseded_by BLOB, counted TEXT NOT NULL,
    unchecked INTEGER NOT NULL, method TEXT NOT NULL, basis TEXT NOT NULL, rests_on TEXT NOT NULL,
    attester BLOB, chip INTEGER NOT NULL DEFAULT -1
);
CREATE TABLE weak_keys (sha256 BLOB PRIMARY KEY, idx INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX certificate_sha256 ON certificates (sha256);
CREATE INDEX certificate_serial ON certificates (serial);
CREATE INDEX certificate_spki ON certificates (spki);
CREATE INDEX certificate_challenge ON certificates (challenge);
CREATE INDEX certificate_place ON certificates (work_order, number);
CREATE INDEX certificate_chip ON certificates (chip_id);
CREATE INDEX certificate_serial_number ON certificates (serial_number);
CREATE INDEX certificate_attester ON certificates (attester) WHERE attester IS NOT NULL;
CREATE INDEX certificate_unchecked ON certificates (idx) WHERE unchecked = 1;
CREATE TABLE intents (
    idx INTEGER PRIMARY KEY, work_order TEXT NOT NULL, number INTEGER NOT NULL,
    chip_id TEXT NOT NULL, serial_number TEXT NOT NULL, since INTEGER NOT NULL, resolved INTEGER NOT NULL
);
CREATE INDEX intent_place ON intents (work_order, number);
CREATE TABLE awaited (
    sha256 BLOB PRIMARY KEY, claimed_index INTEGER NOT NULL, serial_number TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE findings (
    id INTEGER PRIMARY KEY, code TEXT NOT NULL, detail TEXT NOT NULL, idx INTEGER, serial_number TEXT,
    expected TEXT NOT NULL, found TEXT NOT NULL, found_at INTEGER NOT NULL
);
CREATE UNIQUE INDEX finding_once
    ON findings (code, detail, ifnull(idx, -1), ifnull(serial_number, ''), found);
{_ANCHORS}
"""

TABLES = (
    "anchors", "derived_anchors", "entries", "entry_ids", "peers", "products", "orders", "certificates",
    "weak_keys", "intents", "awaited", "findings",
)  # fmt: skip
