//! The key of a row as associated data (FORMAT.md section 3.2).

use pyo3::ffi;

const BYTES: u8 = 1;
const INT64: u8 = 2;
const TEXT: u8 = 3;
const ID: u8 = 4;
const ID_BYTES: usize = 16;

/// Append the encoding of a tuple of key parts. Return false if a part has another type; a Python error may then be set.
///
/// # Safety
/// The interpreter is attached; `parts` is a live object.
#[inline]
pub unsafe fn encode(types: &[u8], parts: *mut ffi::PyObject, out: &mut Vec<u8>) -> bool {
    unsafe {
        if ffi::PyTuple_Size(parts) != types.len() as isize {
            return false; // the size of an object that is no tuple is -1, and an error is set
        }
        types.iter().enumerate().all(|(index, &part_type)| {
            encode_part(part_type, ffi::PyTuple_GetItem(parts, index as isize), out)
        })
    }
}

#[inline]
unsafe fn encode_part(part_type: u8, part: *mut ffi::PyObject, out: &mut Vec<u8>) -> bool {
    unsafe {
        match part_type {
            INT64 => {
                if ffi::PyLong_Check(part) == 0 {
                    return false;
                }
                let number = ffi::PyLong_AsLongLong(part);
                if number == -1 && !ffi::PyErr_Occurred().is_null() {
                    return false;
                }
                out.extend_from_slice(&number.to_be_bytes());
                true
            }
            ID => match bytes_of(part) {
                Some(bytes) if bytes.len() == ID_BYTES => {
                    out.extend_from_slice(bytes);
                    true
                }
                _ => false,
            },
            BYTES => bytes_of(part).is_some_and(|bytes| append_with_length(bytes, out)),
            TEXT => {
                if ffi::PyUnicode_Check(part) == 0 {
                    return false;
                }
                let mut length = 0;
                let text = ffi::PyUnicode_AsUTF8AndSize(part, &mut length);
                !text.is_null()
                    && append_with_length(
                        std::slice::from_raw_parts(text.cast(), length as usize),
                        out,
                    )
            }
            _ => false,
        }
    }
}

fn append_with_length(bytes: &[u8], out: &mut Vec<u8>) -> bool {
    let Ok(length) = u16::try_from(bytes.len()) else {
        return false;
    };
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(bytes);
    true
}

/// Return the contents of a `bytes` object, or None with a Python error set if it is another object.
///
/// # Safety
/// The interpreter is attached; the caller holds a reference for as long as it uses the slice.
#[inline]
pub unsafe fn bytes_of<'a>(object: *mut ffi::PyObject) -> Option<&'a [u8]> {
    let (mut start, mut length) = (std::ptr::null_mut(), 0);
    unsafe {
        if ffi::PyBytes_AsStringAndSize(object, &mut start, &mut length) != 0 {
            return None;
        }
        Some(std::slice::from_raw_parts(start.cast(), length as usize))
    }
}
