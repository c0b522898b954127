//! Memory, tables and instances of one call.
//!
//! Contract: whether something may grow is decided from the plugin's request and its budget alone, never from what the
//! machine has free, so that a plugin sees the same on every machine. A refusal is remembered: the plugin usually
//! crashes after one, and the crash alone would not say why. If the machine itself cannot give what was granted, the
//! call ends at once, before the plugin could see the difference.

use wasmtime::ResourceLimiter;

use crate::Budget;

/// A growth that was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RefusedGrowth {
    /// Memory, in bytes.
    Memory {
        /// What it would have come to.
        wanted_bytes: u64,
    },
    /// Tables, in elements.
    Table {
        /// What it would have come to.
        wanted_elements: u64,
    },
}

/// The machine could not give memory that the budget allows.
#[derive(Debug, thiserror::Error)]
#[error(
    "this machine could not give a plugin the memory its budget allows: free some memory, or lower `memory_bytes` ({0})"
)]
pub(crate) struct MachineOutOfMemory(String);

/// Counts what the modules of one call hold together.
#[derive(Debug)]
pub(crate) struct Limiter {
    memory_limit_bytes: u64,
    table_limit_elements: u64,
    instances: usize,
    memory_bytes: u64,
    peak_memory_bytes: u64,
    table_elements: u64,
    refused: Option<RefusedGrowth>,
}

impl Limiter {
    /// A limiter for one call under this budget.
    pub(crate) fn new(budget: &Budget) -> Self {
        Self {
            memory_limit_bytes: budget.memory_bytes,
            table_limit_elements: u64::from(budget.table_elements),
            instances: usize::try_from(budget.instances).unwrap_or(usize::MAX),
            memory_bytes: 0,
            peak_memory_bytes: 0,
            table_elements: 0,
            refused: None,
        }
    }

    /// Most memory that was held at a time, in bytes.
    pub(crate) const fn peak_memory_bytes(&self) -> u64 {
        self.peak_memory_bytes
    }

    /// The last growth that was refused, if one was.
    pub(crate) const fn refused(&self) -> Option<RefusedGrowth> {
        self.refused
    }
}

/// What a total comes to when one part of it grows from `current` to `desired`.
fn grown(total: u64, current: usize, desired: usize) -> u64 {
    let by = desired.saturating_sub(current);
    total.saturating_add(u64::try_from(by).unwrap_or(u64::MAX))
}

impl ResourceLimiter for Limiter {
    fn memory_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        let wanted_bytes = grown(self.memory_bytes, current, desired);
        if wanted_bytes > self.memory_limit_bytes {
            self.refused = Some(RefusedGrowth::Memory { wanted_bytes });
            return Ok(false);
        }
        // Beyond the module's own maximum the growth fails whatever is said here; it must not be counted as held.
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        self.memory_bytes = wanted_bytes;
        self.peak_memory_bytes = self.peak_memory_bytes.max(wanted_bytes);
        Ok(true)
    }

    fn memory_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        // Only after `memory_growing` said yes: memories with pages of one byte, the exception, are off in this engine.
        Err(MachineOutOfMemory(error.to_string()).into())
    }

    fn table_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        let wanted_elements = grown(self.table_elements, current, desired);
        if wanted_elements > self.table_limit_elements {
            self.refused = Some(RefusedGrowth::Table { wanted_elements });
            return Ok(false);
        }
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        self.table_elements = wanted_elements;
        Ok(true)
    }

    fn instances(&self) -> usize {
        self.instances
    }

    fn tables(&self) -> usize {
        self.instances
    }

    fn memories(&self) -> usize {
        self.instances
    }
}
