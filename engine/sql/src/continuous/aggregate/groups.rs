//! The groups of a `GROUP BY`, by number.

use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::DataType;
use arrow::row::{RowConverter, SortField};
use datafusion::common::{HashMap, Result};

/// Keys and their numbers; numbers of groups that went are used again.
#[derive(Debug)]
pub(super) struct Groups {
    /// `None` without keys: there is one group.
    converter: Option<RowConverter>,
    slots: HashMap<Arc<[u8]>, usize>,
    keys: Vec<Option<Arc<[u8]>>>,
    free: Vec<usize>,
    bytes: u64,
}

/// What maps and lists need beside the key itself.
const OVERHEAD: u64 = 96;

impl Groups {
    pub(super) fn new(types: impl Iterator<Item = DataType>) -> Result<Self> {
        let fields: Vec<_> = types.map(SortField::new).collect();
        let converter = if fields.is_empty() {
            None
        } else {
            Some(RowConverter::new(fields)?)
        };
        Ok(Self {
            converter,
            slots: HashMap::new(),
            keys: Vec::new(),
            free: Vec::new(),
            bytes: 0,
        })
    }

    /// Something of the key of each row.
    pub(super) fn each<T>(
        &self,
        keys: &[ArrayRef],
        rows: usize,
        of: impl Fn(&[u8]) -> T,
    ) -> Result<Vec<T>> {
        let Some(converter) = &self.converter else {
            return Ok((0..rows).map(|_| of(&[])).collect());
        };
        let keys = converter.convert_columns(keys)?;
        Ok(keys.iter().map(|key| of(key.as_ref())).collect())
    }

    /// The group of each row; new ones are made.
    pub(super) fn find(&mut self, keys: &[ArrayRef], rows: usize) -> Result<Vec<usize>> {
        let Some(converter) = &self.converter else {
            let slot = self.slot(&[]);
            return Ok(vec![slot; rows]);
        };
        let keys = converter.convert_columns(keys)?;
        Ok(keys.iter().map(|key| self.slot(key.as_ref())).collect())
    }

    /// The number of a group, which is made when it is new.
    pub(super) fn slot(&mut self, key: &[u8]) -> usize {
        if let Some(slot) = self.slots.get(key) {
            return *slot;
        }
        let key: Arc<[u8]> = key.into();
        let slot = match self.free.pop() {
            Some(slot) => {
                self.keys[slot] = Some(Arc::clone(&key));
                slot
            }
            None => {
                self.keys.push(Some(Arc::clone(&key)));
                self.keys.len() - 1
            }
        };
        self.bytes += key.len() as u64 + OVERHEAD;
        self.slots.insert(key, slot);
        slot
    }

    /// One more than the largest number.
    pub(super) fn room(&self) -> usize {
        self.keys.len()
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    /// The key of a group; `None` when there is none of this number.
    pub(super) fn key(&self, slot: usize) -> Option<&Arc<[u8]>> {
        self.keys.get(slot)?.as_ref()
    }

    /// The columns of some groups' keys.
    pub(super) fn columns(&self, slots: &[usize]) -> Result<Vec<ArrayRef>> {
        let Some(converter) = &self.converter else {
            return Ok(Vec::new());
        };
        let parser = converter.parser();
        let keys = slots.iter().filter_map(|slot| self.key(*slot));
        Ok(converter.convert_rows(keys.map(|key| parser.parse(key)))?)
    }

    /// Forgets a group.
    pub(super) fn remove(&mut self, slot: usize) {
        if let Some(key) = self.keys.get_mut(slot).and_then(Option::take) {
            self.bytes -= key.len() as u64 + OVERHEAD;
            self.slots.remove(&key);
            self.free.push(slot);
        }
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }
}
