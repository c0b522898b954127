//! What differs between versions of Milvus, each difference in one place. What of it was run stands in
//! `host/source/MILVUS.md`.

use super::client::MilvusClient;

impl MilvusClient {
    /// Databases have properties and can be described (`DescribeDatabase`, Milvus 2.4.3; milvus-backup
    /// `internal/client/milvus/grpc.go`).
    pub(super) fn describes_databases(&self) -> bool {
        self.is_at_least(2, 4, 3)
    }

    /// Users, roles and grants can be read with hashed passwords in one call (`BackupRBAC`, Milvus 2.4.10; milvus-backup
    /// `docs/user_guide/rbac.md`).
    pub(super) fn backs_up_access(&self) -> bool {
        self.is_at_least(2, 4, 10)
    }

    /// The REST interface tells which logs a segment has (`/v2/vectordb/segments/describe`, Milvus 2.5.8; milvus-backup
    /// `internal/client/milvus/grpc.go`).
    pub(super) fn describes_segments(&self) -> bool {
        self.is_at_least(2, 5, 8)
    }

    /// The oldest server that is read. Older ones delete without writing a delta log (seen on 2.2.16), so that deleted rows
    /// would come back.
    pub(super) fn can_be_backed_up(&self) -> bool {
        self.is_at_least(2, 3, 0)
    }
}
