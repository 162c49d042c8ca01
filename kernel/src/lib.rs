//! Strongroom's hot loops, natively: rows in, sealed rows out, and back (FORMAT.md sections 2 and 3).
//!
//! `aead` knows keys and nonces, `keys` encodes the key of a row, `seal` and `open` are the loops, `unpack` decompresses, `tokens` makes keyed tokens, `chain` the
//! lines of the audit log, `records` and `values` visibility records.
//! What they make is byte for byte what `strongroom.kms.sealing.python_cipher` makes; that module is the specification of this one's interface.

mod aead;
mod chain;
mod keys;
mod open;
mod records;
mod rows;
mod seal;
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
