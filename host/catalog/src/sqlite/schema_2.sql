-- Version 2: schedules. Never edited once released.

-- What says when a cluster is backed up automatically. due_ms is when the next automatic backup is to start; without it
-- the schedule is off. revision grows with every change, so that who decided by an older one is told.
CREATE TABLE schedules (
  cluster_id TEXT PRIMARY KEY REFERENCES clusters (id),
  schedule   TEXT NOT NULL,
  due_ms     INTEGER,
  changed_ms INTEGER NOT NULL,
  revision   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX schedules_due ON schedules (due_ms, cluster_id) WHERE due_ms IS NOT NULL;
CREATE INDEX backups_expiring ON backups (expires_ms) WHERE expires_ms IS NOT NULL AND status = 'AVAILABLE';
CREATE INDEX backups_unpurged ON backups (deleted_ms) WHERE status = 'DELETED' AND purged_ms IS NULL;

-- Copies in other regions that go before their backup does.
CREATE TABLE expiring_copies (
  backup_id    TEXT NOT NULL REFERENCES backups (id),
  region_id    TEXT NOT NULL,
  expires_ms   INTEGER NOT NULL,
  withdrawn_ms INTEGER,
  PRIMARY KEY (backup_id, region_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX expiring_copies_due ON expiring_copies (expires_ms) WHERE withdrawn_ms IS NULL;

-- Jobs of one more type. SQLite changes a CHECK only with its table; nothing refers to this one.
CREATE TABLE jobs_2 (
  seq            INTEGER PRIMARY KEY AUTOINCREMENT,
  id             TEXT NOT NULL UNIQUE,
  job_type       TEXT NOT NULL CHECK (job_type IN ('BACKUP', 'COPY', 'RESTORE', 'VERIFY', 'EXPORT')),
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
  CHECK ((job_type = 'BACKUP') = (slot IS NOT NULL)),
  CHECK ((status IN ('SUCCESSFUL', 'FAILED', 'CANCELED')) = (ended_ms IS NOT NULL)),
  -- Exactly the jobs a worker holds have a lease.
  CHECK ((status IN ('IN_PROGRESS', 'CANCELING')) = (lease_owner IS NOT NULL AND lease_until_ms IS NOT NULL))
) STRICT;
INSERT INTO jobs_2 SELECT * FROM jobs;
DROP TABLE jobs;
ALTER TABLE jobs_2 RENAME TO jobs;
-- The job rules once more, where no program can get around them: one active backup per cluster and kind.
CREATE UNIQUE INDEX jobs_slot ON jobs (cluster_id, slot)
  WHERE slot IS NOT NULL AND status IN ('PENDING', 'IN_PROGRESS', 'CANCELING');
CREATE INDEX jobs_active ON jobs (created_ms, seq) WHERE status IN ('PENDING', 'IN_PROGRESS', 'CANCELING');
CREATE INDEX jobs_by_time ON jobs (created_ms, seq);
CREATE INDEX jobs_by_cluster ON jobs (cluster_id, created_ms, seq);
CREATE INDEX jobs_by_project ON jobs (project_id, created_ms, seq);
CREATE INDEX jobs_by_backup ON jobs (backup_id);
