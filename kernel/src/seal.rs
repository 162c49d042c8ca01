//! Sealing: a batch draws its nonces itself, and is gone when it is used up (FORMAT.md section 2.2).

use std::ptr;

use pyo3::exceptions::{PyOverflowError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyList, PyTuple};

use crate::aead::{
    Derivation, KEY_BYTES, NONCE_BYTES, PREFIX_BYTES, Subkey, TAG_BYTES, exactly, wipe,
};
use crate::rows::{Chunk, Job, Results, as_list, encode_scope, row_at};

const MAX_BATCH: usize = 1 << 16;
const MAX_PLAINTEXT_BYTES: usize = 64 << 20;
/// The Padmé length of four bytes and the longest plaintext.
const MAX_PADDED_BYTES: usize = 66 << 20;
const PADDED: u8 = 0b0000_1000;
const LOW_96_BITS: u128 = (1 << 96) - 1;

/// The key of one suite: 1 is AES-256-GCM, 2 is XAES-256-GCM.
#[pyclass(frozen)]
pub struct Cipher {
    inner: Inner,
}

enum Inner {
    Gcm(Py<Subkey>),
    Xaes(Derivation),
}

#[pymethods]
impl Cipher {
    #[new]
    fn new(py: Python<'_>, key: &[u8], suite: u8) -> PyResult<Self> {
        let mut key: [u8; KEY_BYTES] = exactly(key)?;
        let inner = match suite {
            1 => Subkey::new(&key)
                .and_then(|subkey| Py::new(py, subkey))
                .map(Inner::Gcm),
            2 => Ok(Inner::Xaes(Derivation::new(&key))),
            _ => Err(PyValueError::new_err("suite 1 or 2")),
        };
        wipe(&mut key);
        Ok(Cipher { inner: inner? })
    }

    /// Draw the nonces of a batch, and derive its key.
    fn batch(&self, py: Python<'_>, count: usize) -> PyResult<SealingBatch> {
        if count > MAX_BATCH {
            return Err(PyValueError::new_err("a batch has at most 65536 rows"));
        }
        Ok(match &self.inner {
            Inner::Gcm(subkey) => {
                let mut drawn = vec![0; NONCE_BYTES * count];
                draw(&mut drawn)?;
                SealingBatch {
                    subkey: subkey.clone_ref(py),
                    nonces: Nonces::Drawn(drawn),
                    used: 0,
                    count,
                }
            }
            Inner::Xaes(derivation) => {
                let mut start = [0; PREFIX_BYTES + NONCE_BYTES];
                draw(&mut start)?;
                let (prefix, first) = start.split_at(PREFIX_BYTES);
                let prefix = exactly(prefix)?;
                let mut counter = [0; 16];
                counter[16 - NONCE_BYTES..].copy_from_slice(first);
                SealingBatch {
                    subkey: Py::new(py, derivation.derive(&prefix)?)?,
                    nonces: Nonces::Counted {
                        prefix,
                        first: u128::from_be_bytes(counter),
                    },
                    used: 0,
                    count,
                }
            }
        })
    }

    /// Seal rows as a batch of their own.
    fn seal<'py>(
        &self,
        py: Python<'py>,
        header: &[u8],
        context: &[u8],
        types: &[u8],
        scope: &Bound<'py, PyTuple>,
        rows: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyList>> {
        let rows = as_list(rows)?;
        self.batch(py, rows.len())?
            .seal(py, header, context, types, scope, &rows)
    }

    /// Return what opens values whose nonces begin with `prefix`; in suite 1 all have the same key, whatever it is.
    fn subkey(&self, py: Python<'_>, prefix: &[u8]) -> PyResult<Py<Subkey>> {
        match &self.inner {
            Inner::Gcm(subkey) => Ok(subkey.clone_ref(py)),
            Inner::Xaes(derivation) => Py::new(py, derivation.derive(&exactly(prefix)?)?),
        }
    }

    fn __repr__(&self) -> &'static str {
        "Cipher(<redacted>)"
    }
}

