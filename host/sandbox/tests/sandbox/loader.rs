//! Any bytes given to the loader: the corpus of the fuzz target, and files that are mutated here.

use std::path::PathBuf;

use super::fixtures::wasm;
use super::handmade::Handmade;

#[allow(unreachable_pub, reason = "of the fuzz target")]
#[path = "../../fuzz/look.rs"]
mod look;

use look::{Came, look};

fn corpus_folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/loader")
}

/// Numbers that follow from a seed (splitmix64).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(limit.max(1)).unwrap()).unwrap()
    }
}

/// Files of every form that load, small ones, because one is compiled for each case.
fn whole() -> Vec<(&'static str, Vec<u8>)> {
    let handmade = Handmade::default();
    let logging = super::abuse::flooding();
    vec![
        ("plain-core-module", handmade.bytes()),
        ("component", handmade.component()),
        ("core-module-that-logs", logging.bytes()),
        ("component-that-logs", logging.component()),
    ]
}

/// Files with one thing wrong: what the fuzzer starts from beside whole ones.
fn wrong() -> Vec<(String, Vec<u8>)> {
    let mut all = Vec::new();
    for (name, bytes) in whole() {
        let half = bytes.len() / 2;
        all.push((format!("{name}-cut"), bytes[..half].to_vec()));
        let mut flipped = bytes.clone();
        flipped[half] ^= 0x10;
        all.push((format!("{name}-flipped"), flipped));
        let mut longer = bytes.clone();
        longer.extend([1, 0xff, 0xff, 0xff, 0xff, 0x0f]);
        all.push((format!("{name}-with-a-section-longer-than-the-file"), longer));
        let mut twice = bytes.clone();
        twice.extend_from_slice(&bytes[8..]);
        all.push((format!("{name}-with-every-section-twice"), twice));
        let mut unknown = bytes.clone();
        unknown.extend([63, 1, 0]);
        all.push((format!("{name}-with-an-unknown-section"), unknown));
        let mut endless = bytes.clone();
        endless.extend([0, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80]);
        all.push((format!("{name}-with-a-length-without-end"), endless));
    }
    all
}

/// One to four changes of the kinds that damage, transfer or malice make.
fn mutated(numbers: &mut Numbers, seeds: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = seeds[numbers.below(seeds.len())].clone();
    for _ in 0..=numbers.below(4) {
        let at = numbers.below(bytes.len());
        let some = 1 + numbers.below(16);
        match numbers.below(8) {
            0 => bytes.truncate(at),
            1 => drop(bytes.drain(at..(at + some).min(bytes.len()))),
            2 => drop(bytes.splice(at..at, (0..some).map(|_| numbers.next().to_le_bytes()[0]).collect::<Vec<_>>())),
            3 => {
                let from = &seeds[numbers.below(seeds.len())];
                let start = numbers.below(from.len());
                let piece = from[start..(start + 8 * some).min(from.len())].to_vec();
                drop(bytes.splice(at..at, piece));
            }
            4 => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = [0, 1, 0x7f, 0x80, 0xff][numbers.below(5)];
                }
            }
            5 => {
                let piece = bytes[at..(at + 8 * some).min(bytes.len())].to_vec();
                drop(bytes.splice(at..at, piece));
            }
            _ => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << numbers.below(8);
                }
            }
        }
    }
    bytes
}

#[test]
fn every_file_of_the_corpus_is_loaded_or_refused_in_words() {
    if std::env::var_os("LONGSHORE_CORPUS").is_some_and(|what| what == "write") {
        std::fs::create_dir_all(corpus_folder()).unwrap();
        let whole = whole().into_iter().map(|(name, bytes)| (name.to_owned(), bytes));
        for (name, bytes) in whole.chain(wrong()) {
            std::fs::write(corpus_folder().join(name), bytes).unwrap();
        }
    }
    let mut came = std::collections::BTreeMap::new();
    for entry in std::fs::read_dir(corpus_folder()).unwrap() {
        let path = entry.unwrap().path();
        let bytes = std::fs::read(&path).unwrap();
        let how = look(&bytes).unwrap_or_else(|what| panic!("{}: {what}", path.display()));
        *came.entry(how).or_insert(0) += 1;
    }
    assert!(came.get(&Came::Loaded).is_some_and(|files| *files >= 2), "{came:?}");
    assert!(came.get(&Came::Refused).is_some_and(|files| *files >= 10), "{came:?}");
}

#[test]
fn a_mutated_file_is_loaded_or_refused_in_words() {
    let mut seeds: Vec<Vec<u8>> = whole().into_iter().map(|(_, bytes)| bytes).collect();
    seeds.push(wasm("stranger/stranger"));
    let long = std::env::var_os("LONGSHORE_LONG").is_some();
    let given = std::env::var("LONGSHORE_SEED").ok().map(|seed| seed.parse::<u64>().unwrap());
    let first = given.unwrap_or_else(|| if long { u64::from(std::process::id()) << 32 } else { 1 });
    let cases = if given.is_some() {
        1
    } else if long {
        50_000
    } else {
        1_000
    };
    let mut came = [0_usize; 3];
    for seed in first..first + cases {
        let bytes = mutated(&mut Numbers(seed), &seeds);
        match look(&bytes) {
            Ok(how) => came[how as usize] += 1,
            Err(what) => panic!("LONGSHORE_SEED={seed}: {what}"),
        }
    }
    eprintln!(
        "of {cases} mutated files from seed {first}: {} refused, {} stopped, {} loaded",
        came[0], came[1], came[2]
    );
    assert!(
        given.is_some() || came.iter().all(|count| *count > 0),
        "mutations that reach nothing test nothing: {came:?}"
    );
}
