//! What one plugin may use, and the operator's ceiling over it.
//!
//! A budget has no "off": zero is refused, and so is more than the ceiling. It can stand in a configuration file;
//! fields that are left out have the defaults below, unknown fields are refused.

use serde::{Deserialize, Serialize};

use crate::SandboxError;

/// Bytes in a mebibyte.
const MIB: u64 = 1024 * 1024;

/// What a plugin may use. All but the last two are per call, and every call starts with a full budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Budget {
    /// WebAssembly instructions, roughly. The one budget that is the same on every machine, so it should bind first.
    pub fuel: u64,
    /// Time on the clock, in milliseconds, measured in ticks of [`Limits::tick_ms`](crate::Limits::tick_ms).
    pub wall_time_ms: u64,
    /// Linear memory of all of the plugin's modules together, in bytes.
    pub memory_bytes: u64,
    /// Table elements of all of the plugin's modules together.
    pub table_elements: u32,
    /// Core instances the plugin consists of; also the bound on its memories and on its tables.
    pub instances: u32,
    /// Data that one answer, or one call of the host, may bring from the plugin, in bytes.
    pub call_data_bytes: u64,
    /// Text of its log, in bytes.
    pub log_bytes: u64,
    /// Lines of its log.
    pub log_lines: u32,
    /// Time to check and compile the file, in milliseconds.
    pub compile_time_ms: u64,
    /// Size of the file, in bytes.
    pub file_size_bytes: u64,
}

impl Default for Budget {
    /// Ample for a policy in Rust or C; a Python policy needs more fuel and memory.
    fn default() -> Self {
        Self {
            fuel: 1_000_000_000,
            wall_time_ms: 5_000,
            memory_bytes: 64 * MIB,
            table_elements: 100_000,
            instances: 64,
            call_data_bytes: 8 * MIB,
            log_bytes: 64 * 1024,
            log_lines: 256,
            compile_time_ms: 30_000,
            file_size_bytes: 32 * MIB,
        }
    }
}

impl Budget {
    /// The ceiling of an operator who has said nothing.
    pub const CEILING: Self = Self {
        fuel: 100_000_000_000,
        wall_time_ms: 60_000,
        memory_bytes: 1024 * MIB,
        table_elements: 1_000_000,
        instances: 1_000,
        call_data_bytes: 64 * MIB,
        log_bytes: MIB,
        log_lines: 10_000,
        compile_time_ms: 300_000,
        file_size_bytes: 128 * MIB,
    };

    /// The larger of both in every field: a ceiling under which either fits.
    #[must_use]
    pub fn max(&self, other: &Self) -> Self {
        Self {
            fuel: self.fuel.max(other.fuel),
            wall_time_ms: self.wall_time_ms.max(other.wall_time_ms),
            memory_bytes: self.memory_bytes.max(other.memory_bytes),
            table_elements: self.table_elements.max(other.table_elements),
            instances: self.instances.max(other.instances),
            call_data_bytes: self.call_data_bytes.max(other.call_data_bytes),
            log_bytes: self.log_bytes.max(other.log_bytes),
            log_lines: self.log_lines.max(other.log_lines),
            compile_time_ms: self.compile_time_ms.max(other.compile_time_ms),
            file_size_bytes: self.file_size_bytes.max(other.file_size_bytes),
        }
    }

    /// Every field by name.
    fn fields(&self) -> [(&'static str, u64); 10] {
        [
            ("fuel", self.fuel),
            ("wall_time_ms", self.wall_time_ms),
            ("memory_bytes", self.memory_bytes),
            ("table_elements", u64::from(self.table_elements)),
            ("instances", u64::from(self.instances)),
            ("call_data_bytes", self.call_data_bytes),
            ("log_bytes", self.log_bytes),
            ("log_lines", u64::from(self.log_lines)),
            ("compile_time_ms", self.compile_time_ms),
            ("file_size_bytes", self.file_size_bytes),
        ]
    }

    /// Checks that no field is zero and none is above the ceiling.
    ///
    /// # Errors
    /// [`SandboxError::BadBudget`] naming the first field that does not fit.
    pub fn within(&self, ceiling: &Self) -> Result<(), SandboxError> {
        for ((field, value), (_, ceiling)) in self.fields().into_iter().zip(ceiling.fields()) {
            if value == 0 || value > ceiling {
                return Err(SandboxError::BadBudget { field, value, ceiling });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::Budget;
    use crate::SandboxError;

    /// The budget with one field set, by its name in a configuration file.
    fn with(field: &str, value: u64) -> Budget {
        serde_json::from_str(&format!("{{\"{field}\": {value}}}")).unwrap()
    }

    #[test]
    fn the_default_budget_fits_under_the_default_ceiling() {
        Budget::default().within(&Budget::CEILING).unwrap();
        assert_eq!(serde_json::from_str::<Budget>("{}").unwrap(), Budget::default());
    }

    #[test]
    fn zero_and_one_more_than_the_ceiling_are_refused_in_every_field() {
        for (field, most) in Budget::CEILING.fields() {
            for value in [0, most + 1] {
                let error = with(field, value).within(&Budget::CEILING).unwrap_err();
                assert!(
                    matches!(error, SandboxError::BadBudget { field: f, value: v, .. } if f == field && v == value)
                );
                assert!(error.to_string().contains(field), "{error}");
            }
            with(field, most).within(&Budget::CEILING).unwrap();
        }
    }

    #[test]
    fn an_unknown_field_is_refused() {
        assert!(serde_json::from_str::<Budget>("{\"memory\": 1}").is_err());
    }
}
