//! The store's own time, by an object written for that.

use bytes::Bytes;
use longshore_model::{Clock, Timestamp};
use object_store::ObjectStoreExt;
use object_store::path::Path;

use crate::{MarkId, Vault, VaultError, layout};

/// Writes a probe, asks when the store says it was written, and removes it.
///
/// # Errors
/// [`VaultError::ClockSkew`] when that is further from this host's time than the limit; failures of the store. A store
/// that refuses to delete the probe is none: a later prune removes it.
pub(super) async fn store_time(vault: &Vault, name: MarkId, clock: &dyn Clock) -> Result<Timestamp, VaultError> {
    let objects = vault.objects();
    let path = Path::from(format!("{}/{name}", layout::CLOCK));
    let before = clock.now();
    objects.replace(&path, Bytes::from_static(b"what time is it?\n")).await?;
    let meta = objects.store().head(&path).await.map_err(|error| VaultError::store("read", &path, error))?;
    let after = clock.now();
    if let Err(error) = objects.delete(&path).await {
        tracing::debug!(%path, %error, "a probe was left to a later prune");
    }
    let store = Timestamp::from_millis(meta.last_modified.timestamp_millis());
    let limit_ms = vault.limits().clock_skew_ms;
    // The truth lies between the two readings; a slow answer is no skew.
    if before.millis_since(store) > limit_ms || store.millis_since(after) > limit_ms {
        return Err(VaultError::ClockSkew { place: vault.place(), store, host: after, limit_ms });
    }
    Ok(store)
}
