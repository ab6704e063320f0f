//! What the operations and their gate stand on; the models have others in its place (`loom-tests/tests/models/rados.rs`).

pub(crate) use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

pub(crate) use unwedge::{
    Stop as Domain,
    io::{ExternalCompleter, ExternalCompletion, Io},
};
