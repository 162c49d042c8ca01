//! Number, chain and write audit records (docs/how-to/audit-log.md, "The chain") without holding the interpreter's lock.
//!
//! `strongroom.driver.audit.chain.append` is the specification: it writes the same bytes.

use std::fs::File;
use std::io::Write;
use std::mem::ManuallyDrop;
use std::os::fd::{FromRawFd, RawFd};
use std::os::unix::fs::FileExt;

use aws_lc_sys as aws_lc;
use pyo3::exceptions::{PyOSError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList};

use crate::keys::bytes_of;

const CHAIN_BYTES: usize = 32;
const MARK: &[u8] = br#","chain":""#;
const END: &[u8] = b"\"}\n";
const NUMBER_BYTES: usize = 20;

/// Write the lines of records. Return the number of bytes and the chain after the last record.
///
/// `head` is the start of every record, up to its number. `first` is the number of the first record, and `chain` the chain
/// before it. `members` has the remaining JSON members of each record. Raises `OSError` if the file can't be written.
#[pyfunction]
pub fn append<'py>(
    py: Python<'py>,
    file: RawFd,
    offset: u64,
    head: &[u8],
    first: u64,
    chain: &[u8],
    members: &Bound<'py, PyList>,
) -> PyResult<(usize, Bound<'py, PyBytes>)> {
    if file < 0 {
        return Err(PyValueError::new_err(
            "a file descriptor must not be negative",
        ));
    }
    let mut chain: [u8; CHAIN_BYTES] = chain
        .try_into()
        .map_err(|_| PyValueError::new_err("the chain must have 32 bytes"))?;
    // Hold references of our own, because another thread may change the list while the lock is released.
    let members: Vec<Bound<'py, PyAny>> = members.iter().collect();
    let mut parts = Vec::with_capacity(members.len());
    for each in &members {
        let Some(part) = (unsafe { bytes_of(each.as_ptr()) }) else {
            return Err(PyErr::fetch(py));
        };
        parts.push(part);
    }
    let written = py.detach(|| {
        let mut lines = Vec::with_capacity(
            parts.iter().map(|part| part.len()).sum::<usize>()
                + parts.len()
                    * (head.len() + NUMBER_BYTES + 2 + MARK.len() + 2 * CHAIN_BYTES + END.len()),
        );
        for (number, part) in (first..).zip(&parts) {
            let start = lines.len();
            lines.extend_from_slice(head);
            write!(lines, "{number},").expect("a write to memory succeeds");
            lines.extend_from_slice(part);
            chain = linked(&chain, &lines[start..]);
            lines.extend_from_slice(MARK);
            lines.extend(chain.iter().flat_map(|byte| hexadecimal(*byte)));
            lines.extend_from_slice(END);
        }
        // The caller owns the descriptor and closes it.
        let file = ManuallyDrop::new(unsafe { File::from_raw_fd(file) });
        file.write_all_at(&lines, offset).map(|()| lines.len())
    });
    let written = written.map_err(os_error)?;
    Ok((written, PyBytes::new(py, &chain)))
}

/// Return an `OSError` with its number, so that the caller can distinguish a full disk from a broken one. The number is EIO if the error has none.
fn os_error(error: std::io::Error) -> PyErr {
    const EIO: i32 = 5;
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    PyOSError::new_err((error.raw_os_error().unwrap_or(EIO), text.to_owned()))
}

/// Return the chain after a record. `record` lacks the closing brace.
fn linked(chain: &[u8; CHAIN_BYTES], record: &[u8]) -> [u8; CHAIN_BYTES] {
    let mut state = std::mem::MaybeUninit::uninit();
    let mut digest = [0; CHAIN_BYTES];
    unsafe {
        aws_lc::SHA256_Init(state.as_mut_ptr());
        aws_lc::SHA256_Update(state.as_mut_ptr(), chain.as_ptr().cast(), chain.len());
        aws_lc::SHA256_Update(state.as_mut_ptr(), record.as_ptr().cast(), record.len());
        aws_lc::SHA256_Update(state.as_mut_ptr(), b"}".as_ptr().cast(), 1);
        aws_lc::SHA256_Final(digest.as_mut_ptr(), state.as_mut_ptr());
    }
    digest
}

pub fn hexadecimal(byte: u8) -> [u8; 2] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    [
        DIGITS[usize::from(byte >> 4)],
        DIGITS[usize::from(byte & 15)],
    ]
}
