//! Which of several manifests of one backup counts, and what is said when none is good. Pure.

use std::collections::BTreeMap;

use longshore_model::BackupId;

use super::ListedManifest;
use crate::VaultError;
use crate::layout::{ManifestKey, ManifestKind};
use crate::manifest::bad;

/// Of each backup the manifests with the highest token, the one that counts first: a root before a receipt and then the
/// larger digest, so that every reader takes the same one.
pub(super) fn newest_per_backup(
    manifests: Vec<ListedManifest>,
) -> BTreeMap<BackupId, Vec<(ManifestKind, ManifestKey)>> {
    let mut newest: BTreeMap<BackupId, Vec<(ManifestKind, ManifestKey)>> = BTreeMap::new();
    for ListedManifest { kind, key, .. } in manifests {
        let there = newest.entry(key.backup_id.clone()).or_default();
        let token = there.first().map_or(0, |(_, first)| first.token);
        if key.token > token {
            there.clear();
        }
        if key.token >= token {
            there.push((kind, key));
        }
    }
    for there in newest.values_mut() {
        there.sort_by_key(|(kind, key)| std::cmp::Reverse((*kind == ManifestKind::Root, key.digest)));
    }
    newest
}

/// What was wrong with the manifests of one commit that were tried before a good one. One that is damaged does not hide the
/// others: they repeat the same root. Nobody falls back to a lower token, which would be another content.
#[derive(Default)]
pub(super) struct LeftOut(Option<VaultError>);

impl LeftOut {
    /// Takes a damaged manifest's error; gives back everything that ends the search.
    pub(super) fn sort<T>(
        &mut self,
        key: &ManifestKey,
        loaded: Result<T, VaultError>,
    ) -> Option<Result<T, VaultError>> {
        match loaded {
            Err(error) if error.is_bad_manifest() => {
                tracing::warn!(backup = %key.backup_id, %error, "a manifest was left out");
                self.0.get_or_insert(error);
                None
            }
            result => Some(result),
        }
    }

    /// What to say when none was good.
    pub(super) fn error(self) -> VaultError {
        self.0.unwrap_or_else(|| bad("root", "there is none".to_owned()))
    }
}
