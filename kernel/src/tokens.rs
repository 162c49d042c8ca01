//! Keyed tokens: HMAC-SHA-256 (RFC 2104) from precomputed hash states (FORMAT.md section 7).

use std::mem::MaybeUninit;
use std::ptr;

use aws_lc_sys as aws_lc;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList};

use crate::aead::wipe;
use crate::keys::bytes_of;
use crate::rows::as_list;

const BLOCK_BYTES: usize = 64;
const TOKEN_BYTES: usize = 32;

/// Makes tokens under one key of at most 64 bytes.
#[pyclass(frozen)]
pub struct Tokens {
    inner: aws_lc::SHA256_CTX,
    outer: aws_lc::SHA256_CTX,
}

#[pymethods]
impl Tokens {
    #[new]
    fn new(key: &[u8]) -> PyResult<Self> {
        if key.len() > BLOCK_BYTES {
            return Err(PyValueError::new_err(
                "a token key must have at most 64 bytes",
            ));
        }
        Ok(Tokens {
            inner: padded(key, 0x36),
            outer: padded(key, 0x5c),
        })
    }

    /// Return the token of a message, 32 bytes.
    fn token<'py>(&self, py: Python<'py>, message: &[u8]) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.make(message))
    }

    /// Return the first 8 bytes of the token of each message, as signed integers.
    fn numbers<'py>(&self, messages: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyList>> {
        let messages = as_list(messages)?;
        let numbers = messages.iter().map(|message| {
            let Some(message) = (unsafe { bytes_of(message.as_ptr()) }) else {
                return Err(PyErr::fetch(messages.py()));
            };
            let token = self.make(message);
            let (first, _) = token.split_first_chunk().expect("a token has 32 bytes");
            Ok(i64::from_be_bytes(*first))
        });
        PyList::new(messages.py(), numbers.collect::<PyResult<Vec<i64>>>()?)
    }

    fn __repr__(&self) -> &'static str {
        "Tokens(<redacted>)"
    }
}

impl Tokens {
    fn make(&self, message: &[u8]) -> [u8; TOKEN_BYTES] {
        finished(self.outer, &finished(self.inner, message))
    }
}

impl Drop for Tokens {
    fn drop(&mut self) {
        for state in [&mut self.inner, &mut self.outer] {
            unsafe {
                aws_lc::OPENSSL_cleanse(
                    ptr::from_mut(state).cast(),
                    size_of::<aws_lc::SHA256_CTX>(),
                )
            }
        }
    }
}

/// Return the state of SHA-256 after one block: the zero-padded key, XORed with a pad byte.
fn padded(key: &[u8], pad: u8) -> aws_lc::SHA256_CTX {
    let mut block = [pad; BLOCK_BYTES];
    block
        .iter_mut()
        .zip(key)
        .for_each(|(byte, key)| *byte ^= key);
    let mut state = MaybeUninit::uninit();
    let state = unsafe {
        aws_lc::SHA256_Init(state.as_mut_ptr());
        aws_lc::SHA256_Update(state.as_mut_ptr(), block.as_ptr().cast(), block.len());
        state.assume_init()
    };
    wipe(&mut block);
    state
}

fn finished(mut state: aws_lc::SHA256_CTX, message: &[u8]) -> [u8; TOKEN_BYTES] {
    let mut digest = [0; TOKEN_BYTES];
    unsafe {
        aws_lc::SHA256_Update(&mut state, message.as_ptr().cast(), message.len());
        aws_lc::SHA256_Final(digest.as_mut_ptr(), &mut state);
    }
    digest
}
