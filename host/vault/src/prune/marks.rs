//! Marks: lists of packs and orphan parts that are to go (FORMAT.md, "Marks").
//!
//! Contract: a mark is written once and never changed, so that whoever honoured it under its id knows what it listed.
//! What any mark lists counts as absent for deduplication. Failure: a mark that is not one is honoured by nobody,
//! and so blocks every deletion that a writer's pin would have to honour it for. One that the disk cannot read may be that
//! of a prune at work: readers do without it, writers and prunes do not begin until it is out of the way.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt;
use std::str::FromStr;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use longshore_model::Timestamp;
use object_store::ObjectMeta;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::layout::{self, FORMAT_VERSION};
use crate::objects::Objects;
use crate::{PackId, VaultError};

/// Name of a mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MarkId([u8; 16]);

impl MarkId {
    /// The mark number `number` of a prune run that drew these random bytes.
    #[must_use]
    pub fn derive(random: &[u8; 16], number: u64) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("longshore vault 1 mark");
        hasher.update(random).update(&number.to_le_bytes());
        let mut id = [0; 16];
        hasher.finalize_xof().fill(&mut id);
        Self(id)
    }

    /// The 16 bytes.
    pub(super) fn bytes(self) -> [u8; 16] {
        self.0
    }
}

impl fmt::Display for MarkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl FromStr for MarkId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let lower_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        let number = (text.len() == 32 && text.bytes().all(lower_hex)).then(|| u128::from_str_radix(text, 16).ok());
        let number = number.flatten().ok_or_else(|| "a mark id has 32 hexadecimal characters".to_owned())?;
        Ok(Self(number.to_be_bytes()))
    }
}

impl Serialize for MarkId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for MarkId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// What a mark says about the packs it lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MarkState {
    /// Nothing needed them when it was written. A run at least one fence later looks again.
    Marked,
    /// A run that is at work may delete them: it wrote this before it looked again.
    Deleting,
    /// They were deleted. Kept for another fence, because listings of some stores show deleted objects for a while.
    Removed,
}

/// A mark as it stands in the vault.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// Format of the record.
    pub format: u32,
    /// `mark`.
    pub kind: String,
    /// Its name.
    pub id: MarkId,
    /// What it says.
    pub state: MarkState,
    /// When it was written, by the clock of the host that wrote it; for people. Its age is the store's affair.
    pub created: Timestamp,
    /// Packs that are to go.
    pub packs: Vec<PackId>,
    /// Keys of orphan parts that are to go.
    #[serde(default)]
    pub parts: Vec<String>,
}

/// A mark and when the store says it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ListedMark {
    pub(crate) mark: Mark,
    pub(crate) written: Timestamp,
}

/// The marks of a vault at one moment.
#[derive(Debug, Clone, Default)]
pub(crate) struct Marks {
    pub(crate) list: Vec<ListedMark>,
    /// Marks that are there and of which nobody knows what they list, each with the reason.
    unreadable: BTreeMap<MarkId, String>,
}

/// What became of reading one mark.
enum Read {
    Gone,
    Foreign,
    Mark(ListedMark),
    Unreadable(String),
}

/// How often marks are listed again when one vanishes between listing and reading.
const LIST_TRIES: u32 = 5;

impl Marks {
    /// Lists and reads all marks; those that cannot be read are left out. For readers, which lose nothing by that.
    ///
    /// A mark that vanishes between listing and reading may have been replaced, by one that the listing does not show: it
    /// is listed again. Some stores list for a while what was deleted long ago. What vanishes in the last listing is let
    /// pass if it had vanished before that listing was asked for: what replaced it was written before it went, so it is in
    /// the list. To honour fewer marks than there are is never safe: a prune that has looked deletes what they name.
    ///
    /// # Errors
    /// [`VaultError::MarksKeepChanging`] when another mark vanishes every time.
    pub(crate) async fn load(objects: &Objects) -> Result<Self, VaultError> {
        let mut gone = BTreeSet::new();
        let mut tries = LIST_TRIES;
        loop {
            tries = tries.saturating_sub(1);
            let (marks, vanished) = Self::try_load(objects).await?;
            if vanished.is_empty() || (tries == 0 && vanished.is_subset(&gone)) {
                return Ok(marks);
            }
            if tries == 0 {
                return Err(VaultError::MarksKeepChanging { tries: LIST_TRIES });
            }
            gone.extend(vanished);
        }
    }

    /// As [`Marks::load`], for whoever writes or deletes: of what it does not know it must not do more.
    ///
    /// # Errors
    /// [`VaultError::UnreadableMark`] as well.
    pub(crate) async fn load_all(objects: &Objects) -> Result<Self, VaultError> {
        let marks = Self::load(objects).await?;
        match marks.unreadable.first_key_value() {
            None => Ok(marks),
            Some((id, reason)) => Err(VaultError::UnreadableMark {
                object: layout::mark_path(id).to_string(),
                place: objects.place(),
                reason: reason.clone(),
            }),
        }
    }

