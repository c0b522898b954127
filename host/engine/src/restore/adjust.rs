//! What is changed of a planned restore before it runs: users, shards, what is there already.

use std::collections::BTreeSet;
use std::sync::Arc;

use longshore_model::CollectionName;
use longshore_source::{Administrator, NewPassword};
use serde::Serialize;
use serde_json::Value;

use super::RestorePlan;
use crate::EngineError;
use crate::config::RestoreConfig;
use crate::random::{Random, new_password};

/// A collection that gets fewer shards than it had, because its new cluster is too small for them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LoweredShards {
    /// Its name in the target.
    pub collection: CollectionName,
    /// Shards when it was backed up.
    pub backed_up: u32,
    /// Shards it gets.
    pub restored: u32,
}

/// Under which names sources keep the number of shards in a schema: Milvus servers, and Milvus Lite.
const SHARDS: [&str; 2] = ["shards", "shards_num"];

/// Lowers the shards of a schema; before and after, where that changed something.
fn lower(schema: &mut Value, rules: &RestoreConfig, cu_size: u32) -> Option<(u32, u32)> {
    let shards = SHARDS.into_iter().find(|name| schema.get(name).is_some_and(Value::is_u64))?;
    let shards = schema.get_mut(shards)?;
    let backed_up = u32::try_from(shards.as_u64()?).ok()?;
    let restored = rules.shards(backed_up, cu_size);
    if restored >= backed_up {
        return None;
    }
    *shards = restored.into();
    Some((backed_up, restored))
}

impl RestorePlan {
    /// Restores users, roles and grants as well; users get new passwords.
    ///
    /// # Errors
    /// [`EngineError::BadRequest`] when the backup has none.
    pub fn with_users(self, random: &Arc<dyn Random>) -> Result<Self, EngineError> {
        let random = Arc::clone(random);
        self.with_users_by(Arc::new(move |_: &str| new_password(random.as_ref()).map_err(|error| error.to_string())))
    }

    /// The same with passwords of somebody's own.
    pub(crate) fn with_users_by(mut self, new_password: NewPassword) -> Result<Self, EngineError> {
        let none = || EngineError::BadRequest {
            what: "this backup holds no users and roles: its source has none, or its user was not allowed to list them"
                .to_owned(),
        };
        let access = self.target.access.get_or_insert_default();
        access.kept = Some(self.opened.users().ok_or_else(none)?);
        access.new_password = Some(new_password);
        Ok(self)
    }

    /// Whether the backup holds users and roles.
    pub(crate) fn has_users(&self) -> bool {
        self.opened.users().is_some()
    }

    /// Makes an administrator in the target.
    pub(crate) fn make_administrator(&mut self, administrator: Administrator) {
        self.target.access.get_or_insert_default().administrator = Some(administrator);
    }

    /// Lowers the shards of collections to what a cluster of this size takes.
    pub fn lower_shards(&mut self, rules: &RestoreConfig, cu_size: u32) {
        for collection in &mut self.target.collections {
            if let Some((backed_up, restored)) = lower(&mut collection.schema, rules, cu_size) {
                let collection = collection.mapping.to.clone();
                self.lowered_shards.push(LoweredShards { collection, backed_up, restored });
            }
        }
    }

    /// What each collection is called in the target, and how many rows its files have.
    pub(crate) fn destinations(&self) -> Vec<(CollectionName, u64)> {
        let rows = self.collections.iter().map(|write| write.physical_rows);
        self.target.collections.iter().map(|one| one.mapping.to.clone()).zip(rows).collect()
    }

    /// Leaves out what is in the target already.
    pub(crate) fn leave_out(&mut self, there: &BTreeSet<CollectionName>) {
        let stays: Vec<bool> = self.target.collections.iter().map(|one| !there.contains(&one.mapping.to)).collect();
        let mut stays_again = stays.iter();
        self.target.collections.retain(|_| stays_again.next().copied().unwrap_or(true));
        let mut stays = stays.iter();
        self.collections.retain(|_| stays.next().copied().unwrap_or(true));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use longshore_source::milvus::KeptSchema;
    use serde_json::json;

    use super::*;

    #[test]
    fn shards_are_found_where_each_kind_of_source_keeps_them() {
        let rules = RestoreConfig { shards_per_cu: 2, most_shards: 16 };
        let mut server = serde_json::to_value(KeptSchema { shards: 8, ..KeptSchema::default() }).unwrap();
        assert_eq!(lower(&mut server, &rules, 1), Some((8, 2)));
        assert_eq!(serde_json::from_value::<KeptSchema>(server).unwrap().shards, 2);
        let mut lite = json!({ "shards_num": 8 });
        assert_eq!((lower(&mut lite, &rules, 3), lite), (Some((8, 6)), json!({ "shards_num": 6 })));
        let mut none = json!({ "fields": [] });
        assert_eq!((lower(&mut none, &rules, 1), none), (None, json!({ "fields": [] })));
    }
}
