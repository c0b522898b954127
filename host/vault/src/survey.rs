//! Everything the index objects and the packs of a vault say at one moment, with the store's times.

use std::collections::HashMap;

use futures::{StreamExt, TryStreamExt, stream};
use longshore_model::Timestamp;
use object_store::path::Path;

use crate::index::{self, NOTHING, PackIndex};
use crate::objects::Objects;
use crate::verify::ObjectDamage;
use crate::{PackId, VaultError, layout};

/// A pack that is there, and when the store says it was written.
#[derive(Debug, Clone)]
pub(crate) struct SurveyedPack {
    pub(crate) pack: PackIndex,
    pub(crate) written: Timestamp,
    /// A good index object names it. Also true where that cannot be told, because index objects were just replaced.
    pub(crate) indexed: bool,
}

/// A pack that is there but whose index cannot be read.
#[derive(Debug, Clone)]
pub(crate) struct UnreadablePack {
    pub(crate) id: PackId,
    pub(crate) size_bytes: u64,
    pub(crate) written: Timestamp,
}

/// Everything the index objects and the packs of a vault say, at one moment.
#[derive(Debug, Default)]
pub(crate) struct Survey {
    /// Packs that are there and whose entries are known, in order of key.
    pub(crate) packs: Vec<SurveyedPack>,
    /// Packs that are there and whose entries are not known.
    pub(crate) unreadable: Vec<UnreadablePack>,
    /// Index objects that are good, and the packs each names.
    pub(crate) index_objects: Vec<(Path, Vec<PackId>)>,
    /// Index objects and packs that could not be used.
    pub(crate) damages: Vec<ObjectDamage>,
}

/// Reads all index objects, and the ends of packs that no good index object covers.
///
/// Packs are listed *after* the index objects were read, so that a pack an index object names and that is missing from
/// the listing is really gone.
pub(crate) async fn survey(objects: &Objects) -> Result<Survey, VaultError> {
    let limits = objects.limits();
    let mut survey = Survey::default();
    let mut indexed: HashMap<PackId, PackIndex> = HashMap::new();
    let mut replaced = false;
    for (path, object) in index::read_index_objects(objects).await? {
        match object {
            Ok(packs) => {
                survey.index_objects.push((path, packs.iter().map(|pack| pack.id).collect()));
                indexed.extend(packs.into_iter().map(|pack| (pack.id, pack)));
            }
            // One that vanished since it was listed was replaced by another; the ends of its packs will do as well.
            Err(damage) if damage.found == NOTHING => replaced = true,
            Err(damage) => survey.damages.push(damage),
        }
    }
    let mut unindexed = Vec::new();
    let mut listed = objects.list(Some(layout::PACKS)).await?;
    listed.sort_by(|one, other| one.location.cmp(&other.location));
    for meta in listed {
        let Some(id) = layout::parse_pack_path(meta.location.as_ref()) else { continue };
        let written = Timestamp::from_millis(meta.last_modified.timestamp_millis());
        match indexed.remove(&id) {
            Some(pack) if pack.size_bytes == meta.size => {
                survey.packs.push(SurveyedPack { pack, written, indexed: true });
            }
            Some(pack) => {
                survey.unreadable.push(UnreadablePack { id, size_bytes: meta.size, written });
                survey.damages.push(ObjectDamage {
                    object: meta.location.to_string(),
                    expected: format!("{} bytes", pack.size_bytes),
                    found: format!("{} bytes", meta.size),
                });
            }
            None => unindexed.push((id, meta.location, meta.size, written)),
        }
    }
    survey.damages.extend(indexed.into_values().map(|pack| ObjectDamage {
        object: layout::pack_path(&pack.id).to_string(),
        expected: format!("{} bytes", pack.size_bytes),
        found: NOTHING.to_owned(),
    }));
    let mut ends = stream::iter(unindexed)
        .map(|(id, location, size, written)| async move {
            let end = index::read_pack_end(objects, id, &location, size).await?;
            Ok::<_, VaultError>((UnreadablePack { id, size_bytes: size, written }, end))
        })
        .buffered(limits.requests_in_flight.max(1));
    while let Some((place, end)) = ends.try_next().await? {
        match end {
            Ok(pack) => {
                survey.packs.push(SurveyedPack { pack, written: place.written, indexed: replaced });
            }
            Err(damage) => {
                if damage.found != NOTHING {
                    survey.unreadable.push(place);
                }
                survey.damages.push(damage);
            }
        }
    }
    survey.damages.sort_by(|one, other| one.object.cmp(&other.object));
    Ok(survey)
}
