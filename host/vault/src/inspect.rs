//! Shows what is in a vault as readable JSON, for emergencies.
//!
//! Contract: reads only, takes no pin and needs no key; works on a vault whose header or any other object is damaged or
//! missing, and says what is wrong with what it finds. Nothing is trusted: every name is compared with its object. The
//! project's id key is never shown.
//!
//! Failure: [`VaultError`] only when the store does not answer, or there is no such object.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore};
use serde::Serialize;
use serde_json::{Value, json};

use crate::header::Header;
use crate::layout::{self, HEADER_KEY, ManifestKey, ManifestKind};
use crate::manifest::check_digest;
use crate::objects::Objects;
use crate::{BlobEntry, Keys, Limits, PackId, Part, Receipt, Root, Sealed, Vault, VaultError, digest_of, index, pack};

/// What was found.
#[derive(Debug, Clone, PartialEq)]
pub struct Inspection {
    /// It, as JSON.
    pub content: Value,
    /// Objects that are not as they should be, and why.
    pub problems: Vec<(String, String)>,
}

impl Inspection {
    fn problem(&mut self, object: impl std::fmt::Display, what: impl std::fmt::Display) {
        self.problems.push((object.to_string(), what.to_string()));
    }
}

/// Shows everything that is in a vault, objects of no known name too. With a reader key in `keys`, names of an encrypted
/// vault can be read.
///
/// # Errors
/// [`VaultError::Store`] when listing fails.
pub async fn inspect_vault(store: Arc<dyn ObjectStore>, keys: &Keys) -> Result<Inspection, VaultError> {
    let objects = Objects::new(Arc::clone(&store), Limits::DEFAULT);
    let mut found = Inspection { content: Value::Null, problems: Vec::new() };
    let mut listed = objects.list(None).await?;
    listed.sort_by(|one, other| one.location.cmp(&other.location));
    let header = header(&objects, &mut found).await?;
    let vault = match Vault::open(store, keys).await {
        Ok(vault) => Some(vault),
        Err(error) if error.is_unanswered() => return Err(error),
        // A header that is damaged was named above; one that is encrypted and has no key here is none the worse.
        Err(_) => None,
    };
    let (mut folders, mut unknown) = (BTreeMap::<&'static str, Vec<&ObjectMeta>>::new(), Vec::new());
    for meta in &listed {
        match folder_of(meta.location.as_ref()) {
            Some(folder) => folders.entry(folder).or_default().push(meta),
            None if meta.location.as_ref() == HEADER_KEY => {}
            None => unknown.push(json!({ "object": meta.location.as_ref(), "sizeBytes": meta.size })),
        }
    }
    let mut content = serde_json::Map::new();
    content.insert("place".to_owned(), json!(objects.place()));
    content.insert("header".to_owned(), header);
    for (folder, metas) in &folders {
        let shown = match *folder {
            layout::PACKS => packs(metas, folders.get(layout::INDEX), &objects, &mut found).await?,
            layout::INDEX => continue,
            _ => manifests(metas, vault.as_ref(), &objects, &mut found).await?,
        };
        content.insert((*folder).to_owned(), shown);
    }
    content.insert("unknown".to_owned(), json!(unknown));
    found.content = Value::Object(content);
    Ok(found)
}

/// Shows one object, whatever it is.
///
/// # Errors
/// [`VaultError::MissingObject`], [`VaultError::Store`].
pub async fn inspect_object(store: Arc<dyn ObjectStore>, keys: &Keys, key: &str) -> Result<Inspection, VaultError> {
    let objects = Objects::new(Arc::clone(&store), Limits::DEFAULT);
    let path = Path::from(key);
    let what = "what was asked for".to_owned();
    let bytes = objects.get(&path, size_limit(key, objects.limits())).await?;
    let bytes = bytes.ok_or_else(|| VaultError::MissingObject { what, object: path.to_string() })?;
    let mut found = Inspection { content: Value::Null, problems: Vec::new() };
    let vault = match Vault::open(store, keys).await {
        Ok(vault) => Some(vault),
        Err(error) if error.is_unanswered() => return Err(error),
        Err(_) => None,
    };
    found.content = object(&path, &bytes, vault.as_ref(), &mut found).await?;
    Ok(found)
}

/// How large an object of this name may be, in bytes.
fn size_limit(key: &str, limits: &Limits) -> u64 {
    if layout::CatalogKey::parse(key).is_some() { limits.catalog_bytes } else { limits.manifest_bytes }
}

/// The folder of an object whose name has the form it should have there.
fn folder_of(key: &str) -> Option<&'static str> {
    let known = [
        layout::PACKS,
        layout::INDEX,
        "parts",
        "receipts",
        "roots",
        layout::PINS,
        layout::WITHDRAWN,
        layout::MARKS,
        layout::ERASURES,
        layout::CATALOGS,
        layout::DAMAGED,
        layout::SET_ASIDE,
        "keys",
        "clock",
    ];
    let folder = known.into_iter().find(|folder| key.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/')))?;
    let good = match folder {
        layout::PACKS => layout::parse_pack_path(key).is_some(),
        layout::INDEX => layout::parse_index_path(key).is_some(),
        layout::CATALOGS => layout::CatalogKey::parse(key).is_some(),
        "parts" | "receipts" | "roots" => manifest_key(key).is_some(),
        _ => true,
    };
    good.then_some(folder)
}

fn manifest_key(key: &str) -> Option<(ManifestKind, ManifestKey)> {
    [ManifestKind::Part, ManifestKind::Root, ManifestKind::Receipt]
        .into_iter()
        .find_map(|kind| ManifestKey::parse(kind, key).map(|key| (kind, key)))
}

async fn header(objects: &Objects, found: &mut Inspection) -> Result<Value, VaultError> {
    let bytes = match objects.get(&Path::from(HEADER_KEY), objects.limits().header_bytes).await {
        Ok(bytes) => bytes,
        Err(error @ VaultError::TooLarge { .. }) => {
            found.problem(HEADER_KEY, error);
            return Ok(Value::Null);
        }
        Err(error) => return Err(error),
    };
    let Some(bytes) = bytes else {
        found.problem(HEADER_KEY, "it is missing");
        return Ok(Value::Null);
    };
    if let Err(error) = Header::parse(&objects.place(), &bytes) {
        found.problem(HEADER_KEY, error);
    }
    Ok(readable(&bytes))
}

/// JSON without the id key; of anything else only how long it is.
fn readable(bytes: &[u8]) -> Value {
    let mut value = serde_json::from_slice(bytes)
        .unwrap_or_else(|error| json!({ "notJson": error.to_string(), "sizeBytes": bytes.len() }));
    if let Some(key) = value.get_mut("blob_id_key") {
        *key = json!("(not shown)");
    }
    value
}

/// Small objects, each shown whole. What can be large (the files of a part, the root in a receipt) is shown in short.
async fn manifests(
    metas: &[&ObjectMeta],
    vault: Option<&Vault>,
    objects: &Objects,
    found: &mut Inspection,
) -> Result<Value, VaultError> {
    let mut shown = serde_json::Map::new();
    for meta in metas {
        let key = meta.location.as_ref();
        let value = match objects.get(&meta.location, size_limit(key, objects.limits())).await {
            Ok(Some(bytes)) => object(&meta.location, &bytes, vault, found).await?,
            // Deleted between listing and reading.
            Ok(None) => continue,
            Err(error @ VaultError::TooLarge { .. }) => {
                found.problem(key, error);
                continue;
            }
            Err(error) => return Err(error),
        };
        shown.insert(key.to_owned(), short(value));
    }
    Ok(Value::Object(shown))
}

/// Lists of files by their length: an overview of a vault must stay readable.
fn short(mut value: Value) -> Value {
    let collections = value.pointer_mut("/open/collections").and_then(Value::as_array_mut);
    let sealed = |value: &mut Value| {
        if let Some(files) = value.get_mut("files") {
            let count = files.as_array().map_or(0, Vec::len);
            *files = json!(format!("{count} files"));
        }
    };
    collections.into_iter().flatten().for_each(sealed);
    let collections = value.pointer_mut("/sealed/collections").and_then(Value::as_array_mut);
    collections.into_iter().flatten().for_each(sealed);
    if let Some(sealed) = value.get_mut("sealed").and_then(Value::as_object_mut)
        && let Some(decisions) = sealed.get_mut("decisions")
    {
        *decisions = json!("shown with the object alone");
    }
    value
}

/// One object by its name.
async fn object(
    path: &Path,
    bytes: &Bytes,
    vault: Option<&Vault>,
    found: &mut Inspection,
) -> Result<Value, VaultError> {
    let key = path.as_ref();
    let limits = Limits::DEFAULT;
    if let Some((kind, manifest)) = manifest_key(key) {
        return manifest_object(kind, &manifest, key, bytes, vault, found).await;
    }
    if let Some(id) = layout::parse_pack_path(key) {
        if PackId::new(digest_of(bytes)) != id {
            found.problem(key, "its bytes do not match its name");
        }
        return Ok(match pack::read_index(bytes, &limits) {
            Ok(entries) => json!({ "sizeBytes": bytes.len(), "blobs": entries.iter().map(blob).collect::<Vec<_>>() }),
            Err(damage) => {
                found.problem(key, &damage);
                json!({ "sizeBytes": bytes.len() })
            }
        });
    }
    if let Some(catalog) = layout::CatalogKey::parse(key) {
        if digest_of(bytes) != catalog.digest {
            found.problem(key, "its bytes do not match its name");
        }
        return Ok(json!({ "sizeBytes": bytes.len(), "created": catalog.created }));
    }
    if let Some(digest) = layout::parse_index_path(key) {
        if digest_of(bytes) != digest {
            found.problem(key, "its bytes do not match its name");
        }
        let packs = index::decode(bytes, &limits).unwrap_or_else(|damage| {
            found.problem(key, &damage);
            Vec::new()
        });
        let packs = packs.iter().map(|pack| {
            json!({
                "pack": pack.id, "sizeBytes": pack.size_bytes,
                "blobs": pack.entries.iter().map(blob).collect::<Vec<_>>(),
            })
        });
        return Ok(json!({ "packs": packs.collect::<Vec<_>>() }));
    }
    if key == HEADER_KEY
        && let Err(error) = Header::parse("this vault", bytes)
    {
        found.problem(key, error);
    }
    Ok(readable(bytes))
}

fn blob(entry: &BlobEntry) -> Value {
    json!({
        "blob": entry.id, "offset": entry.offset, "storedBytes": entry.stored_bytes,
        "plainBytes": entry.plain_bytes, "codec": entry.codec.to_string(), "crc32": format!("{:08x}", entry.checksum),
        "pieceOffset": entry.extent.offset(),
    })
}

/// A manifest, with its sealed half where it can be read.
async fn manifest_object(
    kind: ManifestKind,
    key: &ManifestKey,
    object: &str,
    bytes: &Bytes,
    vault: Option<&Vault>,
    found: &mut Inspection,
) -> Result<Value, VaultError> {
    if let Err(error) = check_digest(kind, key, bytes) {
        found.problem(object, error);
    }
    let limits = vault.map_or(&Limits::DEFAULT, Vault::limits);
    let read = match (kind, vault) {
        (ManifestKind::Part, Some(vault)) => vault.load_part_by(key).await.map(|part| part_value(&part)),
        (ManifestKind::Part, None) => Part::parse(object, bytes, limits).map(|part| part_value(&part)),
        (ManifestKind::Root, Some(vault)) => {
            vault.load_unlocked(kind, key).await.map(|loaded| halves(&loaded.root.open, &loaded.root.sealed))
        }
        (ManifestKind::Root, None) => Root::parse(object, bytes, limits).map(|root| halves(&root.open, &root.sealed)),
        (ManifestKind::Receipt, _) => Receipt::parse(object, bytes, limits).map(|(receipt, root)| {
            json!({ "open": { "part": receipt.open.part, "rootDigest": receipt.open.root_digest }, "root": root.open })
        }),
    };
    match read {
        Ok(value) => Ok(value),
        Err(error) if error.is_unanswered() => Err(error),
        Err(error) => {
            let text = error.to_string();
            if !found.problems.iter().any(|(known, what)| known == object && *what == text) {
                found.problem(object, text);
            }
            Ok(readable(bytes))
        }
    }
}

fn part_value(part: &Part) -> Value {
    halves(&part.open, &part.sealed)
}

fn halves<T: Serialize>(open: &impl Serialize, sealed: &Sealed<T>) -> Value {
    let sealed = match sealed.open() {
        Ok(body) => json!(body),
        Err(error) => json!(error.to_string()),
    };
    json!({ "open": open, "sealed": sealed })
}

/// Packs by the listing, compared with what index objects say.
async fn packs(
    metas: &[&ObjectMeta],
    indexes: Option<&Vec<&ObjectMeta>>,
    objects: &Objects,
    found: &mut Inspection,
) -> Result<Value, VaultError> {
    let mut indexed: BTreeMap<PackId, (u64, usize)> = BTreeMap::new();
    for meta in indexes.into_iter().flatten() {
        let key = meta.location.as_ref();
        let Some(bytes) = objects.get(&meta.location, objects.limits().index_object_bytes).await? else { continue };
        if layout::parse_index_path(key) != Some(digest_of(&bytes)) {
            found.problem(key, "its bytes do not match its name");
            continue;
        }
        match index::decode(&bytes, objects.limits()) {
            Ok(packs) => indexed.extend(packs.iter().map(|pack| (pack.id, (pack.size_bytes, pack.entries.len())))),
            Err(damage) => found.problem(key, &damage),
        }
    }
    let (mut there, mut list, mut total_bytes) = (BTreeSet::new(), Vec::new(), 0_u64);
    for meta in metas {
        let Some(id) = layout::parse_pack_path(meta.location.as_ref()) else { continue };
        let known = indexed.get(&id);
        if let Some((size_bytes, _)) = known.filter(|(size_bytes, _)| *size_bytes != meta.size) {
            found.problem(&meta.location, format!("it has {} bytes, the index says {size_bytes}", meta.size));
        }
        there.insert(id);
        total_bytes = total_bytes.saturating_add(meta.size);
        list.push(json!({ "pack": id, "sizeBytes": meta.size, "blobs": known.map(|(_, blobs)| blobs) }));
    }
    for id in indexed.keys().filter(|id| !there.contains(id)) {
        found.problem(layout::pack_path(id), "an index object names it, and it is not there");
    }
    let indexes: Vec<&str> = indexes.into_iter().flatten().map(|meta| meta.location.as_ref()).collect();
    Ok(json!({ "count": list.len(), "totalBytes": total_bytes, "indexObjects": indexes, "list": list }))
}
