//! The hot loops of Strongroom in Rust: seal rows and open them (FORMAT.md sections 2 and 3).
//!
//! `aead` has the ciphers, `keys` encodes the key of a row, `seal` and `open` are the loops, `unpack` decompresses, `tokens` makes
//! keyed tokens and `sums` adds them, `chain` writes lines of the audit log, `records` and `values` read visibility records.
//! The Python module `strongroom.kms.sealing.python_cipher` is the specification: both produce the same bytes.

mod aead;
mod chain;
mod keys;
mod open;
mod records;
mod rows;
mod seal;
mod sums;
mod tokens;
mod unpack;
mod values;

use pyo3::prelude::*;

#[pymodule]
mod strongroom_kernel {
    #[pymodule_export]
    use crate::aead::Subkey;
    #[pymodule_export]
    use crate::chain::append;
    #[pymodule_export]
    use crate::open::open_rows;
    #[pymodule_export]
    use crate::records::unpack_records;
    #[pymodule_export]
    use crate::rows::{KeyMismatch, NotOpened};
    #[pymodule_export]
    use crate::seal::{Cipher, SealingBatch};
    #[pymodule_export]
    use crate::tokens::Tokens;
    #[pymodule_export]
    use crate::unpack::Unpacker;
}
