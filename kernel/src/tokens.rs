//! Keyed tokens and their sums: HMAC-SHA-256 (RFC 2104) from precomputed hash states (FORMAT.md section 7).

use std::mem::MaybeUninit;
use std::ptr;

use aws_lc_sys as aws_lc;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList};

use crate::aead::wipe;
use crate::keys::bytes_of;
use crate::rows::as_list;
use crate::sums::{SUM_BYTES, Sum};

const BLOCK_BYTES: usize = 64;
const TOKEN_BYTES: usize = SUM_BYTES;

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
            let token = self.make(contents(&message)?);
            let (first, _) = token.split_first_chunk().expect("a token has 32 bytes");
            Ok(i64::from_be_bytes(*first))
        });
        PyList::new(messages.py(), numbers.collect::<PyResult<Vec<i64>>>()?)
    }

    /// Return the first `length` bytes of the token of each message, one after the other.
    fn prefixes<'py>(
        &self,
        messages: &Bound<'py, PyAny>,
        length: usize,
    ) -> PyResult<Bound<'py, PyBytes>> {
        if length > TOKEN_BYTES {
            return Err(PyValueError::new_err("a token has 32 bytes"));
        }
        let messages = as_list(messages)?;
        let mut prefixes = Vec::with_capacity(length * messages.len());
        for message in messages.iter() {
            prefixes.extend_from_slice(&self.make(contents(&message)?)[..length]);
        }
        Ok(PyBytes::new(messages.py(), &prefixes))
    }

    /// Return a sum without the tokens of some messages and with those of others. `prefix` is the start of every message.
    fn exchange<'py>(
        &self,
        py: Python<'py>,
        total: &[u8],
        prefix: &[u8],
        removed: &Bound<'py, PyAny>,
        added: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let total = total
            .try_into()
            .map_err(|_| PyValueError::new_err("a sum has 32 bytes"))?;
        let mut total = Sum::from_bytes(total);
        let start = updated(self.inner, prefix);
        for message in as_list(removed)?.iter() {
            total.subtract(&self.element(start, contents(&message)?));
        }
        for message in as_list(added)?.iter() {
            total.add(&self.element(start, contents(&message)?));
        }
        Ok(PyBytes::new(py, &total.to_bytes()))
    }

    /// Return the sums of the tokens of messages by their first byte, in ascending order: the byte, then the sum of the added messages
    /// without the removed ones. `prefix` is the start of every message, before that byte.
    fn grouped<'py>(
        &self,
        py: Python<'py>,
        prefix: &[u8],
        removed: &Bound<'py, PyAny>,
        added: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let start = updated(self.inner, prefix);
        let mut sums: Vec<(u8, Sum)> = Vec::with_capacity(8);
        for (messages, change) in [
            (added, Sum::add as fn(&mut Sum, &Sum)),
            (removed, Sum::subtract),
        ] {
            for message in as_list(messages)?.iter() {
                let message = contents(&message)?;
                let Some(&group) = message.first() else {
                    return Err(PyValueError::new_err("a message is empty"));
                };
                let place = sums.iter().position(|(each, _)| *each == group);
                let place = place.unwrap_or_else(|| {
                    sums.push((group, Sum::default()));
                    sums.len() - 1
                });
                change(&mut sums[place].1, &self.element(start, message));
            }
        }
        sums.sort_unstable_by_key(|(group, _)| *group);
        let mut packed = Vec::with_capacity((1 + SUM_BYTES) * sums.len());
        for (group, sum) in sums {
            packed.push(group);
            packed.extend_from_slice(&sum.to_bytes());
        }
        Ok(PyBytes::new(py, &packed))
    }

    fn __repr__(&self) -> &'static str {
        "Tokens(<redacted>)"
    }
}

impl Tokens {
    fn make(&self, message: &[u8]) -> [u8; TOKEN_BYTES] {
        finished(self.outer, &finished(self.inner, message))
    }

    /// Return the token of a message whose first part `start` has hashed.
    fn element(&self, start: aws_lc::SHA256_CTX, message: &[u8]) -> Sum {
        Sum::from_bytes(&finished(self.outer, &finished(start, message)))
    }
}

fn contents<'a>(object: &'a Bound<'_, PyAny>) -> PyResult<&'a [u8]> {
    unsafe { bytes_of(object.as_ptr()) }.ok_or_else(|| PyErr::fetch(object.py()))
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

fn updated(mut state: aws_lc::SHA256_CTX, message: &[u8]) -> aws_lc::SHA256_CTX {
    unsafe { aws_lc::SHA256_Update(&mut state, message.as_ptr().cast(), message.len()) };
    state
}

fn finished(state: aws_lc::SHA256_CTX, message: &[u8]) -> [u8; TOKEN_BYTES] {
    let mut state = updated(state, message);
    let mut digest = [0; TOKEN_BYTES];
    unsafe { aws_lc::SHA256_Final(digest.as_mut_ptr(), &mut state) };
    digest
}
