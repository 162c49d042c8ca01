//! The code that sealing and opening share: lists of `(key, bytes)` in, lists of `bytes` out.

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
    "A value does not open. The error names neither the value nor the cause."
);

/// Bytes of input and output in one chunk, so that a chunk fits into the second-level cache of a core.
pub const CHUNK_BYTES: usize = 128 * 1024;
/// Bytes that each row adds to the size of a chunk, so that a chunk of empty rows is also bounded.
const ROW_BYTES: usize = 64;
/// Size from which the interpreter's lock is released during a chunk. For smaller chunks the release costs more than it gains,
/// because another busy thread keeps the lock for 5 ms.
pub const DETACH_BYTES: usize = 32 * 1024;

/// One row of a chunk: its input, its output, and its encoded key as a range of `Chunk::keys`.
pub struct Job {
    pub input: *const u8,
    pub length: usize,
    pub output: *mut u8,
    key: (usize, usize),
    object: *mut ffi::PyObject,
}

/// The rows that are processed together.
///
/// Their `bytes` are borrowed from the caller's list. Nothing can change the list while we hold the interpreter's lock and run
/// no Python code. Before we call Python, `held` keeps the first row of a run alive; before we release the lock, `work` holds
/// all rows.
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

    /// Keep an object alive until the chunk is done.
    pub fn hold(&mut self, object: Bound<'_, PyAny>) {
        self.held = Some(object.unbind());
    }

    /// Add a row to the chunk. Its key is encoded, and its result goes to `output`.
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

    /// Process each row of the chunk, then clear the chunk. Return false at the first row that fails.
    ///
    /// `each` is called with a row and its associated data: `associated` and the row's own key.
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

// The jobs point into `bytes` objects that stay alive: `Chunk` holds the inputs, the list of results holds the outputs.
// Nobody writes to the inputs, and no other thread has a reference to the outputs.
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
    drop(PyErr::take(py)); // its text could contain the value
    Err(KeyMismatch::new_err(
        "a part of a row's key does not have the type of its record kind",
    ))
}

/// Append the leading key parts that all rows share. Return the types of the remaining parts.
pub fn encode_scope<'a>(
    types: &'a [u8],
    scope: &Bound<'_, PyTuple>,
    out: &mut Vec<u8>,
) -> PyResult<&'a [u8]> {
    let (leading, own) = types.split_at(scope.len().min(types.len()));
    encode(scope.py(), leading, scope.as_ptr(), out)?;
    Ok(own)
}

/// A row that is borrowed from the caller's list; see `Chunk`.
pub struct Row<'a> {
    pub tuple: *mut ffi::PyObject,
    pub object: *mut ffi::PyObject,
    pub bytes: &'a [u8],
    key: *mut ffi::PyObject,
}

/// Borrow a row of the list.
///
/// # Safety
/// The list is alive, and does not change while the row is used; or its `tuple` is held.
#[inline]
pub unsafe fn row_at<'a>(rows: &Bound<'_, PyList>, index: usize) -> PyResult<Row<'a>> {
    unsafe {
        let tuple = ffi::PyList_GetItem(rows.as_ptr(), index as isize);
        if tuple.is_null() {
            return Err(PyErr::fetch(rows.py())); // another thread has shortened the list
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
            "a row must be a tuple of key and bytes",
        ))
    }
}

/// Return the rows as a list: the caller's own list, or a new one that nobody else can change.
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

/// A list of results to which nobody else has a reference yet. Each element is set once.
///
/// The garbage collector does not track the list until it is complete. Otherwise a profiler in another thread that walks all
/// tracked objects would find unset elements and half-written `bytes`.
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

    /// Set an element to a new `bytes` object of a given length, and return the pointer to its contents.
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