    /// The marks that could be read, and those that vanished.
    async fn try_load(objects: &Objects) -> Result<(Self, BTreeSet<MarkId>), VaultError> {
        let listed = objects.list(Some(layout::MARKS)).await?;
        let listed =
            listed.into_iter().filter_map(|meta| layout::parse_mark_path(meta.location.as_ref()).map(|id| (id, meta)));
        let read: Vec<(MarkId, Read)> = stream::iter(listed)
            .map(|(id, meta)| async move { Ok::<_, VaultError>((id, read(objects, id, &meta).await?)) })
            .buffered(objects.limits().requests_in_flight.max(1))
            .try_collect()
            .await?;
        let mut vanished = BTreeSet::new();
        let mut marks = Self::default();
        for (id, found) in read {
            match found {
                Read::Mark(mark) => marks.list.push(mark),
                Read::Foreign => {}
                Read::Gone => _ = vanished.insert(id),
                Read::Unreadable(reason) => _ = marks.unreadable.insert(id, reason),
            }
        }
        Ok((marks, vanished))
    }

    /// Their names.
    pub(crate) fn ids(&self) -> BTreeSet<MarkId> {
        self.list.iter().map(|listed| listed.mark.id).collect()
    }

    /// Packs that any of them lists.
    pub(crate) fn packs(&self) -> HashSet<PackId> {
        self.list.iter().flat_map(|listed| &listed.mark.packs).copied().collect()
    }

    /// Packs that may be gone at any moment, or are.
    pub(crate) fn going(&self) -> HashSet<PackId> {
        let going = self.list.iter().filter(|listed| listed.mark.state != MarkState::Marked);
        going.flat_map(|listed| &listed.mark.packs).copied().collect()
    }
}

async fn read(objects: &Objects, id: MarkId, meta: &ObjectMeta) -> Result<Read, VaultError> {
    let written = Timestamp::from_millis(meta.last_modified.timestamp_millis());
    match objects.get(&meta.location, objects.limits().mark_bytes).await {
        Ok(Some(bytes)) => Ok(parse(id, &bytes).map_or(Read::Foreign, |mark| Read::Mark(ListedMark { mark, written }))),
        Ok(None) => Ok(Read::Gone),
        Err(error) if error.is_unreadable_object() => {
            tracing::warn!(mark = %id, %error, "left out: it cannot be read");
            Ok(Read::Unreadable(error.to_string()))
        }
        Err(error) => Err(error),
    }
}

fn parse(id: MarkId, bytes: &[u8]) -> Option<Mark> {
    match serde_json::from_slice::<Mark>(bytes) {
        Ok(mark) if mark.kind == "mark" && mark.format == FORMAT_VERSION && mark.id == id => Some(mark),
        _ => {
            tracing::warn!(mark = %id, "left out: it is not a mark this version can read");
            None
        }
    }
}

/// Writes marks: as many objects as the limits ask for, each durable when this returns.
pub(crate) async fn write(
    objects: &Objects,
    state: MarkState,
    created: Timestamp,
    packs: &[PackId],
    parts: &[String],
    mut next_id: impl FnMut() -> MarkId,
) -> Result<Vec<Mark>, VaultError> {
    let chunk = objects.limits().mark_entries.max(1);
    let mut marks = Vec::new();
    let mut packs = packs.chunks(chunk);
    let mut parts = parts.chunks(chunk);
    loop {
        let (some, others) = (packs.next().unwrap_or_default(), parts.next().unwrap_or_default());
        if some.is_empty() && others.is_empty() {
            return Ok(marks);
        }
        let mark = Mark {
            format: FORMAT_VERSION,
            kind: "mark".to_owned(),
            id: next_id(),
            state,
            created,
            packs: some.to_vec(),
            parts: others.to_vec(),
        };
        let path = layout::mark_path(&mark.id);
        let bytes = serde_json::to_vec(&mark)
            .map_err(|error| VaultError::BadManifest { object: path.to_string(), reason: error.to_string() })?;
        objects.replace(&path, Bytes::from(bytes)).await?;
        marks.push(mark);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::sync::Arc;

    use object_store::memory::InMemory;

    use super::*;
    use crate::Limits;
    use crate::testing::{Effect, Fault, FaultStore, Operation};

    /// A listing that shows what was deleted hides no other mark: a writer that honoured none would refer to packs that a
    /// prune is about to delete.
    #[tokio::test]
    async fn a_mark_that_stays_in_the_listing_hides_no_other() {
        let faults = FaultStore::new(Arc::new(InMemory::new()));
        let objects = Objects::new(faults.store(), Limits::DEFAULT);
        let mut ids = (1..=2_u8).map(|number| MarkId([number; 16]));
        let mut mark = async |state| {
            let (pack, id) = (PackId::new(crate::digest_of(b"pack")), ids.next().unwrap());
            write(&objects, state, Timestamp::from_millis(0), &[pack], &[], || id).await.unwrap().remove(0).id
        };
        let (stays, goes) = (mark(MarkState::Deleting).await, mark(MarkState::Marked).await);
        faults.settle();
        objects.delete(&layout::mark_path(&goes)).await.unwrap();
        assert_eq!(Marks::load(&objects).await.unwrap().ids(), BTreeSet::from([stays]));
        faults.plan(vec![Fault::on(Operation::List, "", Effect::Stale(u64::MAX))]);
        let (_, vanished) = Marks::try_load(&objects).await.unwrap();
        assert_eq!(vanished, BTreeSet::from([goes]), "the listing is an old one");
        let marks = Marks::load(&objects).await.unwrap();
        assert_eq!(marks.ids(), BTreeSet::from([stays]));
        assert_eq!(marks.going().len(), 1);
    }
}
