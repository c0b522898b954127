//! Measures the codecs on real files: `codecs [--rounds N] [--codecs A,B] <folder or file>...`. Each argument is one row of the table:
//! all files under it, cut into pieces of 4 MiB as a session cuts them, each piece encoded (with the check that is
//! always made) and decoded by one thread. Prints Markdown: ratio, MB for each CPU second of encoding
//! and of decoding (medians).

use std::error::Error;
use std::io::Write;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use longshore_model::Codec;
use longshore_vault::Transcoder;

type Failure = Box<dyn Error + Send + Sync>;

const PIECE_BYTES: usize = 4 << 20;
const CODECS: [&str; 9] = [
    "store",
    "lz4",
    "zstd-1",
    "zstd-3",
    "zstd-5",
    "shuffle4-zstd-1",
    "shuffle4-zstd-3",
    "adaptive-zstd-1",
    "adaptive-zstd-3",
];

fn collect(path: &Path, pieces: &mut Vec<Bytes>) -> Result<(), Failure> {
    if path.is_dir() {
        let mut inside: Vec<PathBuf> =
            std::fs::read_dir(path)?.map(|entry| Ok(entry?.path())).collect::<Result<_, Failure>>()?;
        inside.sort();
        return inside.iter().try_for_each(|path| collect(path, pieces));
    }
    // Every piece in memory of its own, as a session gets it.
    pieces.extend(std::fs::read(path)?.chunks(PIECE_BYTES).map(Bytes::copy_from_slice));
    Ok(())
}

fn total(pieces: &[Bytes]) -> usize {
    pieces.iter().map(Bytes::len).sum()
}

/// CPU seconds this thread has run so far: other work on the machine does not count.
fn cpu_seconds() -> Result<f64, Failure> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    let first = text.split_whitespace().next().ok_or("the system does not tell CPU time")?;
    Ok(first.parse::<f64>()? / 1e9)
}

/// Stored bytes, seconds of encoding, seconds of decoding.
fn measure(codec: Codec, pieces: &[Bytes]) -> Result<(usize, f64, f64), Failure> {
    let mut transcoder = Transcoder::new();
    let begun = cpu_seconds()?;
    let stored =
        pieces.iter().map(|piece| transcoder.encode(codec, piece)).collect::<Result<Vec<(Codec, Bytes)>, _>>()?;
    let encode = cpu_seconds()? - begun;
    let begun = cpu_seconds()?;
    for ((codec, stored), piece) in stored.iter().zip(pieces) {
        std::hint::black_box(transcoder.decode(*codec, stored, piece.len())?);
    }
    let decode = cpu_seconds()? - begun;
    Ok((stored.iter().map(|(_, stored)| stored.len()).sum(), encode, decode))
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

/// The system counts CPU time in steps: what took less than one cannot be told.
fn speed(mb_per_second: f64) -> String {
    if mb_per_second < 20_000.0 { format!("{mb_per_second:.0}") } else { "—".to_owned() }
}

fn main() -> Result<(), Failure> {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let mut rounds = 3;
    if arguments.first().is_some_and(|first| first == "--rounds") {
        rounds = arguments.get(1).ok_or("how many rounds?")?.parse()?;
        arguments.drain(..2);
    }
    let mut names = CODECS.map(str::to_owned).to_vec();
    if arguments.first().is_some_and(|first| first == "--codecs") {
        names = arguments.get(1).ok_or("which codecs?")?.split(',').map(str::to_owned).collect();
        arguments.drain(..2);
    }
    let mut out = std::io::stdout().lock();
    for argument in arguments {
        let mut pieces = Vec::new();
        collect(Path::new(&argument), &mut pieces)?;
        let plain_bytes = total(&pieces);
        writeln!(out, "\n{argument}: {plain_bytes} bytes, {} pieces\n", pieces.len())?;
        writeln!(
            out,
            "| codec | stored bytes | ratio | encode and check MB/CPU s | decode MB/CPU s |\n|---|---|---|---|---|"
        )?;
        let codecs = names.iter().map(|codec| codec.parse()).collect::<Result<Vec<Codec>, _>>()?;
        // In turn, so that a slow moment of the machine hits all of them.
        let mut rows = vec![(0, Vec::new(), Vec::new()); codecs.len()];
        for _ in 0..rounds {
            for (codec, (bytes, encode, decode)) in codecs.iter().zip(&mut rows) {
                let found = measure(*codec, &pieces)?;
                *bytes = found.0;
                encode.push(plain_bytes as f64 / 1e6 / found.1);
                decode.push(plain_bytes as f64 / 1e6 / found.2);
            }
        }
        for (codec, (bytes, encode, decode)) in codecs.iter().zip(rows) {
            let ratio = plain_bytes as f64 / bytes as f64;
            let (encode, decode) = (speed(median(encode)), speed(median(decode)));
            writeln!(out, "| {codec} | {bytes} | {ratio:.3} | {encode} | {decode} |")?;
        }
    }
    Ok(())
}
