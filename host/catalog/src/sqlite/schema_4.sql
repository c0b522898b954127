-- Version 4: jobs of one more type. SQLite changes a CHECK only with its table; nothing refers to this one. Never edited once
-- released.

CREATE TABLE jobs_4 (
  seq            INTEGER PRIMARY KEY AUTOINCREMENT,
  id             TEXT NOT NULL UNIQUE,
  job_type       TEXT NOT NULL
                 CHECK (job_type IN ('BACKUP', 'COPY', 'RESTORE', 'VERIFY', 'EXPORT', 'MIGRATION')),
  status         TEXT NOT NULL
                 CHECK (status IN ('PENDING', 'IN_PROGRESS', 'SUCCESSFUL', 'FAILED', 'CANCELING', 'CANCELED')),
  -- 'MANUAL' or 'AUTO' for the job that makes a backup, nothing for others.
  slot           TEXT CHECK (slot IN ('MANUAL', 'AUTO')),
  project_id     TEXT NOT NULL REFERENCES projects (id),
  cluster_id     TEXT,
  backup_id      TEXT REFERENCES backups (id),
  request        TEXT NOT NULL,
  progress       TEXT NOT NULL,
  result         TEXT NOT NULL,
  reason         TEXT,
  created_ms     INTEGER NOT NULL,
  started_ms     INTEGER,
  ended_ms       INTEGER,
  fencing_token  INTEGER NOT NULL DEFAULT 0,
  lease_owner    TEXT,
  lease_until_ms INTEGER,
  attempt        INTEGER NOT NULL DEFAULT 0,
  -- How often a job was put back by its worker after a failure that may pass, and until when it then waits.
  retries        INTEGER NOT NULL DEFAULT 0,
  not_before_ms  INTEGER,
  -- Bytes of files that a job had moved when it ended.
  moved_bytes    INTEGER NOT NULL DEFAULT 0,
  CHECK ((job_type = 'BACKUP') = (slot IS NOT NULL)),
  CHECK ((status IN ('SUCCESSFUL', 'FAILED', 'CANCELED')) = (ended_ms IS NOT NULL)),
  -- Exactly the jobs a worker holds have a lease.
  CHECK ((status IN ('IN_PROGRESS', 'CANCELING')) = (lease_owner IS NOT NULL AND lease_until_ms IS NOT NULL))
) STRICT;
INSERT INTO jobs_4 SELECT * FROM jobs;
DROP TABLE jobs;
ALTER TABLE jobs_4 RENAME TO jobs;
-- The job rules once more, where no program can get around them: one active backup per cluster and kind.
CREATE UNIQUE INDEX jobs_slot ON jobs (cluster_id, slot)
  WHERE slot IS NOT NULL AND status IN ('PENDING', 'IN_PROGRESS', 'CANCELING');
CREATE INDEX jobs_active ON jobs (created_ms, seq) WHERE status IN ('PENDING', 'IN_PROGRESS', 'CANCELING');
CREATE INDEX jobs_by_time ON jobs (created_ms, seq);
CREATE INDEX jobs_by_cluster ON jobs (cluster_id, created_ms, seq);
CREATE INDEX jobs_by_project ON jobs (project_id, created_ms, seq);
CREATE INDEX jobs_by_backup ON jobs (backup_id);
-- Holds every column that counting needs: the rows themselves can be large.
CREATE INDEX jobs_by_kind ON jobs (job_type, status, ended_ms, started_ms, created_ms, moved_bytes);
