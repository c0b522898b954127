//! `--bandwidth` and `--cpu-threads`, of the commands that move bytes of vaults.

use clap::Args;
use longshore_engine::{BANDWIDTH_MIN_BYTES_PER_SECOND, Limits};

/// What a command may use of the machine.
#[derive(Debug, Clone, Copy, Default, Args)]
pub(crate) struct ThrottleArguments {
    /// Most bytes per second to and from the vault, for example 50MiB; no limit when left out.
    #[arg(long, value_name = "SIZE", value_parser = parse_bandwidth)]
    bandwidth: Option<u64>,
    /// Threads that hash, encode and decode; as many as the machine has when left out.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    cpu_threads: Option<u16>,
}

impl ThrottleArguments {
    /// The limits of a run without a host.
    pub(crate) fn limits(self) -> Limits {
        Limits {
            bandwidth_bytes_per_second: self.bandwidth,
            cpu_threads: self.cpu_threads.map(usize::from),
            held_descriptors: crate::descriptors::for_points(),
            ..Limits::default()
        }
    }
}

fn parse_bandwidth(text: &str) -> Result<u64, String> {
    let rate = parse_size(text.strip_suffix("/s").unwrap_or(text))?;
    if rate < BANDWIDTH_MIN_BYTES_PER_SECOND {
        return Err(format!("{rate} bytes per second is slower than the least, 64KiB; leave it out for no limit"));
    }
    Ok(rate)
}

/// Reads a number of bytes with or without a unit: `500`, `64KiB`, `1.5 GB`.
pub(crate) fn parse_size(text: &str) -> Result<u64, String> {
    let wrong = || format!("`{text}` is no size; write a number and B, kB, MB, GB, TB, KiB, MiB, GiB or TiB");
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1.0,
        "kb" => 1e3,
        "mb" => 1e6,
        "gb" => 1e9,
        "tb" => 1e12,
        "kib" => 1024.0,
        "mib" => 1_048_576.0,
        "gib" => 1_073_741_824.0,
        "tib" => 1_099_511_627_776.0,
        _ => return Err(wrong()),
    };
    let bytes = number.parse::<f64>().map_err(|_| wrong())? * factor;
    // A f64 holds whole numbers up to 2^53, which is more than any store has.
    if bytes.is_finite() && bytes < 9e15 { Ok(bytes.round() as u64) } else { Err(wrong()) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        throttle: ThrottleArguments,
    }

    #[test]
    fn what_is_asked_for_is_what_a_run_keeps_to() {
        let limits = |words: &[&str]| Command::try_parse_from(words).unwrap().throttle.limits();
        let context = longshore_engine::RunContext::new(limits(&["x", "--cpu-threads", "3", "--bandwidth", "1MiB"]));
        let kept = context.throttle.limits();
        assert_eq!((kept.cpu_threads, kept.bandwidth_bytes_per_second), (Some(3), Some(1 << 20)));
        let free = longshore_engine::RunContext::new(limits(&["x"])).throttle.limits();
        assert_eq!((free.cpu_threads, free.bandwidth_bytes_per_second), (None, None));
    }

    #[test]
    fn sizes_are_read_as_people_write_them() {
        for (text, bytes) in [
            ("500", 500),
            ("64KiB", 65_536),
            ("50mib", 52_428_800),
            ("1.5 GB", 1_500_000_000),
            ("2TiB", 2_199_023_255_552),
            ("0", 0),
        ] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        for text in ["", "MiB", "-1", "1 parsec", "1.2.3", "1e3", "99999999TB", "NaN", "inf"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
        assert_eq!(parse_bandwidth("50MiB/s"), Ok(52_428_800));
        assert!(parse_bandwidth("1kB").is_err_and(|error| error.contains("slower")));
    }
}
