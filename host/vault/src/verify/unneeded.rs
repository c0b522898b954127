//! Packs that no backup needs now, and that the next one may rely on all the same: a writer stores no blob that is there.
//!
//! They are only hashed, whatever key there is. A pack that a writer takes for absent, because it is marked or noted as
//! damaged, is left out, as is one that vanished. Failure of the store is an error.

use std::collections::HashSet;

use super::{ObjectDamage, VerifyLevel, VerifyOptions, look_at_all};
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
        let packs = reader.index().packs().map(|(pack, _)| pack);
        let packs = packs.filter(|pack| !known.contains(pack) && !absent.contains(pack) && !reader.is_noted(pack));
        let packs = packs.map(|pack| (pack, Vec::new())).collect();
        let mut unneeded = UnneededPacks::default();
        for (pack, finding) in look_at_all(&reader, packs, &VerifyOptions::new(VerifyLevel::Stored, &|_, _| {})).await?
        {
            unneeded.read_bytes += finding.read_bytes;
            let damage = finding.damage.filter(|damage| damage.found != NOTHING);
            unneeded.damaged.extend(damage.map(|damage| (pack, damage)));
        }
        Ok(unneeded)
    }
}
