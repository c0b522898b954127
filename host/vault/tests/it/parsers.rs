//! Parsers meet mutated objects: whatever comes, they answer, and what they accept holds together.
//!
//! Seeds of mutation are real objects: the golden vaults, the files of `fuzz/corpus`, and what a vault made now holds.
//! `LONGSHORE_LONG=1` mutates for minutes; `LONGSHORE_CORPUS=write` writes the seeds to `fuzz/corpus`, where cargo-fuzz
//! finds them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use longshore_model::{Codec, Timestamp};
use longshore_vault::testing::{Parser, SeededRandom, long, seeds};
use longshore_vault::*;

use crate::support::*;

/// Longest seed that is kept as a file.
const CORPUS_BYTES: usize = 16 * 1024;

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn files(root: &Path, found: &mut Vec<(String, Vec<u8>)>, prefix: &str) {
    let Ok(entries) = std::fs::read_dir(root) else { return };
    let mut entries: Vec<_> = entries.map(|entry| entry.unwrap()).collect();
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        if entry.path().is_dir() {
            files(&entry.path(), found, &format!("{name}/"));
        } else {
            found.push((name, std::fs::read(entry.path()).unwrap()));
        }
    }
}

fn parser_of(key: &str) -> Option<Parser> {
    Some(match key.split('/').next()? {
        "longshore-vault.json" => Parser::Header,
        "packs" => Parser::Pack,
        "index" => Parser::Index,
        "roots" => Parser::Root,
        "receipts" => Parser::Receipt,
        "parts" => Parser::Part,
        "pins" => Parser::Pin,
        "marks" => Parser::Mark,
        "withdrawn" => Parser::Tombstone,
        "damaged" => Parser::DamageNote,
        _ => return None,
    })
}

/// Real objects by parser.
async fn real_objects() -> BTreeMap<Parser, Vec<Vec<u8>>> {
    let mut objects: Vec<(String, Vec<u8>)> = Vec::new();
    for golden in ["format-1", "format-1-adaptive"] {
        files(&folder("tests/golden").join(golden), &mut objects, "");
    }
    let (home_store, store) = (memory(), memory());
    let home = new_vault(home_store.clone()).await.with_limits(small_limits());
    let vault = Vault::init(store.clone(), options("far", 2)).await.unwrap().with_limits(small_limits());
    let content = [("a".to_owned(), [("f".to_owned(), noise(1, 900)), ("g".to_owned(), vec![7; 900])].into())].into();
    back_up(&home, &backup_id(1), 1, &content, Codec::Zstd { level: 1 }).await.unwrap();
    let pin = vault.pin(request(1), clock()).await.unwrap();
    let copy = write_part(&vault, &pin, &backup_id(1), 1, &content, Codec::Lz4).await.unwrap();
    let root = home.load_backup(&backup_id(1)).await.unwrap().committed();
    vault.put_receipt(&root, &copy.reference).await.unwrap();
    vault.note_damage(&[copy.part.open.packs[0].id], Timestamp::from_millis(NOW)).await.unwrap();
    let withdrawal = Withdrawal { time: Timestamp::from_millis(NOW), by: "somebody".to_owned(), job_id: None };
    vault.withdraw_backup(&backup_id(9), &withdrawal).await.unwrap();
    for store in [&home_store, &store] {
        for key in keys(store, "").await {
            objects.push((key.to_string(), bytes_of(store, &key).await));
        }
    }
    let mark = serde_json::json!({
        "format": 1, "kind": "mark", "id": "00000000000000000000000000000001", "state": "marked",
        "created": Timestamp::from_millis(NOW), "packs": [copy.part.open.packs[0].id], "parts": [copy.reference.key],
    });
    objects.push(("marks/one".to_owned(), mark.to_string().into_bytes()));
    let mut by_parser: BTreeMap<Parser, Vec<Vec<u8>>> = BTreeMap::new();
    for (key, bytes) in objects {
        if let Some(parser) = parser_of(&key) {
            by_parser.entry(parser).or_default().push(bytes);
        }
    }
    by_parser.insert(Parser::Codec, encoded());
    by_parser
}

