"""Tables of the kept state, SQLite. A state of another version is not read (`auditor.adapters.state`).

A board takes a row of `certificates`, its marks (`auditor.adapters.marks`), and two rows of indexes. Texts
that come again (orders, stations, what certificates rest on) stand once, in `words`. The entries of boards
are not kept: `bundles` has a hash for each 256 entries, by which they are known again when they are read
anew.

`tallies`, `refusals`, `refused_chips` and `acts` are for questions (`auditor.adapters.answers`): counts by
day, and what stands in entries that are not kept. 0 in place of a word says that the entry names none.
"""

from __future__ import annotations

VERSION = 7
LATE = 3_600  # seconds after the certificate; most stamps come within minutes, and need no row of their own

SCHEMA = f"""
CREATE TABLE meta (key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE bundles (number INTEGER PRIMARY KEY, hash BLOB NOT NULL);
CREATE TABLE runs (name TEXT PRIMARY KEY, place INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE recent_marks (id INTEGER PRIMARY KEY, cells BLOB NOT NULL);
CREATE TABLE words (id INTEGER PRIMARY KEY, word TEXT NOT NULL UNIQUE);
CREATE TABLE entries (idx INTEGER PRIMARY KEY, kind TEXT NOT NULL, data BLOB NOT NULL);
CREATE INDEX entry_kind ON entries (kind, idx);
CREATE TABLE peers (uri TEXT PRIMARY KEY, spki BLOB NOT NULL, revoked_at INTEGER) WITHOUT ROWID;
CREATE TABLE products (name TEXT, sha256 BLOB, PRIMARY KEY (name, sha256)) WITHOUT ROWID;
CREATE TABLE orders (
    opened_index INTEGER PRIMARY KEY, work_order TEXT NOT NULL UNIQUE, counts TEXT NOT NULL
);
CREATE TABLE certificates (
    idx INTEGER PRIMARY KEY,
    sha256 BLOB NOT NULL, work_order INTEGER NOT NULL, number INTEGER NOT NULL,
    chip_id TEXT NOT NULL, serial_number TEXT NOT NULL,
    chip INTEGER,                   -- NULL: this entry is its chip's first
    anchored INTEGER NOT NULL,      -- an anchor is its chip's since this entry
    issued_at INTEGER NOT NULL, station INTEGER NOT NULL, kind INTEGER NOT NULL,
    stamped_index INTEGER, stamped_at INTEGER, stamped_by INTEGER, revoked_index INTEGER,
    basis INTEGER NOT NULL,         -- what its evidence rests on; 0: not judged yet
    unchecked INTEGER NOT NULL,     -- an entry spoke of it since its record was checked
    round INTEGER NOT NULL          -- of looking again, in which its record was seen last: 0 or 1 by turns
);
CREATE INDEX certificate_place ON certificates (work_order, number);
CREATE INDEX certificate_unchecked ON certificates (idx) WHERE unchecked = 1;
CREATE INDEX certificate_missing ON certificates (issued_at)
    WHERE stamped_index IS NULL AND revoked_index IS NULL;
CREATE INDEX certificate_missing_order ON certificates (work_order, issued_at)
    WHERE stamped_index IS NULL AND revoked_index IS NULL;
CREATE INDEX certificate_missing_station ON certificates (station, issued_at)
    WHERE stamped_index IS NULL AND revoked_index IS NULL;
CREATE INDEX certificate_station ON certificates (station, issued_at);
CREATE INDEX certificate_late ON certificates (stamped_by, stamped_at)
    WHERE stamped_by != station OR stamped_at > issued_at + {LATE} OR stamped_at < issued_at;
CREATE INDEX certificate_again ON certificates (chip) WHERE chip IS NOT NULL;
CREATE TABLE tallies (              -- of the certificates that a station asked for on a day
    station INTEGER, day INTEGER,   -- since 1970, UTC
    work_order INTEGER, kind INTEGER,
    issued INTEGER NOT NULL, stamped INTEGER NOT NULL, revoked INTEGER NOT NULL,
    stamps INTEGER NOT NULL,        -- that it delivered on this day, of whichever certificates
    PRIMARY KEY (station, day, work_order, kind)
) WITHOUT ROWID;
CREATE TABLE refusals (
    peer INTEGER, day INTEGER, work_order INTEGER, code INTEGER, count INTEGER NOT NULL,
    PRIMARY KEY (peer, day, work_order, code)
) WITHOUT ROWID;
CREATE TABLE refused_chips (
    chip_id TEXT, idx INTEGER, at INTEGER NOT NULL, peer INTEGER NOT NULL, work_order INTEGER NOT NULL,
    code INTEGER NOT NULL, count INTEGER NOT NULL,
    PRIMARY KEY (chip_id, idx)
) WITHOUT ROWID;
CREATE TABLE acts (
    idx INTEGER PRIMARY KEY, at INTEGER NOT NULL, type INTEGER NOT NULL, actor INTEGER NOT NULL,
    approvers INTEGER NOT NULL, about TEXT NOT NULL
);
CREATE INDEX act_time ON acts (at, idx);
CREATE INDEX act_actor ON acts (actor, at);
CREATE INDEX act_approvers ON acts (approvers, at) WHERE approvers != 0;
CREATE TABLE derived_anchors (
    kind TEXT, issuer TEXT, value TEXT, chip INTEGER NOT NULL, idx INTEGER NOT NULL,
    PRIMARY KEY (kind, issuer, value, chip)
) WITHOUT ROWID;
CREATE TABLE weak_keys (sha256 BLOB PRIMARY KEY, idx INTEGER NOT NULL) WITHOUT ROWID;
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
    expected TEXT NOT NULL, found TEXT NOT NULL, found_at INTEGER NOT NULL, run INTEGER NOT NULL
);
CREATE UNIQUE INDEX finding_once
    ON findings (code, detail, ifnull(idx, -1), ifnull(serial_number, ''), found);
CREATE TABLE acknowledgements (
    finding INTEGER NOT NULL REFERENCES findings (id), statement BLOB NOT NULL, signature BLOB NOT NULL,
    at INTEGER NOT NULL, id INTEGER PRIMARY KEY
);
"""

LEDGER_TABLES = (
    "bundles", "runs", "recent_marks", "words", "entries", "peers", "products", "orders", "certificates",
    "derived_anchors", "weak_keys", "intents", "awaited", "tallies", "refusals", "refused_chips", "acts",
)  # fmt: skip
"""What is read anew with `--from-scratch`."""
