//! How results look: tables or JSON on standard output, everything else on standard error.

use std::io::Write;

use serde_json::Value;

use crate::args::ShowProgress;

/// Where and how to print.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    /// JSON instead of tables.
    pub(crate) json: bool,
    /// No progress and no hints.
    pub(crate) quiet: bool,
    /// How far long work is.
    pub(crate) progress: ShowProgress,
}

impl Output {
    /// Prints a result: its JSON, or what `table` makes of it.
    pub(crate) fn result(self, value: &Value, table: impl FnOnce() -> String) {
        if self.json {
            // Alternate form is indented JSON, which both people and programs read.
            line(&format!("{value:#}"));
        } else {
            line(table().trim_end());
        }
    }

    /// Prints a hint for a person; never in JSON or quiet mode.
    pub(crate) fn hint(self, text: &str) {
        if !self.json && !self.quiet {
            eprintln!("{text}");
        }
    }
}

/// Prints a line on standard output. A reader that has seen enough (`| head`) is no failure of the command.
pub(crate) fn line(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// Prints a formatted line on standard output.
macro_rules! say {
    ($($text:tt)*) => { $crate::output::line(&format!($($text)*)) };
}
pub(crate) use say;

/// A table with left-aligned columns as wide as their widest cell; the last column is never padded.
pub(crate) fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = header.iter().map(|cell| cell.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |cells: Vec<&str>| {
        let last = cells.len().saturating_sub(1);
        let mut text = String::new();
        for (place, (cell, width)) in cells.iter().zip(&widths).enumerate() {
            text.push_str(cell);
            if place < last {
                text.push_str(&" ".repeat(width.saturating_sub(cell.chars().count()) + 2));
            }
        }
        text.trim_end().to_owned() + "\n"
    };
    let mut text = line(header.to_vec());
    for row in rows {
        text.push_str(&line(row.iter().map(String::as_str).collect()));
    }
    text
}

/// Bytes for a person, in powers of 1,000: `1.2 MB`.
pub(crate) fn bytes(count: u64) -> String {
    let units = ["B", "kB", "MB", "GB", "TB", "PB"];
    let mut value = count as f64;
    let mut unit = 0;
    while value >= 999.95 && unit < units.len() - 1 {
        value /= 1_000.0;
        unit += 1;
    }
    if unit == 0 { format!("{count} B") } else { format!("{value:.1} {}", units[unit]) }
}

/// More or fewer bytes: `+1.2 MB`, `-3 B`, `0 B`.
pub(crate) fn signed_bytes(count: i64) -> String {
    let sign = if count > 0 {
        "+"
    } else if count < 0 {
        "-"
    } else {
        ""
    };
    format!("{sign}{}", bytes(count.unsigned_abs()))
}

/// Money in the unit of the configured prices, from millionths: `1.50`, `0.000123`, `0`.
pub(crate) fn money(micros: u64) -> String {
    let (whole, rest) = (micros / 1_000_000, micros % 1_000_000);
    match (whole, rest) {
        (0, 0) => "0".to_owned(),
        (0, rest) => format!("0.{rest:06}"),
        (whole, rest) => format!("{}.{:02}", number(whole), rest / 10_000),
    }
}

/// More or less money.
pub(crate) fn money_change(micros: i64) -> String {
    let sign = if micros > 0 {
        "+"
    } else if micros < 0 {
        "-"
    } else {
        ""
    };
    format!("{sign}{}", money(micros.unsigned_abs()))
}

/// A number with thousands separated.
pub(crate) fn number(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Seconds for a person: `0.42 s`, `3 min 05 s`.
pub(crate) fn duration(milliseconds: i64) -> String {
    let seconds = milliseconds.max(0) as f64 / 1_000.0;
    if seconds < 60.0 {
        return format!("{seconds:.2} s");
    }
    let whole = seconds as u64;
    format!("{} min {:02} s", whole / 60, whole % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_line_up_and_have_no_trailing_spaces() {
        let text = table(&["NAME", "SIZE"], &[vec!["a".into(), "1 B".into()], vec!["longer".into(), String::new()]]);
        assert_eq!(text, "NAME    SIZE\na       1 B\nlonger\n");
    }

    #[test]
    fn numbers_read_well() {
        assert_eq!([bytes(0), bytes(999), bytes(1_000), bytes(999_999)], ["0 B", "999 B", "1.0 kB", "1.0 MB"]);
        assert_eq!([number(0), number(999), number(1_234_567)], ["0", "999", "1,234,567"]);
        assert_eq!([signed_bytes(0), signed_bytes(-1_500), signed_bytes(7)], ["0 B", "-1.5 kB", "+7 B"]);
        assert_eq!([money(0), money(123), money(1_239_999_999)], ["0", "0.000123", "1,239.99"]);
        assert_eq!([money_change(-123), money_change(2_000_000)], ["-0.000123", "+2.00"]);
        assert_eq!([duration(420), duration(185_000)], ["0.42 s", "3 min 05 s"]);
    }
}
