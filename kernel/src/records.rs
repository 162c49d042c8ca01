//! Packed visibility records (FORMAT.md section 9) as tuples of their values.
//!
//! `strongroom.visibility.index.record_packing.unpack_record` is the specification. It also reads the unusual records that
//! this module leaves.

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyMappingProxy, PyString, PyTuple};
use serde::de::DeserializeSeed;

use crate::chain::hexadecimal;
use crate::keys::bytes_of;
use crate::rows::as_list;
use crate::values::{Names, Record, SLOTS, Slot};

const VERSION: u8 = 2;
/// Flags of ids that are stored as 16 bytes before the array.
const RUN_ID: u8 = 1;
const PARENT_RUN_ID: u8 = 2;
const ID_BYTES: usize = 16;

const WORKFLOW: usize = 0;
const RUN: usize = 1;
const START: usize = 5;
const EXECUTION: usize = 6;
const CLOSE: usize = 7;
const DURATION: usize = 8;
const PARENT_RUN: usize = 13;
const ROOT_WORKFLOW: usize = 14;
const ROOT_RUN: usize = 15;

/// Return a tuple of values for each packed record, in the order of the record's fields. A record that only Python reads gives None.
#[pyfunction]
pub fn unpack_records<'py>(
    py: Python<'py>,
    packed: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyList>> {
    let packed = as_list(packed)?;
    let mut names = Names::default();
    let records = PyList::empty(py);
    for each in packed.iter() {
        let Some(bytes) = (unsafe { bytes_of(each.as_ptr()) }) else {
            return Err(PyErr::fetch(py));
        };
        records.append(unpack(py, bytes, &mut names))?;
    }
    Ok(records)
}

fn unpack<'py>(
    py: Python<'py>,
    packed: &[u8],
    names: &mut Names<'py>,
) -> Option<Bound<'py, PyTuple>> {
    let (&[version, flags], rest) = packed.split_first_chunk()?;
    if version != VERSION || flags & !(RUN_ID | PARENT_RUN_ID) != 0 {
        return None;
    }
    let (run, rest) = id_text(py, flags & RUN_ID != 0, rest)?;
    let (parent_run, rest) = id_text(py, flags & PARENT_RUN_ID != 0, rest)?;
    let end = rest.iter().position(|&byte| byte == 0)?; // JSON contains no zero byte
    let mut json = serde_json::Deserializer::from_slice(&rest[..end]);
    let (mut slots, attributes) = Record { py, names }.deserialize(&mut json).ok()?;
    json.end().ok()?;

    for (place, id) in [(RUN, run), (PARENT_RUN, parent_run)] {
        if let Some(id) = id {
            slots[place] = Slot::Other(id);
        }
    }
    if let Slot::After(after) = slots[CLOSE] {
        slots[CLOSE] = Slot::Number(slots[START].number()?.checked_add(after)?);
    }
    if let Slot::Told = slots[DURATION] {
        let (close, start) = (slots[CLOSE].number()?, slots[START].number()?);
        slots[DURATION] = Slot::Number(close.checked_sub(start)?);
    }
    let mut values = Vec::with_capacity(SLOTS + 2);
    for (place, slot) in slots.iter().enumerate() {
        values.push(match (slot, place) {
            (Slot::Told, EXECUTION) => values.get(START).cloned()?,
            (Slot::Told, ROOT_WORKFLOW) => values.get(WORKFLOW).cloned()?,
            (Slot::Told, ROOT_RUN) => values.get(RUN).cloned()?,
            (Slot::Told | Slot::After(_), _) => return None,
            (Slot::Number(number), _) => number.into_pyobject(py).ok()?.into_any(),
            (Slot::Other(value), _) => value.clone(),
        });
    }
    values.push(PyMappingProxy::new(py, attributes.as_mapping()).into_any());
    values.push(PyBytes::new(py, &rest[end + 1..]).into_any());
    PyTuple::new(py, values).ok()
}

/// Read the id before the array, if there is one, and return the remaining bytes.
#[allow(clippy::type_complexity)]
fn id_text<'py, 'a>(
    py: Python<'py>,
    is_there: bool,
    packed: &'a [u8],
) -> Option<(Option<Bound<'py, PyAny>>, &'a [u8])> {
    if !is_there {
        return Some((None, packed));
    }
    let (id, rest) = packed.split_first_chunk::<ID_BYTES>()?;
    let mut text = [b'-'; 2 * ID_BYTES + 4];
    let mut at = 0;
    for (index, byte) in id.iter().enumerate() {
        at += usize::from(matches!(index, 4 | 6 | 8 | 10));
        text[at..at + 2].copy_from_slice(&hexadecimal(*byte));
        at += 2;
    }
    let text = std::str::from_utf8(&text).ok()?;
    Some((Some(PyString::new(py, text).into_any()), rest))
}
