//! Two inputs whose rows find each other.
