//! What one instance may allocate.

use wasmtime::ResourceLimiter;

/// A component is a handful of core instances: the guest, and the shims that `wit-component` adds. One that
/// componentize-py makes of a Python function has 38.
const MAX_INSTANCES: usize = 64;
const MAX_MEMORIES: usize = 4;
const MAX_TABLES: usize = 16;
/// Elements over all tables: 8 bytes each on the host.
const MAX_TABLE_ELEMENTS: usize = 1 << 20;

/// The limits of one store, over all of its memories and tables together.
#[derive(Debug)]
pub(crate) struct Limiter {
    memory_limit: usize,
    memory: usize,
    table_elements: usize,
    /// Whether the guest was refused something since the flag was last cleared. A guest that is refused memory traps
    /// a moment later in its own way (most print nothing and hit `unreachable`); this tells why.
    pub(crate) refused: bool,
}

impl Limiter {
    pub(crate) fn new(memory_limit: u64) -> Self {
        Self {
            memory_limit: usize::try_from(memory_limit).unwrap_or(usize::MAX),
            memory: 0,
            table_elements: 0,
            refused: false,
        }
    }

    /// Bytes of all memories.
    pub(crate) fn memory(&self) -> u64 {
        self.memory as u64
    }
}

impl ResourceLimiter for Limiter {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let total = self.memory.saturating_add(desired.saturating_sub(current));
        if total > self.memory_limit {
            self.refused = true;
            return Ok(false);
        }
        self.memory = total;
        Ok(true)
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let total = self
            .table_elements
            .saturating_add(desired.saturating_sub(current));
        if total > MAX_TABLE_ELEMENTS {
            self.refused = true;
            return Ok(false);
        }
        self.table_elements = total;
        Ok(true)
    }

    fn instances(&self) -> usize {
        MAX_INSTANCES
    }

    fn tables(&self) -> usize {
        MAX_TABLES
    }

    fn memories(&self) -> usize {
        MAX_MEMORIES
    }
}