fn draw(bytes: &mut [u8]) -> PyResult<()> {
    getrandom::fill(bytes)
        .map_err(|_| pyo3::exceptions::PyOSError::new_err("the system has no random bytes"))
}

enum Nonces {
    Drawn(Vec<u8>),
    Counted {
        prefix: [u8; PREFIX_BYTES],
        first: u128,
    },
}

impl Nonces {
    /// What the nonces of a batch have in common.
    fn prefix(&self) -> &[u8] {
        match self {
            Nonces::Drawn(_) => &[],
            Nonces::Counted { prefix, .. } => prefix,
        }
    }

    /// The last 12 bytes of the nonce of a row.
    fn get(&self, index: usize) -> PyResult<[u8; NONCE_BYTES]> {
        match self {
            Nonces::Drawn(drawn) => exactly(&drawn[NONCE_BYTES * index..][..NONCE_BYTES]),
            Nonces::Counted { first, .. } => {
                let counted = (first + index as u128) & LOW_96_BITS;
                exactly(&counted.to_be_bytes()[16 - NONCE_BYTES..])
            }
        }
    }
}

/// The rows of one batch, sealed in one or several groups; it has nonces for as many as it was made for.
#[pyclass]
pub struct SealingBatch {
    subkey: Py<Subkey>,
    nonces: Nonces,
    used: usize,
    count: usize,
}

#[pymethods]
impl SealingBatch {
    /// Seal rows that share a header. `types` are of all parts of a row's key, of which `scope` are the leading ones.
    fn seal<'py>(
        &mut self,
        py: Python<'py>,
        header: &[u8],
        context: &[u8],
        types: &[u8],
        scope: &Bound<'py, PyTuple>,
        rows: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyList>> {
        let rows = as_list(rows)?;
        let count = rows.len();
        if count > self.count - self.used {
            return Err(PyValueError::new_err(
                "more rows than the batch was made for",
            ));
        }
        let prefix = self.nonces.prefix().to_vec();
        let body = header.len() + prefix.len() + NONCE_BYTES;
        let mut associated = [header, context].concat();
        let types = encode_scope(types, scope, &mut associated)?;
        // Of what is padded the plaintext was shorter, and is checked by who padded it.
        let is_padded = header.get(3).is_some_and(|flags| flags & PADDED != 0);
        let longest = if is_padded {
            MAX_PADDED_BYTES
        } else {
            MAX_PLAINTEXT_BYTES
        };
        let sealed = Results::new(py, count)?;
        let subkey = self.subkey.get();
        let mut chunk = Chunk::new(count, types);
        for index in 0..count {
            let row = unsafe { row_at(&rows, index)? };
            if row.bytes.len() > longest {
                return Err(PyOverflowError::new_err(
                    "a plaintext is longer than 64 MiB",
                ));
            }
            let start = sealed.place(index, body + row.bytes.len() + TAG_BYTES)?;
            let nonce = self.nonces.get(self.used)?;
            self.used += 1; // whatever happens from here on
            unsafe {
                ptr::copy_nonoverlapping(header.as_ptr(), start, header.len());
                ptr::copy_nonoverlapping(prefix.as_ptr(), start.add(header.len()), prefix.len());
                ptr::copy_nonoverlapping(
                    nonce.as_ptr(),
                    start.add(body - NONCE_BYTES),
                    NONCE_BYTES,
                );
                chunk.add(py, types, &row, start.add(body))?;
            }
            if chunk.is_full() || index + 1 == count {
                let seal = |job: &Job, associated: &[u8]| unsafe {
                    subkey.seal(
                        job.output.sub(NONCE_BYTES),
                        job.input,
                        job.length,
                        associated,
                        job.output,
                    )
                };
                if !chunk.work(py, &associated, seal) {
                    return Err(PyValueError::new_err("AWS-LC did not seal"));
                }
            }
        }
        Ok(sealed.into_list())
    }

    fn __repr__(&self) -> &'static str {
        "SealingBatch(<redacted>)"
    }
}
