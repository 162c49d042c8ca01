//! AWS-LC's AES-256-GCM over a batch of rows of one length, timed with the process's CPU clock, behind a C interface.
//!
//! It does the cipher's work and nothing else: counters for nonces, a context that is kept, associated data and buffers that
//! exist already, out of place. No Python object is looked at or made. The Python side compares its clock with this one's
//! figures in the same process and the same round.

use aws_lc_sys::{
    EVP_AEAD_CTX_free, EVP_AEAD_CTX_new, EVP_AEAD_CTX_open, EVP_AEAD_CTX_seal, EVP_aead_aes_256_gcm, EVP_AEAD_CTX,
};
use std::os::raw::{c_int, c_long};

const NONCE: usize = 12;
const TAG: usize = 16;

#[repr(C)]
struct Timespec {
    seconds: c_long,
    nanoseconds: c_long,
}

extern "C" {
    fn clock_gettime(clock: c_int, time: *mut Timespec) -> c_int;
}

/// CPU time of the process, as Python's `time.process_time_ns`.
fn process_time_ns() -> u64 {
    const CLOCK_PROCESS_CPUTIME_ID: c_int = 2;
    let mut time = Timespec { seconds: 0, nanoseconds: 0 };
    // SAFETY: the pointer is to a local of the type that the call writes.
    unsafe { clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &mut time) };
    time.seconds as u64 * 1_000_000_000 + time.nanoseconds as u64
}

/// A key's context with the buffers of a batch.
pub struct Batch {
    context: *mut EVP_AEAD_CTX,
    count: usize,
    length: usize,
    associated_length: usize,
    plain: Vec<u8>,
    sealed: Vec<u8>,
    associated: Vec<u8>,
    opened: Vec<u8>,
}

/// Make a batch. `key` has 32 bytes, `plain` `count * length`, `associated` `count * associated_length`.
///
/// # Safety
/// The pointers are to that many bytes. What is returned is given to `limit_free` once; null if AWS-LC refuses.
#[no_mangle]
pub unsafe extern "C" fn limit_new(
    key: *const u8,
    plain: *const u8,
    associated: *const u8,
    count: usize,
    length: usize,
    associated_length: usize,
) -> *mut Batch {
    let context = EVP_AEAD_CTX_new(EVP_aead_aes_256_gcm(), key, 32, TAG);
    if context.is_null() {
        return std::ptr::null_mut();
    }
    Box::into_raw(Box::new(Batch {
        context,
        count,
        length,
        associated_length,
        plain: std::slice::from_raw_parts(plain, count * length).to_vec(),
        sealed: vec![0; count * (length + TAG)],
        associated: std::slice::from_raw_parts(associated, count * associated_length).to_vec(),
        opened: vec![0; count * length],
    }))
}

/// Let a batch go.
///
/// # Safety
/// `batch` is from `limit_new`, and is not used again.
#[no_mangle]
pub unsafe extern "C" fn limit_free(batch: *mut Batch) {
    let batch = Box::from_raw(batch);
    EVP_AEAD_CTX_free(batch.context);
}

fn nonce(row: usize) -> [u8; NONCE] {
    let mut nonce = [0; NONCE];
    nonce[4..].copy_from_slice(&(row as u64).to_be_bytes());
    nonce
}

/// Seal all rows; return nanoseconds of CPU time, 0 after an error.
///
/// # Safety
/// `batch` is from `limit_new`.
#[no_mangle]
pub unsafe extern "C" fn limit_seal(batch: *mut Batch) -> u64 {
    let batch = &mut *batch;
    let stride = batch.length + TAG;
    let mut good = true;
    let started = process_time_ns();
    for row in 0..batch.count {
        let mut written = 0;
        good &= 1 == EVP_AEAD_CTX_seal(
            batch.context,
            batch.sealed.as_mut_ptr().add(row * stride),
            &mut written,
            stride,
            nonce(row).as_ptr(),
            NONCE,
            batch.plain.as_ptr().add(row * batch.length),
            batch.length,
            batch.associated.as_ptr().add(row * batch.associated_length),
            batch.associated_length,
        );
    }
    let spent = process_time_ns() - started;
    if good { spent.max(1) } else { 0 }
}

/// Open all rows that were sealed; return nanoseconds of CPU time, 0 after an error.
///
/// # Safety
/// `batch` is from `limit_new`.
#[no_mangle]
pub unsafe extern "C" fn limit_open(batch: *mut Batch) -> u64 {
    let batch = &mut *batch;
    let stride = batch.length + TAG;
    let mut good = true;
    let started = process_time_ns();
    for row in 0..batch.count {
        let mut written = 0;
        good &= 1 == EVP_AEAD_CTX_open(
            batch.context,
            batch.opened.as_mut_ptr().add(row * batch.length),
            &mut written,
            batch.length,
            nonce(row).as_ptr(),
            NONCE,
            batch.sealed.as_ptr().add(row * stride),
            stride,
            batch.associated.as_ptr().add(row * batch.associated_length),
            batch.associated_length,
        );
    }
    let spent = process_time_ns() - started;
    if good { spent.max(1) } else { 0 }
}

/// Copy a row out, as it was sealed (`length + 16` bytes) or opened: the Python side checks them with another library.
///
/// # Safety
/// `batch` is from `limit_new`, `row` below its count, and `out` has room.
#[no_mangle]
pub unsafe extern "C" fn limit_row(batch: *const Batch, row: usize, opened: bool, out: *mut u8) {
    let batch = &*batch;
    let (from, length) = if opened { (&batch.opened, batch.length) } else { (&batch.sealed, batch.length + TAG) };
    std::ptr::copy_nonoverlapping(from.as_ptr().add(row * length), out, length);
}