/// Encoded blobs as the codec's parser takes them.
fn encoded() -> Vec<Vec<u8>> {
    let plain = bytes::Bytes::from([vec![3; 600], noise(5, 300), vec![9; 600]].concat());
    let with_header = |id: [u8; 3], codec| {
        let (_, stored) = Transcoder::default().encode(codec, &plain).unwrap();
        [id.as_slice(), &(plain.len() as u16).to_le_bytes(), &stored].concat()
    };
    let shuffled = Codec::ShuffleZstd { element_bytes: 4, level: 1 };
    vec![
        with_header([1, 0, 0], Codec::Lz4),
        with_header([2, 0, 1], Codec::Zstd { level: 1 }),
        with_header([3, 4, 1], shuffled),
        with_header([4, 0, 1], Codec::AdaptiveZstd { level: 1 }),
    ]
}

/// Changes bytes as disks, bugs and enemies do.
fn mutate(random: &mut SeededRandom, seeds: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = random.pick(seeds).unwrap().clone();
    for _ in 0..=random.below(4) {
        let at = random.below(bytes.len() as u64 + 1) as usize;
        match random.below(7) {
            0 => bytes.truncate(at),
            1 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
            2 if at < bytes.len() => bytes[at] = random.next_u64() as u8,
            3 => {
                let length = random.below(9) as usize;
                let more = random.bytes(length);
                bytes.splice(at..at, more);
            }
            4 => {
                let to = (at + random.below(32) as usize).min(bytes.len());
                bytes.drain(at..to);
            }
            5 => {
                // Numbers at their ends: lengths and offsets are what parsers stumble over.
                let number = [0, 1, u64::MAX, u64::MAX >> 1, 1 << 31, (1 << 32) - 1];
                let number = random.pick(&number).unwrap().to_le_bytes();
                let to = (at + 8).min(bytes.len());
                bytes[at..to].copy_from_slice(&number[..to - at]);
            }
            _ => {
                let other = random.pick(seeds).unwrap();
                let from = random.below(other.len() as u64 + 1) as usize;
                bytes.truncate(at);
                bytes.extend_from_slice(&other[from..]);
            }
        }
    }
    bytes
}

#[tokio::test]
async fn parsers_answer_whatever_the_bytes_are_and_accept_real_objects() {
    let mut real = real_objects().await;
    for parser in Parser::ALL {
        let objects = real.entry(parser).or_default();
        for (place, object) in objects.iter().enumerate() {
            assert_eq!(parser.look(object), Ok(true), "{} {place}: {}", parser.name(), String::from_utf8_lossy(object));
        }
        let corpus = folder("fuzz/corpus").join(parser.name());
        if std::env::var("LONGSHORE_CORPUS").as_deref() == Ok("write") {
            std::fs::create_dir_all(&corpus).unwrap();
            for object in objects.iter().filter(|object| object.len() <= CORPUS_BYTES) {
                std::fs::write(corpus.join(&digest_of(object).to_string()[..16]), object).unwrap();
            }
        }
        let mut kept = Vec::new();
        files(&corpus, &mut kept, "");
        assert!(!kept.is_empty(), "{} has no corpus: LONGSHORE_CORPUS=write", parser.name());
        for (name, object) in kept {
            parser.look(&object).unwrap_or_else(|what| panic!("{} {name}: {what}", parser.name()));
            objects.push(object);
        }
    }
    let rounds = if long() { 300_000 } else { 20_000 };
    for seed in seeds([20], 8) {
        for (parser, objects) in &real {
            let mut random = SeededRandom::new(seed ^ *parser as u64);
            let mut accepted = 0;
            for round in 0..rounds {
                let mut bytes = mutate(&mut random, objects);
                if random.chance(50) {
                    bytes = parser.with_right_digest(bytes);
                }
                let looked = parser.look(&bytes);
                let looked =
                    looked.unwrap_or_else(|what| panic!("{} seed {seed} round {round}: {what}", parser.name()));
                accepted += usize::from(looked);
            }
            assert!(accepted < rounds, "{} refuses nothing", parser.name());
        }
    }
}
