//! Reads a writer schema's JSON into a flat list of types.
//!
//! Promises: any text gives a schema or an error. A type may refer to itself by name, so types point at one
//! another by number and whoever walks them minds the depth.

use std::collections::HashMap;

use serde_json::Value as Json;

/// Why a writer schema can not be used. Its events are parked until it can.
#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    #[error("the writer schema is not JSON")]
    Json(#[from] serde_json::Error),
    #[error("the writer schema is not an Avro schema: {0}")]
    Avro(String),
    #[error("the writer schema describes no change event: {0}")]
    NotChangeEvent(String),
}

/// One Avro type. Numbers are places in [`Nodes`].
#[derive(Debug)]
pub(super) enum Node {
    Null,
    Boolean,
    Int,
    Long,
    Float,
    Double,
    Bytes,
    Text,
    Fixed(usize),
    Enum(Vec<String>),
    Array(usize),
    Map(usize),
    Union(Vec<usize>),
    Record { name: String, fields: Vec<RecordField> },
}

#[derive(Debug)]
pub(super) struct RecordField {
    pub name: String,
    pub node: usize,
    /// `Role:Type[:field id]` in change events, where it carries the meaning that Avro's types lack.
    pub doc: String,
}

/// All types of a schema.
#[derive(Debug, Default)]
pub(super) struct Nodes(Vec<Node>);

impl Nodes {
    /// Reads a schema; the number is its outermost type's.
    pub fn parse(text: &str) -> Result<(Self, usize), SchemaError> {
        let json: Json = serde_json::from_str(text)?;
        let mut parser = Parser {
            nodes: Self::default(),
            names: HashMap::new(),
        };
        let root = parser.read(&json, "")?;
        Ok((parser.nodes, root))
    }

    pub fn get(&self, id: usize) -> &Node {
        &self.0[id]
    }

    fn push(&mut self, node: Node) -> usize {
        self.0.push(node);
        self.0.len() - 1
    }
}

struct Parser {
    nodes: Nodes,
    /// Named types by their full names.
    names: HashMap<String, usize>,
}

impl Parser {
    fn read(&mut self, json: &Json, namespace: &str) -> Result<usize, SchemaError> {
        match json {
            Json::String(name) => self.by_name(name, namespace),
            Json::Array(branches) => {
                let branches: Result<Vec<_>, _> = branches
                    .iter()
                    .map(|branch| self.read(branch, namespace))
                    .collect();
                Ok(self.nodes.push(Node::Union(branches?)))
            }
            Json::Object(_) => self.read_object(json, namespace),
            _ => Err(SchemaError::Avro(
                "a type is neither a name, a list nor an object".to_owned(),
            )),
        }
    }

    fn by_name(&mut self, name: &str, namespace: &str) -> Result<usize, SchemaError> {
        let primitive = match name {
            "null" => Node::Null,
            "boolean" => Node::Boolean,
            "int" => Node::Int,
            "long" => Node::Long,
            "float" => Node::Float,
            "double" => Node::Double,
            "bytes" => Node::Bytes,
            "string" => Node::Text,
            _ => {
                let known = self
                    .names
                    .get(&full_name(name, namespace))
                    .or_else(|| self.names.get(name));
                return known
                    .copied()
                    .ok_or_else(|| SchemaError::Avro(format!("type {name} is used before it is defined")));
            }
        };
        Ok(self.nodes.push(primitive))
    }

    fn read_object(&mut self, json: &Json, namespace: &str) -> Result<usize, SchemaError> {
        match text(json, "type") {
            Some("record" | "error") => self.read_record(json, namespace),
            Some("enum") => {
                let symbols = list(json, "symbols")?
                    .iter()
                    .filter_map(Json::as_str)
                    .map(str::to_owned)
                    .collect();
                self.define(json, namespace, Node::Enum(symbols))
            }
            Some("fixed") => {
                let size = json
                    .get("size")
                    .and_then(Json::as_u64)
                    .and_then(|size| usize::try_from(size).ok());
                let size = size.ok_or_else(|| SchemaError::Avro("a fixed type has no size".to_owned()))?;
                self.define(json, namespace, Node::Fixed(size))
            }
            Some("array") => {
                let item = self.read(member(json, "items")?, namespace)?;
                Ok(self.nodes.push(Node::Array(item)))
            }
            Some("map") => {
                let item = self.read(member(json, "values")?, namespace)?;
                Ok(self.nodes.push(Node::Map(item)))
            }
            // Logical types stand on a plain one, and are read as that.
            _ => self.read(member(json, "type")?, namespace),
        }
    }

