-- Version 3: retries of jobs, what has to be told to whoever watches, and numbers about jobs. Never edited once released.

-- How often a job was put back by its worker after a failure that may pass, and until when it then waits.
ALTER TABLE jobs ADD COLUMN retries INTEGER NOT NULL DEFAULT 0;
ALTER TABLE jobs ADD COLUMN not_before_ms INTEGER;
-- Bytes of files that a job had moved when it ended.
ALTER TABLE jobs ADD COLUMN moved_bytes INTEGER NOT NULL DEFAULT 0;
-- Holds every column that counting needs: the rows themselves can be large.
CREATE INDEX jobs_by_kind ON jobs (job_type, status, ended_ms, started_ms, created_ms, moved_bytes);

-- What is to be told, each thing once by its name. Without delivered_ms and abandoned_ms it still waits, until due_ms.
CREATE TABLE deliveries (
  seq          INTEGER PRIMARY KEY AUTOINCREMENT,
  name         TEXT NOT NULL UNIQUE,
  kind         TEXT NOT NULL,
  subject      TEXT NOT NULL,
  body         TEXT NOT NULL,
  created_ms   INTEGER NOT NULL,
  due_ms       INTEGER NOT NULL,
  attempts     INTEGER NOT NULL DEFAULT 0,
  error        TEXT,
  delivered_ms INTEGER,
  abandoned_ms INTEGER,
  CHECK (delivered_ms IS NULL OR abandoned_ms IS NULL)
) STRICT;
CREATE INDEX deliveries_due ON deliveries (due_ms, seq) WHERE delivered_ms IS NULL AND abandoned_ms IS NULL;
