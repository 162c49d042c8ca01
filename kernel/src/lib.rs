//! Strongroom's hot loops, natively: rows in, sealed rows out, and back (FORMAT.md sections 2 and 3).
//!
//! `aead` knows keys and nonces, `keys` encodes the key of a row, `seal` and `open` are the loops, `tokens` makes keyed tokens, `chain` the
//! lines of the audit log.
//! What they make is byte for byte what `strongroom.kms.python_cipher` makes; that module is the specification of this one's interface.

mod aead;
mod chain;
mod keys;
mod open;
mod rows;
mod seal;
mod tokens;

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
    use crate::rows::{KeyMismatch, NotOpened};
    #[pymodule_export]
    use crate::seal::{Batch, Cipher};
    #[pymodule_export]
    use crate::tokens::Tokens;
}
