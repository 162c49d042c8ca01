//! Parse the JSON of a packed record (FORMAT.md section 9) into Python objects.

use std::collections::HashMap;
use std::fmt;

use pyo3::IntoPyObjectExt;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString, PyTuple};
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

/// Number of values before the search attributes.
pub const SLOTS: usize = 16;

/// One of the values before the search attributes.
pub enum Slot<'py> {
    /// `true`: the value follows from other values.
    Told,
    /// A time in nanoseconds after the start time.
    After(i64),
    Number(i64),
    Other(Bound<'py, PyAny>),
}

impl Slot<'_> {
    pub fn number(&self) -> Option<i64> {
        match self {
            Slot::Number(number) => Some(*number),
            _ => None,
        }
    }
}

/// Names of search attributes as Python strings, shared by the records of a page.
#[derive(Default)]
pub struct Names<'py>(HashMap<Box<str>, Bound<'py, PyString>>);

impl<'py> Names<'py> {
    const KEPT: usize = 256;

    fn get(&mut self, py: Python<'py>, name: &str) -> Bound<'py, PyString> {
        if let Some(known) = self.0.get(name) {
            return known.clone();
        }
        let made = PyString::new(py, name);
        if self.0.len() < Self::KEPT {
            self.0.insert(name.into(), made.clone());
        }
        made
    }
}

/// The array: one value for each slot, then the object of search attributes.
pub struct Record<'a, 'py> {
    pub py: Python<'py>,
    pub names: &'a mut Names<'py>,
}

impl<'de, 'py> DeserializeSeed<'de> for Record<'_, 'py> {
    type Value = (Vec<Slot<'py>>, Bound<'py, PyDict>);

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Self::Value, D::Error> {
        json.deserialize_seq(self)
    }
}

impl<'de, 'py> Visitor<'de> for Record<'_, 'py> {
    type Value = (Vec<Slot<'py>>, Bound<'py, PyDict>);

    fn expecting(&self, text: &mut fmt::Formatter) -> fmt::Result {
        text.write_str("a record")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Self::Value, A::Error> {
        let mut slots = Vec::with_capacity(SLOTS);
        while slots.len() < SLOTS {
            let slot = array.next_element_seed(Single { py: self.py })?;
            slots.push(slot.ok_or_else(|| A::Error::custom("too few values"))?);
        }
        let attributes = array.next_element_seed(Attributes {
            py: self.py,
            names: self.names,
        })?;
        Ok((
            slots,
            attributes.ok_or_else(|| A::Error::custom("no attributes"))?,
        ))
    }
}

/// A value in a slot.
struct Single<'py> {
    py: Python<'py>,
}

impl<'de, 'py> DeserializeSeed<'de> for Single<'py> {
    type Value = Slot<'py>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Self::Value, D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de, 'py> Visitor<'de> for Single<'py> {
    type Value = Slot<'py>;

    fn expecting(&self, text: &mut fmt::Formatter) -> fmt::Result {
        text.write_str("a value of a slot")
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(Slot::Other(self.py.None().into_bound(self.py)))
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Self::Value, E> {
        if value {
            Ok(Slot::Told)
        } else {
            Err(E::custom("false"))
        }
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Self::Value, E> {
        Ok(Slot::Number(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Self::Value, E> {
        i64::try_from(value).map(Slot::Number).map_err(E::custom)
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Self::Value, E> {
        Ok(Slot::Other(PyString::new(self.py, value).into_any()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Self::Value, A::Error> {
        let after = array.next_element()?;
        Ok(Slot::After(
            after.ok_or_else(|| A::Error::custom("no time"))?,
        ))
    }
}

/// The search attributes.
struct Attributes<'a, 'py> {
    py: Python<'py>,
    names: &'a mut Names<'py>,
}

impl<'de, 'py> DeserializeSeed<'de> for Attributes<'_, 'py> {
    type Value = Bound<'py, PyDict>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Self::Value, D::Error> {
        json.deserialize_map(self)
    }
}

impl<'de, 'py> Visitor<'de> for Attributes<'_, 'py> {
    type Value = Bound<'py, PyDict>;

    fn expecting(&self, text: &mut fmt::Formatter) -> fmt::Result {
        text.write_str("search attributes")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Self::Value, A::Error> {
        let found = PyDict::new(self.py);
        while let Some(name) = object.next_key_seed(Name {
            py: self.py,
            names: self.names,
        })? {
            let value = object.next_value_seed(Value {
                py: self.py,
                is_item: false,
            })?;
            found.set_item(name, value).map_err(A::Error::custom)?;
        }
        Ok(found)
    }
}

/// The name of an attribute.
struct Name<'a, 'py> {
    py: Python<'py>,
    names: &'a mut Names<'py>,
}

impl<'de, 'py> DeserializeSeed<'de> for Name<'_, 'py> {
    type Value = Bound<'py, PyString>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Self::Value, D::Error> {
        json.deserialize_str(self)
    }
}

impl<'de, 'py> Visitor<'de> for Name<'_, 'py> {
    type Value = Bound<'py, PyString>;

    fn expecting(&self, text: &mut fmt::Formatter) -> fmt::Result {
        text.write_str("a name")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Self::Value, E> {
        Ok(self.names.get(self.py, name))
    }
}

/// The value of an attribute, or an item of its list, which becomes a tuple.
struct Value<'py> {
    py: Python<'py>,
    is_item: bool,
}

impl<'de, 'py> DeserializeSeed<'de> for Value<'py> {
    type Value = Bound<'py, PyAny>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Self::Value, D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de, 'py> Visitor<'de> for Value<'py> {
    type Value = Bound<'py, PyAny>;

    fn expecting(&self, text: &mut fmt::Formatter) -> fmt::Result {
        text.write_str("the value of a search attribute")
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Self::Value, E> {
        object(self.py, value)
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Self::Value, E> {
        object(self.py, value)
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Self::Value, E> {
        object(self.py, value)
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Self::Value, E> {
        if value == 0.0 && value.is_sign_negative() {
            return Err(E::custom("it may be written as a whole number")); // -0 is an integer in JSON, and Python reads it as 0
        }
        object(self.py, value)
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Self::Value, E> {
        object(self.py, value)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Self::Value, A::Error> {
        if self.is_item {
            return Err(A::Error::custom("a list in a list"));
        }
        let mut items = Vec::new();
        while let Some(item) = array.next_element_seed(Value {
            py: self.py,
            is_item: true,
        })? {
            items.push(item);
        }
        let tuple = PyTuple::new(self.py, items).map_err(A::Error::custom)?;
        Ok(tuple.into_any())
    }
}

fn object<'py, T: IntoPyObjectExt<'py>, E: Error>(
    py: Python<'py>,
    value: T,
) -> Result<Bound<'py, PyAny>, E> {
    value.into_bound_py_any(py).map_err(E::custom)
}
