//! Open rows. Each value names its key version and nonce. Neighbours that were sealed in one batch share the key.

use pyo3::prelude::*;
use pyo3::types::{PyAny, PyBytes, PyList, PyTuple};

use crate::aead::{NONCE_BYTES, Subkey, TAG_BYTES};
use crate::rows::{Chunk, Job, NotOpened, Results, as_list, encode_scope, row_at};

/// Length of header and nonce prefix in suite 2. All values of one batch have the same head.
const HEAD_BYTES: usize = 20;

/// Open rows.
///
/// `resolve` is called with the first value of each run of equal heads. It returns the subkey, the associated data up to the
/// row's key, and the offset of the last 12 bytes of the nonce.
#[pyfunction]
pub fn open_rows<'py>(
    py: Python<'py>,
    resolve: &Bound<'py, PyAny>,
    types: &[u8],
    scope: &Bound<'py, PyTuple>,
    rows: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyList>> {
    let rows = as_list(rows)?;
    let mut encoded_scope = Vec::new();
    let types = encode_scope(types, scope, &mut encoded_scope)?;
    let count = rows.len();
    let opened = Results::new(py, count)?;
    let mut chunk = Chunk::new(count, types);
    let mut run: Option<Run<'py>> = None;
    for index in 0..count {
        if chunk.is_full() {
            open_chunk(py, &mut chunk, run.as_ref())?;
        }
        let row = unsafe { row_at(&rows, index)? };
        let head = &row.bytes[..row.bytes.len().min(HEAD_BYTES)];
        if run.as_ref().is_none_or(|run| run.head != head) {
            // Other threads may run during the call and change the list, so the row is held until it is opened.
            let tuple = unsafe { Bound::from_borrowed_ptr(py, row.tuple) };
            open_chunk(py, &mut chunk, run.as_ref())?;
            let (subkey, context, start): (_, Bound<'py, PyBytes>, _) =
                resolve.call1((tuple.get_item(1)?,))?.extract()?;
            let associated = [context.as_bytes(), &encoded_scope].concat();
            run = Some(Run {
                head: head.to_vec(),
                subkey,
                associated,
                start,
            });
            chunk.hold(tuple);
        }
        let start = run.as_ref().map_or(0, |run| run.start);
        let length = start
            .checked_add(NONCE_BYTES + TAG_BYTES)
            .and_then(|end| row.bytes.len().checked_sub(end));
        let length = length.ok_or_else(not_opened)?;
        let output = opened.place(index, length)?;
        chunk.add(py, types, &row, output)?;
    }
    open_chunk(py, &mut chunk, run.as_ref())?;
    Ok(opened.into_list())
}

/// Neighbouring values with equal heads, which one subkey opens.
struct Run<'py> {
    head: Vec<u8>,
    subkey: Bound<'py, Subkey>,
    associated: Vec<u8>,
    start: usize,
}

fn open_chunk(py: Python<'_>, chunk: &mut Chunk, run: Option<&Run<'_>>) -> PyResult<()> {
    let Some(run) = run else { return Ok(()) };
    let (subkey, start) = (run.subkey.get(), run.start);
    let open = |job: &Job, associated: &[u8]| unsafe {
        let (nonce, body) = (job.input.add(start), job.input.add(start + NONCE_BYTES));
        subkey.open(
            nonce,
            body,
            job.length - start - NONCE_BYTES,
            associated,
            job.output,
        )
    };
    if chunk.work(py, &run.associated, open) {
        Ok(())
    } else {
        Err(not_opened())
    }
}

fn not_opened() -> PyErr {
    NotOpened::new_err("a value does not open here")
}
