//! Binds conditions: their fields to the catalogue, their literals to the kinds of the fields.

use std::sync::Arc;

use super::super::schema::FieldKind;
use super::super::value::{RecordId, Value};
use super::bind::{Binder, bind, malformed};
use super::filter::{Pattern, Set, Test};
use super::token::Literal;
use super::tree::{Condition, Path};
use super::{Op, QueryError, Route, dates};

impl Binder<'_> {
    pub fn test(&self, condition: &Condition) -> Result<Test, QueryError> {
        let each = |conditions: &[Condition]| -> Result<Vec<Test>, QueryError> {
            conditions.iter().map(|condition| self.test(condition)).collect()
        };
        Ok(match condition {
            Condition::All(conditions) => Test::All(each(conditions)?),
            Condition::Any(conditions) => Test::Any(each(conditions)?),
            Condition::Not(condition) => Test::Not(Box::new(self.test(condition)?)),
            Condition::Compare(path, op, literal) => self.compare(path, *op, literal)?,
            Condition::In {
                path,
                negated,
                literals,
            } => {
                let (route, _) = self.filterable(path)?;
                let mut set = Set::default();
                for literal in literals {
                    set.insert(self.value(path, route.kind, literal)?);
                }
                Test::OneOf {
                    route,
                    negated: *negated,
                    set,
                }
            }
            Condition::InQuery { path, negated, query } => {
                let (route, _) = self.filterable(path)?;
                let query = bind(self.catalog, self.text, self.now, query, self.deleted_too)?;
                if query.columns().len() != 1 {
                    return Err(malformed("a semi-join sub-select takes exactly one field"));
                }
                Test::OneOfQuery {
                    route,
                    negated: *negated,
                    query: Arc::new(query),
                }
            }
            Condition::Includes {
                path,
                negated,
                literals,
            } => {
                let (route, _) = self.filterable(path)?;
                let lists = literals.iter().map(|literal| match literal {
                    Literal::Text(text) => Ok(text.split(';').map(str::to_owned).collect()),
                    _ => {
                        Err(self.wrong_value(path, "must be of type string and should be enclosed in quotes"))
                    }
                });
                Test::Includes {
                    route,
                    negated: *negated,
                    lists: lists.collect::<Result<_, _>>()?,
                }
            }
        })
    }

    fn filterable(&self, path: &Path) -> Result<(Route, String), QueryError> {
        let found = self.find(path)?;
        let can_filter = !matches!(
            found.route.kind,
            FieldKind::LongText | FieldKind::Address | FieldKind::Location
        );
        if can_filter {
            return Ok((found.route, found.name));
        }
        let message = format!(
            "{}field '{}' can not be filtered in a query call",
            self.place(path.last().map_or("", String::as_str)),
            found.name
        );
        Err(QueryError {
            code: "INVALID_FIELD",
            message,
        })
    }

    fn compare(&self, path: &Path, op: Op, literal: &Literal) -> Result<Test, QueryError> {
        let (route, _) = self.filterable(path)?;
        if let Literal::DateName(name) = literal {
            if !matches!(route.kind, FieldKind::Date | FieldKind::DateTime) {
                return Err(self.wrong_value(path, "must not be a date"));
            }
            let (from, to) = dates::range(name, self.now).unwrap_or_default();
            return Ok(Test::Span { route, op, from, to });
        }
        if op == Op::Like {
            return match literal {
                Literal::Text(text) if route.kind.is_text() => Ok(Test::Like {
                    route,
                    pattern: Pattern::new(text),
                }),
                _ => Err(QueryError {
                    code: "INVALID_QUERY_FILTER_OPERATOR",
                    message: "invalid operator on id field".to_owned(),
                }),
            };
        }
        match (self.value(path, route.kind, literal)?, op) {
            (Some(value), _) => Ok(Test::Compare { route, op, value }),
            (None, Op::Equal) => Ok(Test::IsNull(route)),
            (None, Op::NotEqual) => Ok(Test::Not(Box::new(Test::IsNull(route)))),
            (None, _) => Err(self.wrong_value(path, "cannot be compared with null by this operator")),
        }
    }

    /// A literal as a value of the field's kind; an empty text is null.
    pub fn value(
        &self,
        path: &Path,
        kind: FieldKind,
        literal: &Literal,
    ) -> Result<Option<Value>, QueryError> {
        let numeric = matches!(
            kind,
            FieldKind::Integer | FieldKind::Double | FieldKind::Currency | FieldKind::Percent
        );
        Ok(Some(match (literal, kind) {
            (Literal::Null, _) => return Ok(None),
            (Literal::Text(text), FieldKind::Id | FieldKind::Reference) => {
                if text.is_empty() {
                    return Ok(None);
                }
                let id = RecordId::parse(text).ok_or_else(|| QueryError {
                    code: "INVALID_QUERY_FILTER_OPERATOR",
                    message: format!("{}invalid ID field: {text}", self.place(&format!("'{text}'"))),
                });
                Value::Id(id?)
            }
            (Literal::Text(text), kind) if kind.is_text() || kind == FieldKind::PersonName => {
                if text.is_empty() {
                    return Ok(None);
                }
                Value::text(text.replace("\\%", "%").replace("\\_", "_"))
            }
            (Literal::Boolean(flag), FieldKind::Boolean) => Value::Boolean(*flag),
            (Literal::Number(number), _) if numeric => Value::Double(*number),
            (Literal::Date(millis), FieldKind::Date) => Value::Date(*millis),
            (Literal::DateTime(millis), FieldKind::DateTime) => Value::DateTime(*millis),
            (_, kind) => {
                let wanted = match kind {
                    FieldKind::Boolean => "must be of type boolean and should not be enclosed in quotes",
                    FieldKind::Date => "must be of type date and should not be enclosed in quotes",
                    FieldKind::DateTime => "must be of type dateTime and should not be enclosed in quotes",
                    _ if numeric => "must be a number and should not be enclosed in quotes",
                    _ => "must be of type string and should be enclosed in quotes",
                };
                return Err(self.wrong_value(path, wanted));
            }
        }))
    }

    fn wrong_value(&self, path: &Path, wanted: &str) -> QueryError {
        let name = path.last().map_or("", String::as_str);
        let message = format!(
            "{}value of filter criterion for field '{name}' {wanted}",
            self.place(name)
        );
        QueryError {
            code: "INVALID_FIELD",
            message,
        }
    }
}
