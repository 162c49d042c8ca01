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
/// What a row counts for besides its bytes, so that many empty ones are a long batch too.
const ROW_BYTES: usize = 64;
/// From here on other threads run meanwhile. Below, giving them their turn costs more than it gives: a thread that
/// computes gives it back after 5 ms.
pub const DETACH_BYTES: usize = 32 * 1024;

/// One row in hand: where to read, where to write, and its encoded key as a range of `Chunk::keys`.
pub struct Job {
    pub input: *const u8,
    pub length: usize,
    pub output: *mut u8,
    key: (usize, usize),
    object: *mut ffi::PyObject,
}

/// The rows in hand.
///
/// Their `bytes` are borrowed from the caller's list, as nothing can change that while we are attached to the interpreter
/// and run no Python code. Where we do either, they are held: `held` for the first of a run, all of them by `work`.
pub struct Chunk {
    jobs: Vec<Job>,
    keys: Vec<u8>,
    held: Option<Py<PyAny>>,
    bytes: usize,
}

impl Chunk {
    pub fn new(rows: usize, types: &[u8]) -> Self {
        let rows = rows.min(1024);
        Chunk {
            jobs: Vec::with_capacity(rows),
            keys: Vec::with_capacity(rows * 16 * types.len()),
            held: None,
            bytes: 0,
        }
    }

    pub fn is_full(&self) -> bool {
        self.bytes >= CHUNK_BYTES
    }

    /// Keep an object alive until the rows in hand are done.
    pub fn hold(&mut self, object: Bound<'_, PyAny>) {
        self.held = Some(object.unbind());
    }

    /// Take a row in hand: its key is encoded, and what comes of it goes to `output`.
    pub fn add(
        &mut self,
        py: Python<'_>,
        types: &[u8],
        row: &Row<'_>,
        output: *mut u8,
    ) -> PyResult<()> {
        let start = self.keys.len();
        encode(py, types, row.key, &mut self.keys)?;
        self.bytes += 2 * row.bytes.len() + (self.keys.len() - start) + ROW_BYTES;
        self.jobs.push(Job {
            input: row.bytes.as_ptr(),
            length: row.bytes.len(),
            output,
            key: (start, self.keys.len()),
            object: row.object,
        });
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
            self.jobs
                .iter()
                .for_each(|job| unsafe { ffi::Py_IncRef(job.object) });
            let done = py.detach(|| work.all(each));
            self.jobs
                .iter()
                .for_each(|job| unsafe { ffi::Py_DecRef(job.object) });
            done
        } else {
            work.all(each)
        };
        self.jobs.clear();
        self.keys.clear();
        self.held = None;
        self.bytes = 0;
        done
    }
}

struct Work<'a> {
    jobs: &'a [Job],
    keys: &'a [u8],
    associated: &'a [u8],
}

// The pointers of its jobs are into `bytes` objects that are kept alive meanwhile: the caller's by `Chunk`, ours by the
// list of results. Nobody writes to the former; nobody else knows the latter.
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

fn encode(
    py: Python<'_>,
    types: &[u8],
    key: *mut ffi::PyObject,
    out: &mut Vec<u8>,
) -> PyResult<()> {
    if unsafe { keys::encode(types, key, out) } {
        return Ok(());
    }
    drop(PyErr::take(py)); // its text would show the value
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
    encode(scope.py(), leading, scope.as_ptr(), out)?;
    Ok(own)
}

/// A row of the caller's list, borrowed from it: see `Chunk`.
pub struct Row<'a> {
    pub tuple: *mut ffi::PyObject,
    pub object: *mut ffi::PyObject,
    pub bytes: &'a [u8],
    key: *mut ffi::PyObject,
}

/// Borrow a row.
///
/// # Safety
/// The list is alive, and does not change while the row is used; or its `tuple` is held.
#[inline]
pub unsafe fn row_at<'a>(rows: &Bound<'_, PyList>, index: usize) -> PyResult<Row<'a>> {
    unsafe {
        let tuple = ffi::PyList_GetItem(rows.as_ptr(), index as isize);
        if tuple.is_null() {
            return Err(PyErr::fetch(rows.py())); // another thread has made the list shorter
        }
        if ffi::PyTuple_Size(tuple) == 2 {
            let object = ffi::PyTuple_GetItem(tuple, 1);
            if let Some(bytes) = keys::bytes_of(object) {
                let key = ffi::PyTuple_GetItem(tuple, 0);
                return Ok(Row {
                    tuple,
                    object,
                    bytes,
                    key,
                });
            }
        }
        drop(PyErr::take(rows.py()));
        Err(PyTypeError::new_err(
            "a row is a tuple of its key and its bytes",
        ))
    }
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
///
/// The garbage collector is not told of it before it is whole: who walks all of its objects in another thread, as a
/// profiler does, would find places that are empty, and `bytes` that are being written.
pub struct Results<'py> {
    list: Bound<'py, PyList>,
}

impl<'py> Results<'py> {
    pub fn new(py: Python<'py>, count: usize) -> PyResult<Self> {
        unsafe {
            let list = Bound::from_owned_ptr_or_err(py, ffi::PyList_New(count as isize))?;
            ffi::PyObject_GC_UnTrack(list.as_ptr().cast());
            Ok(Results {
                list: list.cast_into_unchecked(),
            })
        }
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
        unsafe { ffi::PyObject_GC_Track(self.list.as_ptr().cast()) };
        self.list
    }
}
