BEGIN TRANSACTION;
CREATE TABLE label (
    certificate_sha256 BLOB PRIMARY KEY,
    run INTEGER NOT NULL REFERENCES run (id) ON DELETE CASCADE,
    handed_over_at TEXT NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO "label" VALUES(X'0101010101010101010101010101010101010101010101010101010101010101',1,'2026-11-30T14:07:56.589+00:00');
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
INSERT INTO "outbox" VALUES(1,1,'WO-1','chip:1','BM-000001',X'0101010101010101010101010101010101010101010101010101010101010101',X'73657373696F6E',X'7374616D70',X'7369676E6174757265','2026-11-30T14:07:56.588+00:00','2026-11-30T14:07:56.589+00:00','',7,X'7B2276223A317D',X'72656365697074');
INSERT INTO "outbox" VALUES(2,2,'WO-1','chip:2','BM-000002',X'0202020202020202020202020202020202020202020202020202020202020202',X'73657373696F6E',X'7374616D70',X'7369676E6174757265','2026-11-30T14:07:56.590+00:00',NULL,'',NULL,NULL,NULL);
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
INSERT INTO "run" VALUES(1,'usb-1-1','WO-1','chip:1','2026-11-30T14:07:56.575+00:00',NULL,NULL,'','','','','','',0.0);
INSERT INTO "run" VALUES(2,'usb-1-2','WO-1','chip:2','2026-11-30T14:07:56.590+00:00',NULL,NULL,'','','','','','',0.0);
CREATE TABLE station (
    uri TEXT NOT NULL,
    since TEXT NOT NULL
) STRICT;
INSERT INTO "station" VALUES('birthmark://dev/station/plant1/pc1','2026-11-30T14:07:56.575+00:00');
CREATE TABLE step (
    run INTEGER NOT NULL REFERENCES run (id) ON DELETE CASCADE,
    step TEXT NOT NULL,
    seconds REAL NOT NULL,              -- over all tries; also of the step at which the run ended
    PRIMARY KEY (run, step)
) STRICT, WITHOUT ROWID;
CREATE TABLE written_by (
    first_run INTEGER PRIMARY KEY,
    version TEXT NOT NULL,
    since TEXT NOT NULL
) STRICT;
INSERT INTO "written_by" VALUES(1,'0.1.0','2026-11-30T14:07:56.575+00:00');
CREATE INDEX run_under_way ON run (port) WHERE ended_at IS NULL;
CREATE INDEX outbox_open ON outbox (id) WHERE answered_at IS NULL;
CREATE INDEX label_of_run ON label (run);
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('run',2);
INSERT INTO "sqlite_sequence" VALUES('outbox',2);
COMMIT;
PRAGMA user_version = 4;
