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
