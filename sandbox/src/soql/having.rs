//! Binds what a grouping query selects, demands of its groups (HAVING) and sorts them by.

use super::super::schema::FieldKind;
use super::super::value::Value;
use super::bind::{Binder, malformed, same_path};
use super::filter::{Pattern, Set};
use super::group::{GroupOrder, GroupTest, Grouping, Measure};
use super::token::Literal;
use super::tree::{Condition, Function, Path, Select, split_call};
use super::{Op, Output, QueryError};

impl Binder<'_> {
    pub fn aggregates(&self) -> Result<Output, QueryError> {
        let statement = self.statement;
        if let [Select::Aggregate { path: None, .. }] = statement.select.as_slice() {
            return Ok(Output::Count);
        }
        let keys = statement.group.iter().map(|path| Ok(self.find(path)?.route));
        let keys = keys.collect::<Result<Vec<_>, QueryError>>()?;
        let mut unnamed = 0;
        let mut next_name = |alias: &Option<String>| {
            alias.clone().unwrap_or_else(|| {
                unnamed += 1;
                format!("expr{}", unnamed - 1)
            })
        };
        let mut measures = Vec::new();
        for item in &statement.select {
            measures.push(match item {
                Select::Field { path, alias } => {
                    let found = self.find(path)?;
                    let name = found.name.rsplit('.').next().unwrap_or_default().to_owned();
                    (alias.clone().unwrap_or(name), self.key_measure(path)?)
                }
                Select::Aggregate {
                    function,
                    path: Some(path),
                    alias,
                } => (next_name(alias), self.aggregate_measure(*function, path)?),
                _ => return Err(malformed("COUNT() must be the only element in the SELECT list")),
            });
        }
        let having = statement.having.as_ref();
        let having = having.map(|condition| self.group_test(condition)).transpose()?;
        let order = statement.order.iter().map(|order| {
            Ok(GroupOrder {
                measure: self.measure(&order.path)?,
                descending: order.descending,
                nulls_last: order.nulls_last,
            })
        });
        Ok(Output::Groups(Grouping {
            keys,
            measures,
            having,
            order: order.collect::<Result<_, QueryError>>()?,
            limit: statement.limit,
            offset: statement.offset,
        }))
    }

    fn key_measure(&self, path: &Path) -> Result<Measure, QueryError> {
        let found = self.find(path)?;
        let grouped = self
            .statement
            .group
            .iter()
            .any(|grouped| same_path(grouped, path));
        if grouped {
            Ok(Measure::Key(found.route))
        } else {
            Err(malformed(&format!(
                "Field must be grouped or aggregated: {}",
                found.name
            )))
        }
    }

    fn aggregate_measure(&self, function: Function, path: &Path) -> Result<Measure, QueryError> {
        let found = self.find(path)?;
        let numeric = matches!(
            found.route.kind,
            FieldKind::Integer | FieldKind::Double | FieldKind::Currency | FieldKind::Percent
        );
        if matches!(function, Function::Sum | Function::Avg) && !numeric {
            let message = format!("field {} does not support aggregate operator", found.name);
            return Err(malformed(&message));
        }
        Ok(Measure::Aggregate(function, found.route))
    }

    /// A grouped field, or an aggregate written as a call.
    fn measure(&self, path: &Path) -> Result<Measure, QueryError> {
        match split_call(path) {
            Some((function, inner)) => self.aggregate_measure(function, &inner),
            None => self.key_measure(path),
        }
    }

    fn group_test(&self, condition: &Condition) -> Result<GroupTest, QueryError> {
        let each = |conditions: &[Condition]| -> Result<Vec<GroupTest>, QueryError> {
            conditions
                .iter()
                .map(|condition| self.group_test(condition))
                .collect()
        };
        Ok(match condition {
            Condition::All(conditions) => GroupTest::All(each(conditions)?),
            Condition::Any(conditions) => GroupTest::Any(each(conditions)?),
            Condition::Not(condition) => GroupTest::Not(Box::new(self.group_test(condition)?)),
            Condition::Compare(path, Op::Like, Literal::Text(text)) => {
                GroupTest::Like(self.measure(path)?, Pattern::new(text))
            }
            Condition::Compare(path, op, literal) => {
                let measure = self.measure(path)?;
                let value = self.group_value(path, &measure, literal)?;
                GroupTest::Compare(measure, *op, value)
            }
            Condition::In {
                path,
                negated,
                literals,
            } => {
                let measure = self.measure(path)?;
                let mut set = Set::default();
                for literal in literals {
                    set.insert(self.group_value(path, &measure, literal)?);
                }
                GroupTest::OneOf(measure, *negated, set)
            }
            Condition::InQuery { .. } | Condition::Includes { .. } => {
                return Err(malformed("HAVING compares groups with values only"));
            }
        })
    }

    /// What is counted, summed or averaged is a number; the least and the greatest are of the field's kind.
    fn group_value(
        &self,
        path: &Path,
        measure: &Measure,
        literal: &Literal,
    ) -> Result<Option<Value>, QueryError> {
        let kind = match measure {
            Measure::Key(route) | Measure::Aggregate(Function::Min | Function::Max, route) => route.kind,
            Measure::Aggregate(..) => FieldKind::Double,
        };
        self.value(path, kind, literal)
    }
}
