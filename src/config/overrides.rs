//! Variables in the place of keys: `STORESYNC__SECTION__KEY`.
//!
//! A variable is text. What is meant by it, its key decides: where a number or a flag is wanted the text is read as one,
//! where a list is wanted its items stand between commas.

use std::collections::BTreeMap;
use std::str::FromStr;

use serde::de::value::{MapDeserializer, SeqDeserializer};
use serde::de::{DeserializeOwned, Deserializer, Error as _, IntoDeserializer, Unexpected, Visitor};
use serde::forward_to_deserialize_any;
use toml::de::Error;

use crate::config::ConfigError;

/// How the name of each begins.
pub(super) const PREFIX: &str = "STORESYNC__";

/// A value as the file has it, as a variable has it, or a section with values of both kinds.
#[derive(Clone, Debug)]
pub(super) enum Value {
    File(toml::Value),
    Variable(String),
    Section(BTreeMap<String, Value>),
}

/// The keys that were read, with variables laid over them.
pub(super) fn applied(given: &toml::Table, variables: &[(String, String)]) -> Result<Value, ConfigError> {
    let mut all = section(given.clone());
    for (name, value) in variables {
        apply(&mut all, name, value)?;
    }
    Ok(Value::Section(all))
}

/// The variable without which the keys can be read as they are meant.
pub(super) fn culprit<'v, T: DeserializeOwned>(
    given: &toml::Table,
    variables: &'v [(String, String)],
) -> Option<&'v str> {
    let is_readable_without = |place: usize| {
        let others = [&variables[..place], &variables[place + 1..]].concat();
        applied(given, &others).is_ok_and(|all| T::deserialize(all).is_ok())
    };
    let place = (0..variables.len()).find(|place| is_readable_without(*place))?;
    Some(&variables[place].0)
}

fn section(table: toml::Table) -> BTreeMap<String, Value> {
    let values = table.into_iter();
    values.map(|(key, value)| (key, Value::File(value))).collect()
}

/// Lays a variable over the keys that were read.
fn apply(all: &mut BTreeMap<String, Value>, name: &str, value: &str) -> Result<(), ConfigError> {
    let malformed = || {
        ConfigError(format!(
            "the variable {name} is not of the form STORESYNC__SECTION__KEY"
        ))
    };
    let rest = name
        .strip_prefix(PREFIX)
        .ok_or_else(malformed)?
        .to_ascii_lowercase();
    let (sections, key) = rest.rsplit_once("__").ok_or_else(malformed)?;
    let mut inner = all;
    for name in sections.split("__") {
        let value = inner
            .entry(name.to_owned())
            .or_insert_with(|| Value::Section(BTreeMap::new()));
        inner = value.as_section().ok_or_else(malformed)?;
    }
    inner.insert(key.to_owned(), Value::Variable(value.to_owned()));
    Ok(())
}

impl Value {
    /// As the file would have it, variables as texts.
    pub fn into_table(self) -> toml::Table {
        match self {
            Self::Section(section) => {
                let values = section.into_iter();
                values.map(|(key, value)| (key, value.into())).collect()
            }
            Self::File(toml::Value::Table(table)) => table,
            Self::File(_) | Self::Variable(_) => toml::Table::new(),
        }
    }

    fn as_section(&mut self) -> Option<&mut BTreeMap<String, Self>> {
        if let Self::File(toml::Value::Table(table)) = self {
            *self = Self::Section(section(std::mem::take(table)));
        }
        match self {
            Self::Section(section) => Some(section),
            Self::File(_) | Self::Variable(_) => None,
        }
    }
}

impl From<Value> for toml::Value {
    fn from(value: Value) -> Self {
        match value {
            Value::File(value) => value,
            Value::Variable(text) => Self::String(text),
            section @ Value::Section(_) => Self::Table(section.into_table()),
        }
    }
}

/// Reads the text of a variable as what its key takes.
fn read<T: FromStr>(text: &str, wanted: &str) -> Result<T, Error> {
    text.trim()
        .parse()
        .map_err(|_| Error::invalid_value(Unexpected::Str(text), &wanted))
}

macro_rules! reads {
    ($($method:ident $visit:ident $wanted:literal;)*) => {
        $(
            fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
                match self {
                    Self::Variable(text) => visitor.$visit(read(&text, $wanted)?),
                    other => other.deserialize_any(visitor),
                }
            }
        )*
    };
}

impl<'de> Deserializer<'de> for Value {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self {
            Self::File(value) => value.deserialize_any(visitor),
            Self::Variable(text) => visitor.visit_string(text),
            Self::Section(section) => visitor.visit_map(MapDeserializer::new(section.into_iter())),
        }
    }

    reads! {
        deserialize_bool visit_bool "true or false";
        deserialize_i8 visit_i8 "a whole number";
        deserialize_i16 visit_i16 "a whole number";
        deserialize_i32 visit_i32 "a whole number";
        deserialize_i64 visit_i64 "a whole number";
        deserialize_u8 visit_u8 "a whole number";
        deserialize_u16 visit_u16 "a whole number";
        deserialize_u32 visit_u32 "a whole number";
        deserialize_u64 visit_u64 "a whole number";
        deserialize_f32 visit_f32 "a number";
        deserialize_f64 visit_f64 "a number";
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_some(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let Self::Variable(text) = self else {
            return self.deserialize_any(visitor);
        };
        let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
        let items: Vec<Self> = items.map(|item| Self::Variable(item.to_owned())).collect();
        visitor.visit_seq(SeqDeserializer::new(items.into_iter()))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match self {
            Self::Variable(text) => {
                let text: serde::de::value::StringDeserializer<Error> = text.into_deserializer();
                text.deserialize_enum(name, variants, visitor)
            }
            other => toml::Value::from(other).deserialize_enum(name, variants, visitor),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    forward_to_deserialize_any! {
        i128 u128 char str string bytes byte_buf unit unit_struct tuple tuple_struct map struct identifier ignored_any
    }
}

impl IntoDeserializer<'_, Error> for Value {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}
