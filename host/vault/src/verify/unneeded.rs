//! Packs that no backup needs now, and that the next one may rely on all the same: a writer stores no blob that is there.
//!
//! They are only hashed, whatever key there is. A pack that a writer takes for absent, because it is marked or noted as
//! damaged, is left out, as is one that vanished. Failure of the store is an error.

use std::collections::HashSet;

use futures::{StreamExt, TryStreamExt, stream};

use super::{ObjectDamage, VerifyLevel, pack};
use crate::index::NOTHING;
use crate::prune::marks::Marks;
use crate::{PackId, Vault, VaultError};

/// What reading packs that no backup needs told.
#[derive(Debug, Default)]
pub struct UnneededPacks {
    /// Those that are not what their names say.
    pub damaged: Vec<(PackId, ObjectDamage)>,
    /// Bytes that were read.
    pub read_bytes: u64,
}

impl Vault {
    /// Reads the packs that a new backup may rely on and that are not among `known`, and names those that are damaged.
    ///
    /// # Errors
    /// Failures of the store.
    pub async fn verify_unneeded_packs(&self, known: &HashSet<PackId>) -> Result<UnneededPacks, VaultError> {
        let absent = Marks::load(self.objects()).await?.packs();
        let reader = self.open_reader().await?;
        let packs: Vec<(PackId, u64)> = reader
            .index()
            .packs()
            .filter(|(pack, _)| !known.contains(pack) && !absent.contains(pack) && !reader.is_noted(pack))
            .collect();
        let reader = &reader;
        let found: Vec<(PackId, pack::PackFinding)> = stream::iter(packs)
            .map(|(pack, bytes)| async move {
                let finding = pack::look_at(reader, pack, bytes, &[], VerifyLevel::Stored).await?;
                Ok::<_, VaultError>((pack, finding))
            })
            .buffer_unordered(2)
            .try_collect()
            .await?;
        let mut unneeded = UnneededPacks::default();
        for (pack, finding) in found {
            unneeded.read_bytes += finding.read_bytes;
            let damage = finding.damage.filter(|damage| damage.found != NOTHING);
            unneeded.damaged.extend(damage.map(|damage| (pack, damage)));
        }
        Ok(unneeded)
    }
}
