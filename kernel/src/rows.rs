//! Lists of `(key, bytes)` in, lists of `bytes` out: what sealing and opening have in common.

use std::ptr;

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyList, PyTuple};
use pyo3::{create_exception, ffi};

use crate::keys;

create_exception!(
    strongroom_kernel,
    KeyMismatch,
    PyValueError,
    "The parts of a row's key are not of the types given."
);
create_exception!(
    strongroom_kernel,
    NotOpened,
    PyValueError,
    "A value does not open here; which, and why, is not told."
);

/// Bytes of input and output that are in hand at once: they stay in a core's second-level cache.
pub const CHUNK_BYTES: usize = 128 * 1024;
/// From here on other threads run meanwhile. Below, giving them their turn costs more than it gives: a thread that
/// computes gives it back after 5 ms.
const DETACH_BYTES: usize = 32 * 1024;

/// One row in hand: where to read, where to write, and its encoded key as a range of `Chunk::keys`.
pub struct Job {
    pub input: *const u8,
    pub length: usize,
    pub output: *mut u8,
    pub key: (usize, usize),
}

/// The rows in hand, with what must outlive the work on them.
pub struct Chunk {
    pub jobs: Vec<Job>,
    pub keys: Vec<u8>,
    held: Vec<Py<PyAny>>,
    bytes: usize,
}

impl Chunk {
    pub fn new(rows: usize, types: &[u8]) -> Self {
        let rows = rows.min(1024);
        Chunk {
            jobs: Vec::with_capacity(rows),
            keys: Vec::with_capacity(rows * 16 * types.len()),
            held: Vec::new(),
            bytes: 0,
        }
    }

    pub fn is_full(&self) -> bool {
        self.bytes >= CHUNK_BYTES
    }

    /// Take a row in hand: its key is encoded, its bytes are kept alive, and what comes of it goes to `output`.
    pub fn add(
        &mut self,
        key: &Bound<'_, PyAny>,
        types: &[u8],
        value: Bytes<'_>,
        output: *mut u8,
    ) -> PyResult<()> {
        let start = self.keys.len();
        encode(types, key, &mut self.keys)?;
        self.bytes += 2 * value.bytes.len();
        self.jobs.push(Job {
            input: value.bytes.as_ptr(),
            length: value.bytes.len(),
            output,
            key: (start, self.keys.len()),
        });
        self.held.push(value.object.unbind());
        Ok(())
    }

    /// Do what is to be done for each row in hand, and let go of them; false as soon as one can't be done.
    ///
    /// `each` gets a row and its associated data: `associated`, then the row's own key.
    pub fn work(
        &mut self,
        py: Python<'_>,
        associated: &[u8],
        each: impl Fn(&Job, &[u8]) -> bool + Send,
    ) -> bool {
        let detached = self.bytes >= DETACH_BYTES;
        let work = Work {
            jobs: &self.jobs,
            keys: &self.keys,
            associated,
        };
        let done = if detached {
            py.detach(|| work.all(each))
        } else {
            work.all(each)
        };
        self.jobs.clear();
        self.keys.clear();
        self.held.clear();
        self.bytes = 0;
        done
    }
}

struct Work<'a> {
    jobs: &'a [Job],
    keys: &'a [u8],
    associated: &'a [u8],
}

// The pointers of its jobs are into `bytes` objects that are kept alive meanwhile: the caller's by `Chunk::held`, ours by
// the list of results. Nobody writes to the former; nobody else knows the latter.
unsafe impl Send for Work<'_> {}
unsafe impl Sync for Work<'_> {}

impl Work<'_> {
    fn all(&self, each: impl Fn(&Job, &[u8]) -> bool) -> bool {
        let mut data = Vec::with_capacity(self.associated.len() + 64);
        data.extend_from_slice(self.associated);
        self.jobs.iter().all(|job| {
            data.truncate(self.associated.len());
            data.extend_from_slice(&self.keys[job.key.0..job.key.1]);
            each(job, &data)
        })
    }
}

fn encode(types: &[u8], key: &Bound<'_, PyAny>, out: &mut Vec<u8>) -> PyResult<()> {
    if unsafe { keys::encode(types, key.as_ptr(), out) } {
        return Ok(());
    }
    drop(PyErr::take(key.py())); // its text would show the value
    Err(KeyMismatch::new_err(
        "the parts of a row's key are not of the types given",
    ))
}

/// Append the leading parts of a key, which all rows share; return the types of the others.
pub fn encode_scope<'a>(
    types: &'a [u8],
    scope: &Bound<'_, PyTuple>,
    out: &mut Vec<u8>,
) -> PyResult<&'a [u8]> {
    let (leading, own) = types.split_at(scope.len().min(types.len()));
    encode(leading, scope, out)?;
    Ok(own)
}

/// A `bytes` object and what is in it.
pub struct Bytes<'py> {
    pub object: Bound<'py, PyAny>,
    pub bytes: &'py [u8],
}

/// A row's key and its bytes.
#[inline]
pub fn split<'py>(row: &Bound<'py, PyAny>) -> PyResult<(Bound<'py, PyAny>, Bytes<'py>)> {
    let wrong = || PyTypeError::new_err("a row is a tuple of its key and its bytes");
    let tuple = row.cast::<PyTuple>().map_err(|_| wrong())?;
    if tuple.len() != 2 {
        return Err(wrong());
    }
    let object = tuple.get_item(1)?;
    let bytes = unsafe { keys::bytes_of(object.as_ptr()) }.ok_or_else(wrong)?;
    Ok((tuple.get_item(0)?, Bytes { object, bytes }))
}

/// The rows as a list, which nobody else changes while it is read if it is not the caller's own.
pub fn as_list<'py>(rows: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyList>> {
    match rows.cast::<PyList>() {
        Ok(list) => Ok(list.clone()),
        Err(_) => {
            let list = PyList::empty(rows.py());
            list.call_method1("extend", (rows,))?;
            Ok(list)
        }
    }
}

/// A list of results that nobody else knows yet; each place is filled once.
pub struct Results<'py> {
    list: Bound<'py, PyList>,
}

impl<'py> Results<'py> {
    pub fn new(py: Python<'py>, count: usize) -> PyResult<Self> {
        let list = unsafe {
            Bound::from_owned_ptr_or_err(py, ffi::PyList_New(count as isize))?.cast_into_unchecked()
        };
        Ok(Results { list })
    }

    /// Put a new `bytes` of a length in a place, and return where it is to be written.
    pub fn place(&self, index: usize, length: usize) -> PyResult<*mut u8> {
        unsafe {
            let object = ffi::PyBytes_FromStringAndSize(ptr::null(), length as isize);
            if object.is_null()
                || ffi::PyList_SetItem(self.list.as_ptr(), index as isize, object) != 0
            {
                return Err(PyErr::fetch(self.list.py()));
            }
            Ok(ffi::PyBytes_AsString(object).cast())
        }
    }

    pub fn into_list(self) -> Bound<'py, PyList> {
        self.list
    }
}
