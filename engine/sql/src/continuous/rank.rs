//! The first rows of each partition.
