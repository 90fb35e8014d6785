CREATE TABLE run (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    port TEXT NOT NULL,
    work_order TEXT NOT NULL,
    chip_id TEXT NOT NULL,
    started_at TEXT NOT NULL,           -- UTC, ISO 8601
    ended_at TEXT,                      -- NULL: under way, or cut off
    outcome TEXT,                       -- PASS, FAIL, PARKED
    serial_number TEXT NOT NULL DEFAULT '',
    certificate_sha256 TEXT NOT NULL DEFAULT '',
    step TEXT NOT NULL DEFAULT '',
    code TEXT NOT NULL DEFAULT '',
    detail TEXT NOT NULL DEFAULT '',
    remedy TEXT NOT NULL DEFAULT '',
    seconds REAL NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX run_under_way ON run (port) WHERE ended_at IS NULL;
CREATE TABLE step (
    run INTEGER NOT NULL REFERENCES run (id) ON DELETE CASCADE,
    step TEXT NOT NULL,
    seconds REAL NOT NULL,
    PRIMARY KEY (run, step)
) STRICT, WITHOUT ROWID;
CREATE TABLE outbox (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    run INTEGER NOT NULL REFERENCES run (id) ON DELETE CASCADE,
    work_order TEXT NOT NULL,
    chip_id TEXT NOT NULL,
    serial_number TEXT NOT NULL,
    certificate_sha256 BLOB NOT NULL,
    session BLOB NOT NULL,
    stamp BLOB NOT NULL,
    signature BLOB NOT NULL,
    queued_at TEXT NOT NULL,
    answered_at TEXT,                   -- NULL: signerd has not answered
    code TEXT NOT NULL DEFAULT '',      -- of a refusal
    ledger_index INTEGER,
    entry BLOB,
    receipt BLOB,
    UNIQUE (certificate_sha256, stamp)
) STRICT;
CREATE INDEX outbox_open ON outbox (id) WHERE answered_at IS NULL;
PRAGMA user_version = 1;
INSERT INTO run VALUES (1, 'usb-1-1', 'WO-1', 'A', '2026-11-01T08:00:00.000+00:00',
    '2026-11-01T08:01:00.000+00:00', 'PARKED', 'BM-000001', 'aa', 'record', 'signer_unavailable',
    '', '', 60.0);
INSERT INTO step VALUES (1, 'keygen', 7.5);
INSERT INTO outbox (run, work_order, chip_id, serial_number, certificate_sha256, session, stamp, signature,
    queued_at) VALUES (1, 'WO-1', 'A', 'BM-000001',
    x'aa', x'bb', x'cc', x'dd', '2026-11-01T08:00:59.000+00:00');
