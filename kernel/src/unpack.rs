//! Remove padding and compression from decrypted bodies (FORMAT.md section 4). `strongroom.kms.sealing.packing.Unpacker` is the specification.

use std::cell::RefCell;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyList;
use zstd_safe::{DCtx, DDict};

use crate::keys::bytes_of;
use crate::rows::{DETACH_BYTES, NotOpened, Results, as_list};

const COMPRESSION_MASK: u8 = 0b0000_0111;
const ZSTD: u8 = 1;
const PADDED: u8 = 0b0000_1000;
const LENGTH_BYTES: usize = 4;
const MAX_PLAINTEXT_BYTES: usize = 64 << 20;
/// Offset of a zstd frame's descriptor byte, and the bits in it that are set if the frame names a dictionary (RFC 8878, 3.1.1.1.1).
const DESCRIPTOR: usize = 4;
const NAMES_DICTIONARY: u8 = 0b11;

thread_local! {
    static CONTEXT: RefCell<DCtx<'static>> = RefCell::new(DCtx::create());
}

/// Unpacks values of one kind.
#[pyclass(frozen)]
pub struct Unpacker {
    alone: DDict<'static>,
    tabled: DDict<'static>,
}

#[pymethods]
impl Unpacker {
    #[new]
    fn new(dictionary: &[u8], tables: &[u8]) -> PyResult<Self> {
        let tables = if dictionary.is_empty() { &[] } else { tables };
        let made = |bytes: &[u8]| {
            DDict::try_create(bytes).ok_or_else(|| PyValueError::new_err("not a zstd dictionary"))
        };
        Ok(Unpacker {
            alone: made(dictionary)?,
            tabled: made(&[tables, dictionary].concat())?,
        })
    }

    /// Return the plaintexts of decrypted bodies. `flags` has one byte of header flags for each body.
    fn unpack<'py>(
        &self,
        py: Python<'py>,
        flags: &[u8],
        bodies: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyList>> {
        let bodies: Vec<Bound<'py, PyAny>> = as_list(bodies)?.iter().collect(); // references of our own, because the list may change
        if bodies.len() != flags.len() {
            return Err(not_unpacked());
        }
        let results = Results::new(py, bodies.len())?;
        let (mut jobs, mut total) = (Vec::with_capacity(bodies.len()), 0);
        for (index, (body, &flags)) in bodies.iter().zip(flags).enumerate() {
            let Some(body) = (unsafe { bytes_of(body.as_ptr()) }) else {
                return Err(PyErr::fetch(py));
            };
            let (input, length) = parsed(flags, body).ok_or_else(not_unpacked)?;
            let output = results.place(index, length)?;
            total += input.len() + length;
            jobs.push(Job {
                input,
                output,
                length,
                is_frame: flags & COMPRESSION_MASK == ZSTD,
            });
        }
        let done = if total >= DETACH_BYTES {
            let jobs = &jobs;
            py.detach(|| self.all(jobs))
        } else {
            self.all(&jobs)
        };
        if done {
            Ok(results.into_list())
        } else {
            Err(not_unpacked())
        }
    }
}

impl Unpacker {
    fn all(&self, jobs: &[Job<'_>]) -> bool {
        CONTEXT.with_borrow_mut(|context| jobs.iter().all(|job| self.one(context, job)))
    }

    fn one(&self, context: &mut DCtx<'static>, job: &Job<'_>) -> bool {
        // Nobody else has a reference to the new object. It is zeroed first, because a slice must not be uninitialised.
        let output = unsafe {
            job.output.write_bytes(0, job.length);
            std::slice::from_raw_parts_mut(job.output, job.length)
        };
        if !job.is_frame {
            output.copy_from_slice(job.input);
            return true;
        }
        let (mut frames, mut rest) = (job.input, output);
        while let Some((frame, length, following)) = first_frame(frames) {
            // A frame that names no dictionary was made without tables. zstd refuses a frame that names another dictionary.
            let names = frame[DESCRIPTOR] & NAMES_DICTIONARY != 0;
            let dictionary = if names { &self.tabled } else { &self.alone };
            let (text, left) = rest.split_at_mut(length);
            if context.decompress_using_ddict(text, frame, dictionary) != Ok(length) {
                return false;
            }
            (frames, rest) = (following, left);
        }
        rest.is_empty()
    }
}

struct Job<'a> {
    input: &'a [u8],
    output: *mut u8,
    length: usize,
    is_frame: bool,
}

// Nobody else has a reference to the `bytes` of the outputs, and the caller holds the inputs.
unsafe impl Sync for Job<'_> {}

/// Return the text or the zstd frames in a body, and the length of the plaintext. Return None for a body that no writer produces.
fn parsed(flags: u8, body: &[u8]) -> Option<(&[u8], usize)> {
    let mut rest = body;
    if flags & PADDED != 0 {
        let (length, padded) = declared(body)?;
        let (inner, padding) = padded.split_at_checked(length)?;
        if body.len() != padme(LENGTH_BYTES + length) || padding.iter().any(|&byte| byte != 0) {
            return None;
        }
        rest = inner;
    }
    if flags & COMPRESSION_MASK != ZSTD {
        return Some((rest, rest.len()));
    }
    let (length, frames) = declared(rest)?;
    // The frames must declare the same length together, and nothing may follow them.
    let (mut missing, mut following) = (length, frames);
    while missing > 0 {
        let (_, declared, after) = first_frame(following)?;
        missing = missing.checked_sub(declared)?;
        following = after;
    }
    let is_right = (1..=MAX_PLAINTEXT_BYTES).contains(&length) && following.is_empty();
    is_right.then_some((frames, length))
}

/// Return the first frame, the length of its text, which is not 0, and the bytes after it. Return None if there is no complete frame.
fn first_frame(frames: &[u8]) -> Option<(&[u8], usize, &[u8])> {
    let size = zstd_safe::find_frame_compressed_size(frames).ok()?;
    let (frame, following) = frames.split_at_checked(size)?;
    let declared = zstd_safe::get_frame_content_size(frame).ok()??;
    let length = usize::try_from(declared).ok()?;
    (length > 0 && frame.len() > DESCRIPTOR).then_some((frame, length, following))
}

fn declared(body: &[u8]) -> Option<(usize, &[u8])> {
    let (length, rest) = body.split_first_chunk::<LENGTH_BYTES>()?;
    Some((u32::from_be_bytes(*length) as usize, rest))
}

/// Return the Padmé length for a length.
fn padme(length: usize) -> usize {
    if length < 2 {
        return length;
    }
    let exponent = length.ilog2();
    let low_bits = exponent.saturating_sub(exponent.checked_ilog2().map_or(0, |bits| bits + 1));
    let mask = (1 << low_bits) - 1;
    (length + mask) & !mask
}

fn not_unpacked() -> PyErr {
    NotOpened::new_err("a value does not open here")
}
