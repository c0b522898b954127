//! Every parser that meets bytes from a store, behind one face: for fuzzing and for tests with mutated objects.
//!
//! Contract: whatever the bytes are, a parser answers; it never panics, loops, or allocates more than a small multiple
//! of what it was given. What it accepts holds what the rest of the crate relies on; [`Parser::look`] checks that.

use crate::codec::codec_from_bytes;
use crate::header::Header;
use crate::layout::HEADER_KEY;
use crate::prune::marks::Mark;
use crate::{Limits, Part, PinRecord, Receipt, Root, Tombstone, Transcoder, damage_note, digest_of, index, pack};

/// Longest plain length that a fuzzed codec is asked for, in bytes.
const CODEC_PLAIN_BYTES: usize = 1 << 16;

/// One parser.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Parser {
    /// `longshore-vault.json`.
    Header,
    /// A whole pack: header, entries, trailer.
    Pack,
    /// An index object.
    Index,
    /// A root.
    Root,
    /// A receipt, and the root in it.
    Receipt,
    /// A part.
    Part,
    /// A pin.
    Pin,
    /// A mark of a prune.
    Mark,
    /// A tombstone.
    Tombstone,
    /// A note about a damaged pack.
    DamageNote,
    /// The stored bytes of a blob: three bytes of codec, two of plain length, then what is to be decoded.
    Codec,
}

impl Parser {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::Header,
        Self::Pack,
        Self::Index,
        Self::Root,
        Self::Receipt,
        Self::Part,
        Self::Pin,
        Self::Mark,
        Self::Tombstone,
        Self::DamageNote,
        Self::Codec,
    ];

    /// Name of its fuzz target and of the folder with its corpus.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Header => "header",
            Self::Pack => "pack",
            Self::Index => "index",
            Self::Root => "root",
            Self::Receipt => "receipt",
            Self::Part => "part",
            Self::Pin => "pin",
            Self::Mark => "mark",
            Self::Tombstone => "tombstone",
            Self::DamageNote => "damage_note",
            Self::Codec => "codec",
        }
    }

    /// Parses bytes: true when they are accepted.
    ///
    /// # Errors
    /// A sentence when something was accepted that must not be: the parser is wrong then, whatever the bytes are.
    pub fn look(self, bytes: &[u8]) -> Result<bool, String> {
        let limits = &Limits::DEFAULT;
        Ok(match self {
            Self::Header => Header::parse(HEADER_KEY, bytes).is_ok(),
            Self::Pack => match pack::read_index(bytes, limits) {
                Ok(entries) => return within(&entries, bytes.len() as u64).map(|()| true),
                Err(_) => false,
            },
            Self::Index => match index::decode(bytes, limits) {
                Ok(packs) => return index_again(&packs, limits).map(|()| true),
                Err(_) => false,
            },
            Self::Root => Root::parse("root", bytes, limits).is_ok(),
            Self::Receipt => match Receipt::parse("receipt", bytes, limits) {
                Ok((receipt, _)) if digest_of(receipt.open.root.as_bytes()) != receipt.open.root_digest => {
                    return Err("a receipt whose root does not match its digest was accepted".to_owned());
                }
                parsed => parsed.is_ok(),
            },
            Self::Part => match Part::parse("part", bytes, limits) {
                Ok(part) => return part_holds_together(&part).map(|()| true),
                Err(_) => false,
            },
            Self::Pin => serde_json::from_slice::<PinRecord>(bytes).is_ok(),
            Self::Mark => serde_json::from_slice::<Mark>(bytes).is_ok(),
            Self::Tombstone => serde_json::from_slice::<Tombstone>(bytes).is_ok(),
            Self::DamageNote => damage_note::is_note(bytes),
            Self::Codec => return decode(bytes),
        })
    }

    /// Makes mutated bytes pass the digest that would refuse them first, so that the checks behind it are reached.
    #[must_use]
    pub fn with_right_digest(self, mut bytes: Vec<u8>) -> Vec<u8> {
        if self == Self::Pack
            && let Some(trailer) = bytes.len().checked_sub(pack::TRAILER_BYTES)
            && let Some(offset) = bytes.get(trailer..).and_then(|trailer| trailer.first_chunk::<8>())
            && let Ok(offset) = usize::try_from(u64::from_le_bytes(*offset))
            && let Some(entries) = bytes.get(offset..trailer)
        {
            let digest = digest_of(entries);
            if let Some(place) = bytes.get_mut(trailer + 16..trailer + 48) {
                place.copy_from_slice(digest.as_bytes());
            }
        }
        bytes
    }
}

fn within(entries: &[crate::BlobEntry], size_bytes: u64) -> Result<(), String> {
    let mut next = pack::HEADER_BYTES as u64;
    for entry in entries {
        if entry.offset < next || entry.end() > size_bytes {
            return Err(format!("a pack of {size_bytes} bytes was accepted with the entry {entry:?}"));
        }
        next = entry.end();
    }
    Ok(())
}

fn index_again(packs: &[index::PackIndex], limits: &Limits) -> Result<(), String> {
    packs.iter().try_for_each(|pack| within(&pack.entries, pack.size_bytes))?;
    match index::decode(&index::encode(packs), limits) {
        Ok(again) if again == packs => Ok(()),
        other => Err(format!("an index that was accepted is read differently when it is written again: {other:?}")),
    }
}

fn part_holds_together(part: &Part) -> Result<(), String> {
    let Ok(collections) = part.collections() else { return Ok(()) };
    for (files, sealed) in collections {
        let agree = files.number == sealed.number && files.files.len() == sealed.files.len();
        let inside = sealed.files.iter().all(|file| !file.path.starts_with('/') && !file.path.contains(".."));
        let dotted = sealed.files.iter().any(|file| file.path.split('/').any(|one| one == ".."));
        if !agree || (!inside && dotted) {
            return Err(format!("a part was accepted whose halves differ or lead out: {}", sealed.name));
        }
    }
    Ok(())
}

fn decode(bytes: &[u8]) -> Result<bool, String> {
    let Some(([one, two, three, low, high], stored)) = bytes.split_first_chunk::<5>() else { return Ok(false) };
    let Ok(codec) = codec_from_bytes([*one, *two, *three]) else { return Ok(false) };
    let plain_bytes = usize::from(u16::from_le_bytes([*low, *high])).min(CODEC_PLAIN_BYTES);
    match Transcoder::default().decode(codec, &bytes::Bytes::copy_from_slice(stored), plain_bytes) {
        Ok(plain) if plain.len() != plain_bytes => Err(format!("{codec} gave {} of {plain_bytes} bytes", plain.len())),
        decoded => Ok(decoded.is_ok()),
    }
}
