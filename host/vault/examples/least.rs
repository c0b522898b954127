//! What a first backup of files takes at least, whatever program makes it: `least [--rounds N] <folder>...`. Every file is
//! found, opened, read, hashed, encoded and decoded again for the check, on all processors, and nothing is stored. Prints
//! Markdown: CPU seconds and seconds by what is done of this (medians), for each folder and, per byte, against the last one.

use std::error::Error;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use bytes::Bytes;
use longshore_model::Codec;
use longshore_vault::Transcoder;

type Failure = Box<dyn Error + Send + Sync>;

const PIECE_BYTES: usize = 4 << 20;

/// What is done, each with all before it.
const STEPS: [&str; 4] = ["find", "open, read and close", "hash", "encode and check"];

fn collect(folder: &Path, files: &mut Vec<(PathBuf, u64)>) -> Result<(), Failure> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            collect(&entry.path(), files)?;
        } else {
            files.push((entry.path(), entry.metadata()?.len()));
        }
    }
    Ok(())
}

/// One file, as far as `step`.
fn work(path: &Path, size_bytes: u64, step: usize, codec: Codec, transcoder: &mut Transcoder) -> Result<(), Failure> {
    let mut bytes = Vec::with_capacity(usize::try_from(size_bytes)?);
    std::fs::File::open(path)?.take(size_bytes).read_to_end(&mut bytes)?;
    let bytes = Bytes::from(bytes);
    if step >= 2 {
        std::hint::black_box(blake3::hash(&bytes));
    }
    if step >= 3 {
        for start in (0..bytes.len()).step_by(PIECE_BYTES) {
            let piece = bytes.slice(start..bytes.len().min(start + PIECE_BYTES));
            std::hint::black_box(transcoder.encode(codec, &piece)?);
        }
    }
    Ok(())
}

/// CPU seconds of this process so far, user and system.
fn cpu_seconds() -> Result<f64, Failure> {
    let mut sum = 0_u64;
    for task in std::fs::read_dir("/proc/self/task")? {
        let text = std::fs::read_to_string(task?.path().join("schedstat"))?;
        sum += text.split_whitespace().next().ok_or("the system does not tell CPU time")?.parse::<u64>()?;
    }
    Ok(sum as f64 / 1e9)
}

/// CPU seconds, seconds, bytes and files.
fn measure(folder: &Path, step: usize, codec: Codec) -> Result<(f64, f64, u64, usize), Failure> {
    let (begun, cpu_before) = (Instant::now(), cpu_seconds()?);
    let mut files = Vec::new();
    collect(folder, &mut files)?;
    let mut cpu = cpu_seconds()? - cpu_before;
    if step > 0 {
        let (next, threads) = (AtomicUsize::new(0), std::thread::available_parallelism()?.get());
        let run = || {
            let mut transcoder = Transcoder::new();
            while let Some((path, size_bytes)) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
                work(path, *size_bytes, step, codec, &mut transcoder)?;
            }
            let text = std::fs::read_to_string("/proc/thread-self/schedstat")?;
            let run: u64 = text.split_whitespace().next().ok_or("the system does not tell CPU time")?.parse()?;
            Ok::<_, Failure>(run as f64 / 1e9)
        };
        let spent: Result<Vec<f64>, Failure> = std::thread::scope(|scope| {
            let running: Vec<_> = (0..threads).map(|_| scope.spawn(run)).collect();
            running.into_iter().map(|thread| thread.join().map_err(|_| "a thread failed")?).collect()
        });
        cpu += spent?.into_iter().sum::<f64>();
    }
    Ok((cpu, begun.elapsed().as_secs_f64(), files.iter().map(|(_, size_bytes)| size_bytes).sum(), files.len()))
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

fn main() -> Result<(), Failure> {
    let mut folders: Vec<String> = std::env::args().skip(1).collect();
    let mut rounds = 9;
    if folders.first().is_some_and(|first| first == "--rounds") {
        rounds = folders.get(1).ok_or("how many rounds?")?.parse()?;
        folders.drain(..2);
    }
    let codec: Codec = "adaptive-zstd-1".parse()?;
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "| | folder | files | CPU s | s | CPU, against the last | time, against the last |\n|---|---|---|---|---|---|---|"
    )?;
    for (step, name) in STEPS.iter().enumerate() {
        let mut found = vec![(Vec::new(), Vec::new(), 0, 0); folders.len()];
        // In turn, so that a slow moment of the machine hits all of them. The first round fills the cache.
        for round in 0..=rounds {
            for (folder, (cpu, wall, bytes, files)) in folders.iter().zip(&mut found) {
                let measured = measure(Path::new(folder), step, codec)?;
                (*bytes, *files) = (measured.2, measured.3);
                if round > 0 {
                    cpu.push(measured.0);
                    wall.push(measured.1);
                }
            }
        }
        let rows: Vec<(f64, f64, u64, usize)> =
            found.iter_mut().map(|(cpu, wall, bytes, files)| (median(cpu), median(wall), *bytes, *files)).collect();
        let Some(last) = rows.last().copied() else { return Ok(()) };
        for (folder, (cpu, wall, bytes, files)) in folders.iter().zip(rows) {
            let per_byte = |value: f64, of_last: f64| value / bytes as f64 / (of_last / last.2 as f64);
            let (of_cpu, of_wall) = (per_byte(cpu, last.0), per_byte(wall, last.1));
            writeln!(out, "| {name} | {folder} | {files} | {cpu:.3} | {wall:.3} | {of_cpu:.2} × | {of_wall:.2} × |")?;
        }
    }
    Ok(())
}
