//! What formulas show and roll-ups add up: from the names in the catalogue to positions.
//!
//! A formula here is another field, of the row itself or of a row it points at. It is looked up when it is read, so
//! it follows what it shows at once, and nobody is told when it changes. A roll-up is stored with its row, and
//! carried on with each child that is written.

use anyhow::{Context, Result, bail};

use super::{Catalog, FieldKind, Object, RollUp};
use crate::org::{Record, Records};
use crate::value::Value;

impl Catalog {
    /// Finds the positions of every source.
    pub(super) fn resolve(&mut self) -> Result<()> {
        let mut paths = Vec::new();
        let mut roll_ups = Vec::new();
        for object in &self.objects {
            for (at, field) in object.visible() {
                let Some(source) = &field.source else { continue };
                let place = || format!("the source {source} of {}.{}", object.name, field.name);
                if field.roll_up {
                    let (child, lookup, amount) = self.summed(source).with_context(place)?;
                    roll_ups.push(RollUp {
                        parent: object.index,
                        field: at,
                        child,
                        lookup,
                        amount,
                    });
                } else {
                    paths.push((object.index, at, self.way(object, source).with_context(place)?));
                }
            }
        }
        for (object, at, path) in paths {
            self.objects[object].fields[at].path = path;
        }
        self.roll_ups = roll_ups;
        Ok(())
    }

    fn way(&self, object: &Object, source: &str) -> Result<Vec<usize>> {
        let (mut object, mut path) = (object, Vec::new());
        let mut names = source.split('.').peekable();
        while let Some(name) = names.next() {
            let at = object.field(name).with_context(|| format!("no field {name}"))?;
            path.push(at);
            let field = &object.fields[at];
            if names.peek().is_some() {
                if field.kind != FieldKind::Reference {
                    bail!("{name} is no lookup");
                }
                object = self
                    .target(field)
                    .with_context(|| format!("{name} points nowhere"))?;
            } else if field.source.is_some() && !field.roll_up {
                bail!("{name} is a formula itself");
            }
        }
        Ok(path)
    }

    fn summed(&self, source: &str) -> Result<(usize, usize, usize)> {
        let names: Vec<&str> = source.split('.').collect();
        let [child, lookup, amount] = names[..] else {
            bail!("a roll-up needs Child.Lookup.Field")
        };
        let child = self.object(child).with_context(|| format!("no object {child}"))?;
        let at = |name: &str| child.field(name).with_context(|| format!("no field {name}"));
        Ok((child.index, at(lookup)?, at(amount)?))
    }

    /// The value a row shows at a field: a formula's is that of the field it stands for.
    pub fn value<'a>(
        &self,
        records: &'a Records,
        object: &Object,
        record: &'a Record,
        field: usize,
    ) -> Option<&'a Value> {
        let path = &object.fields[field].path;
        let Some((last, lookups)) = path.split_last() else {
            return record.get(field);
        };
        let mut record = record;
        for lookup in lookups {
            let id = record.get(*lookup)?.as_id()?;
            record = records.get(self.by_prefix(id.prefix())?.index, id)?;
        }
        record.get(*last)
    }
}