    fn read_record(&mut self, json: &Json, namespace: &str) -> Result<usize, SchemaError> {
        let name = named(json)?;
        let placeholder = Node::Record {
            name: name.to_owned(),
            fields: Vec::new(),
        };
        let id = self.define(json, namespace, placeholder)?;
        let full = full_name(name, text(json, "namespace").unwrap_or(namespace));
        let inner = full.rsplit_once('.').map_or("", |(inner, _)| inner);
        let mut fields = Vec::new();
        for field in list(json, "fields")? {
            fields.push(RecordField {
                name: named(field)?.to_owned(),
                node: self.read(member(field, "type")?, inner)?,
                doc: text(field, "doc").unwrap_or_default().to_owned(),
            });
        }
        self.nodes.0[id] = Node::Record {
            name: name.to_owned(),
            fields,
        };
        Ok(id)
    }

    fn define(&mut self, json: &Json, namespace: &str, node: Node) -> Result<usize, SchemaError> {
        let full = full_name(named(json)?, text(json, "namespace").unwrap_or(namespace));
        let id = self.nodes.push(node);
        if self.names.insert(full.clone(), id).is_some() {
            return Err(SchemaError::Avro(format!("type {full} is defined twice")));
        }
        Ok(id)
    }
}

fn full_name(name: &str, namespace: &str) -> String {
    if name.contains('.') || namespace.is_empty() {
        name.to_owned()
    } else {
        format!("{namespace}.{name}")
    }
}

fn text<'j>(json: &'j Json, key: &str) -> Option<&'j str> {
    json.get(key).and_then(Json::as_str)
}

fn named(json: &Json) -> Result<&str, SchemaError> {
    text(json, "name")
        .ok_or_else(|| SchemaError::Avro("a record, enum, fixed or field has no name".to_owned()))
}

fn member<'j>(json: &'j Json, key: &str) -> Result<&'j Json, SchemaError> {
    json.get(key)
        .ok_or_else(|| SchemaError::Avro(format!("a type has no {key}")))
}

fn list<'j>(json: &'j Json, key: &str) -> Result<&'j [Json], SchemaError> {
    let items = member(json, key)?.as_array();
    items
        .map(Vec::as_slice)
        .ok_or_else(|| SchemaError::Avro(format!("a type's {key} is not a list")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_in_their_namespace_and_may_refer_to_themselves() {
        let text = r#"{"type": "record", "name": "Chain", "namespace": "a.b", "fields": [
            {"name": "next", "type": ["null", "Chain"]},
            {"name": "stamp", "type": {"type": "long", "logicalType": "timestamp-millis"}}]}"#;
        let (nodes, root) = Nodes::parse(text).unwrap();
        let Node::Record { fields, .. } = nodes.get(root) else {
            panic!("not a record")
        };
        let Node::Union(branches) = nodes.get(fields[0].node) else {
            panic!("not a union")
        };
        assert_eq!(branches[1], root);
        assert!(matches!(nodes.get(fields[1].node), Node::Long));
    }

    #[test]
    fn anything_else_is_an_error() {
        let cases = [
            "",
            "{",
            "3",
            "\"Address\"",
            "{}",
            "[1]",
            r#"{"type": "record"}"#,
            r#"{"type": "record", "name": "A", "fields": 3}"#,
            r#"{"type": "record", "name": "A", "fields": [{"name": "x"}]}"#,
            r#"{"type": "fixed", "name": "A", "size": -1}"#,
            r#"[{"type": "fixed", "name": "A", "size": 1}, {"type": "fixed", "name": "A", "size": 1}]"#,
        ];
        for text in cases {
            assert!(Nodes::parse(text).is_err(), "{text}");
        }
        assert!(Nodes::parse(&"[".repeat(100_000)).is_err());
    }
}
