//! Seal rows. A batch draws its own nonces and uses each of them once (FORMAT.md section 2.2).

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
/// The Padmé length of the longest plaintext and its length field of four bytes.
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

    /// Return a new batch with random nonces and a derived key.
    fn batch(&self, py: Python<'_>, count: usize) -> PyResult<SealingBatch> {
        if count > MAX_BATCH {
            return Err(PyValueError::new_err(
                "a batch must have at most 65536 rows",
            ));
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

    /// Return the key for values whose nonces begin with `prefix`. In suite 1 all values have the same key.
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
        .map_err(|_| pyo3::exceptions::PyOSError::new_err("the system's random generator failed"))
}

enum Nonces {
    Drawn(Vec<u8>),
    Counted {
        prefix: [u8; PREFIX_BYTES],
        first: u128,
    },
}

impl Nonces {
    /// Return the prefix that all nonces of the batch share.
    fn prefix(&self) -> &[u8] {
        match self {
            Nonces::Drawn(_) => &[],
            Nonces::Counted { prefix, .. } => prefix,
        }
    }

    /// Return the last 12 bytes of the nonce of a row.
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

/// A batch of rows that is sealed in one or several groups. It has one nonce for each of `count` rows.
#[pyclass]
pub struct SealingBatch {
    subkey: Py<Subkey>,
    nonces: Nonces,
    used: usize,
    count: usize,
}

#[pymethods]
impl SealingBatch {
    /// Seal rows that share a header. `types` has the type of each key part; `scope` has the leading parts, which all rows share.
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
                "the batch has fewer nonces left than there are rows",
            ));
        }
        let prefix = self.nonces.prefix().to_vec();
        let body = header.len() + prefix.len() + NONCE_BYTES;
        let mut associated = [header, context].concat();
        let types = encode_scope(types, scope, &mut associated)?;
        // A padded plaintext was length-checked before padding.
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
            self.used += 1; // a nonce counts as used even if sealing the row fails
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
