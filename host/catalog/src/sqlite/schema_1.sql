-- Version 1 of the catalog. Never edited once released: a change is a new file, schema_2.sql, that alters this.
-- Times are milliseconds since 1970 UTC, JSON is text, identifiers and enumerations are spelled as in the API.

CREATE TABLE projects (
  id         TEXT PRIMARY KEY,
  name       TEXT NOT NULL,
  created_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE clusters (
  id             TEXT PRIMARY KEY,
  project_id     TEXT NOT NULL REFERENCES projects (id),
  name           TEXT NOT NULL,
  region_id      TEXT NOT NULL,
  source_kind    TEXT NOT NULL,
  location       TEXT NOT NULL,
  cu_size        INTEGER NOT NULL,
  status         TEXT NOT NULL,
  created_ms     INTEGER NOT NULL,
  dropped_ms     INTEGER,
  backup_counter INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;
CREATE INDEX clusters_by_name ON clusters (name, id);

-- cluster_id refers to no row on purpose: a backup found in a vault may be of a cluster that was never registered here.
CREATE TABLE backups (
  id              TEXT PRIMARY KEY,
  name            TEXT NOT NULL,
  project_id      TEXT NOT NULL REFERENCES projects (id),
  cluster_id      TEXT NOT NULL,
  cluster_name    TEXT NOT NULL,
  backup_type     TEXT NOT NULL CHECK (backup_type IN ('CLUSTER', 'COLLECTION')),
  creation_method TEXT NOT NULL CHECK (creation_method IN ('MANUAL', 'AUTO')),
  status          TEXT NOT NULL CHECK (status IN ('CREATING', 'AVAILABLE', 'FAILED', 'DELETED')),
  size_bytes      INTEGER NOT NULL,
  region_id       TEXT NOT NULL,
  created_ms      INTEGER NOT NULL,
  ended_ms        INTEGER,
  expires_ms      INTEGER,
  deleted_ms      INTEGER,
  purged_ms       INTEGER,
  error           TEXT,
  collections     TEXT NOT NULL,
  detail          TEXT NOT NULL,
  CHECK ((status = 'DELETED') = (deleted_ms IS NOT NULL)),
  CHECK (creation_method = 'AUTO' OR expires_ms IS NULL)
) STRICT;
CREATE INDEX backups_by_time ON backups (created_ms, id);
CREATE INDEX backups_by_cluster ON backups (cluster_id, created_ms, id);
CREATE INDEX backups_by_project ON backups (project_id, created_ms, id);

CREATE TABLE jobs (
  seq            INTEGER PRIMARY KEY AUTOINCREMENT,
  id             TEXT NOT NULL UNIQUE,
  job_type       TEXT NOT NULL CHECK (job_type IN ('BACKUP', 'COPY', 'RESTORE', 'VERIFY')),
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
-- The job rules once more, where no program can get around them: one active backup per cluster and kind.
CREATE UNIQUE INDEX jobs_slot ON jobs (cluster_id, slot)
  WHERE slot IS NOT NULL AND status IN ('PENDING', 'IN_PROGRESS', 'CANCELING');
CREATE INDEX jobs_active ON jobs (created_ms, seq) WHERE status IN ('PENDING', 'IN_PROGRESS', 'CANCELING');
CREATE INDEX jobs_by_time ON jobs (created_ms, seq);
CREATE INDEX jobs_by_cluster ON jobs (cluster_id, created_ms, seq);
CREATE INDEX jobs_by_project ON jobs (project_id, created_ms, seq);
CREATE INDEX jobs_by_backup ON jobs (backup_id);

CREATE TABLE api_keys (
  id         TEXT PRIMARY KEY,
  name       TEXT NOT NULL,
  hash       TEXT NOT NULL UNIQUE,
  role       TEXT NOT NULL,
  scope      TEXT NOT NULL,
  created_ms INTEGER NOT NULL,
  expires_ms INTEGER,
  revoked_ms INTEGER
) STRICT, WITHOUT ROWID;

CREATE TABLE audit (
  seq     INTEGER PRIMARY KEY AUTOINCREMENT,
  time_ms INTEGER NOT NULL,
  actor   TEXT NOT NULL,
  action  TEXT NOT NULL,
  subject TEXT NOT NULL,
  outcome TEXT NOT NULL
) STRICT;

CREATE TABLE settings (
  key   TEXT PRIMARY KEY,
  value TEXT NOT NULL
) STRICT, WITHOUT ROWID;
