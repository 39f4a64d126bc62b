//! What the org hands to its journal, and how it takes it back.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use anyhow::{Result, anyhow};

use super::super::persist::{Frame, Journal, Note, Origin, RowFrame, Rows};
use super::super::schema::Catalog;
use super::records::{Record, Shared};
use super::transaction::Finished;
use super::{Org, Records};

/// Rows of one frame of a log that is written anew.
const ROWS_OF_FRAME: usize = 1_000;

impl Org {
    /// Does again what a frame of the journal tells.
    pub fn take_back(&self, journal: &Journal, frame: Frame) -> Result<()> {
        journal.note(&frame);
        match frame {
            Frame::Note(Note::Origin(_)) => return Err(anyhow!("the log begins twice")),
            Frame::Commit { number, rows, events } => {
                let mut records = self
                    .inside
                    .records
                    .write()
                    .unwrap_or_else(PoisonError::into_inner);
                rows.into_iter()
                    .for_each(|row| put_back(self.catalog(), &mut records, row));
                self.inside.commit_number.fetch_max(number, Ordering::Relaxed);
                events
                    .into_iter()
                    .for_each(|event| self.inside.bus.restore(event));
            }
            Frame::Note(Note::Settings(settings)) => {
                self.adopt(*settings).map_err(|sentence| anyhow!(sentence))?
            }
            Frame::Note(Note::Schema(change)) => self
                .reshape_alone(&change)
                .map_err(|sentence| anyhow!(sentence))
                .map(drop)?,
            Frame::Note(Note::Clock(millis)) => {
                let clock = &self.inside.clock;
                clock.advance(millis - clock.moved());
            }
            Frame::Note(Note::LogBegun { floor, tip }) => self.inside.bus.restart(floor, tip),
        }
        Ok(())
    }

    /// Has everything from now on written to the journal.
    pub fn keep(&self, journal: Journal, origin: Origin) -> Result<()> {
        let journal = Arc::new(journal);
        let (floor, tip, _) = self.inside.bus.hold().all();
        if journal.is_empty() {
            journal.append(&Note::Origin(origin.clone()));
            journal.append(&Note::LogBegun {
                floor: floor.counter(),
                tip: tip.counter(),
            });
        }
        // Ids that were drawn before the restart must not be drawn again.
        let mut rng = self.inside.rng.lock().unwrap_or_else(PoisonError::into_inner);
        let commits = self.inside.commit_number.fetch_add(1_000, Ordering::Relaxed);
        *rng = fastrand::Rng::with_seed(rng.u64(..) ^ tip.counter() ^ commits.cast_unsigned());
        drop(rng);
        self.inside.bus.expire();
        drop(self.inside.origin.set(origin));
        self.inside.bus.keep(Arc::clone(&journal));
        self.inside
            .journal
            .set(journal)
            .map_err(|_| anyhow!("the org has a journal already"))
    }

    /// Ends when the journal cannot be written; never where there is none.
    pub async fn until_broken(&self) {
        match self.inside.journal.get() {
            Some(journal) => journal.broken().cancelled().await,
            None => std::future::pending().await,
        }
    }

    /// Whether the journal could not be written: then nothing may be answered any more.
    pub fn is_broken(&self) -> bool {
        let journal = self.inside.journal.get();
        journal.is_some_and(|journal| journal.broken().is_cancelled())
    }

    pub(super) fn note(&self, note: &Note) {
        if let Some(journal) = self.inside.journal.get() {
            journal.append(note);
        }
    }

    /// The rows of a transaction for the journal; none where there is no journal.
    pub(super) fn rows_to_keep(&self, records: &Records, finished: &Finished, number: i64) -> Option<Rows> {
        self.inside.journal.get()?;
        let mut rows = Rows::new(number);
        let mut touched: Vec<_> = finished.touched.iter().map(|row| (row.object, row.id)).collect();
        touched.sort_unstable();
        touched.dedup();
        for (object, id) in touched {
            let unset = &self.catalog().objects()[object].unset;
            rows.add(object, id, records.get(object, id), unset);
        }
        Some(rows)
    }

    /// Writes the journal anew where that is due. The caller holds the rows' write lock.
    pub(super) fn tidy_up(&self, records: &Records) {
        if let Some(journal) = self.inside.journal.get().filter(|journal| journal.is_due()) {
            self.rewrite(journal, records);
        }
    }

    fn rewrite(&self, journal: &Journal, records: &Records) {
        let Some(origin) = self.inside.origin.get() else {
            return;
        };
        // Locks are taken as they are by whoever appends: settings, event log, journal.
        let settings = self
            .inside
            .settings
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        let bus = self.inside.bus.hold();
        journal.rewrite(|schema, touched, draft| {
            draft.put(&Note::Origin(origin.clone()));
            for change in schema {
                draft.put(&Note::Schema(change.clone()));
            }
            draft.put(&Note::Settings(Box::new(settings.as_ref().clone())));
            draft.put(&Note::Clock(self.inside.clock.moved()));
            let number = self.inside.commit_number.load(Ordering::Relaxed);
            let mut rows = Rows::new(number);
            for (object, id) in touched {
                let unset = &self.catalog().objects()[*object].unset;
                rows.add(*object, *id, records.get(*object, *id), unset);
                if rows.touched.len() == ROWS_OF_FRAME {
                    let full = std::mem::replace(&mut rows, Rows::new(number));
                    draft.put_bytes(&full.finish([].iter()));
                }
            }
            draft.put_bytes(&rows.finish([].iter()));
            let (floor, tip, events) = bus.all();
            draft.put(&Note::LogBegun {
                floor: floor.counter(),
                tip: if events.is_empty() { tip } else { floor }.counter(),
            });
            for some in events.chunks(ROWS_OF_FRAME) {
                draft.put_bytes(&Rows::new(number).finish(some.iter()));
            }
        });
    }
}

fn put_back(catalog: &Catalog, records: &mut Records, RowFrame { object, id, row }: RowFrame) {
    let Some(described) = catalog.objects().get(object) else {
        return;
    };
    let Some(row) = row else {
        records.withdraw(object, id);
        return records.hold(object, id);
    };
    let shared = Shared {
        values: Arc::clone(&described.unset),
        ..row.shared
    };
    let mut record = Record::new(id, Arc::new(shared), row.values);
    record.deleted = row.deleted;
    records.put(object, record);
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::Path;

    use serde_json::json;

    use super::super::super::bus::Topic;
    use super::super::super::persist;
    use super::super::super::schema::change::FieldChange;
    use super::super::{DEFAULT_ENTITIES, OrgOptions, Origin as By, RecordErrors, Transaction};
    use super::*;
    use crate::clock::Clock;

    fn open(dir: &Path) -> Org {
        let options = OrgOptions {
            seed: 3,
            products: 10,
            stores: 1,
            clock: Clock::Shifted(Arc::default()),
            selected_entities: DEFAULT_ENTITIES.map(str::to_owned).to_vec(),
        };
        persist::open(options, dir).unwrap()
    }

    fn write<T>(org: &Org, work: impl FnOnce(&mut Transaction<'_>) -> Result<T, RecordErrors>) -> T {
        let by = By {
            client: "tests".to_owned(),
            user: org.user_id(),
        };
        org.transact(&by, work).unwrap()
    }

    /// Every row, and every event with its place.
    fn dump(org: &Org) -> (BTreeMap<String, String>, Vec<String>) {
        let mut rows = BTreeMap::new();
        org.read(|records| {
            for object in org.catalog().objects() {
                for record in records.all(object.index) {
                    let values: Vec<_> = (0..object.fields.len()).map(|at| record.get(at)).collect();
                    rows.insert(record.id().to_string(), format!("{values:?}"));
                }
            }
        });
        let (floor, tip, events) = org.bus().hold().all();
        let mut told: Vec<String> = events.iter().map(|event| format!("{event:?}")).collect();
        told.push(format!("{floor:?} {tip:?}"));
        (rows, told)
    }

    #[test]
    fn an_org_comes_back_from_its_log_and_from_one_written_anew() {
        let dir = tempfile::tempdir().unwrap();
        let org = open(dir.path());
        let tier = FieldChange::Add {
            object: "Product2".to_owned(),
            name: "Vip__c".to_owned(),
            label: None,
            kind: "Boolean".to_owned(),
            words: String::new(),
            picklist: Vec::new(),
            before: Some("ProductCode".to_owned()),
        };
        org.change_schema(&tier).unwrap();
        let product = org.catalog().object("Product2").unwrap().index;
        let seeded = org.read(|records| records.all(product).next().unwrap().id());
        let fields = |json: serde_json::Value| json.as_object().unwrap().clone();
        let gone = write(&org, |tx| {
            tx.update(product, seeded, &fields(json!({"Vip__c": true, "Name": "Ana's"})))?;
            tx.create(product, &fields(json!({"Name": "one"})))?;
            tx.create(product, &fields(json!({"Name": "two"})))
        });
        write(&org, |tx| tx.hard_delete(product, gone));
        org.set(|settings| settings.merge = false);
        let before = dump(&org);
        assert_eq!(before.1.len(), 5);
        let path = dir.path().join("org/org.log");
        drop(org);

        let org = open(dir.path());
        assert_eq!(dump(&org), before);
        for at in 0..50 {
            write(&org, |tx| {
                tx.update(product, seeded, &fields(json!({"Name": format!("N{at}")})))
            });
        }
        let (long, before) = (std::fs::metadata(&path).unwrap().len(), dump(&org));
        let journal = Arc::clone(org.inside.journal.get().unwrap());
        org.read(|records| org.rewrite(&journal, records));
        assert!(std::fs::metadata(&path).unwrap().len() < long);
        write(&org, |tx| {
            tx.update(product, seeded, &fields(json!({"Name": "last"})))
        });
        let after = dump(&org);
        assert_ne!(after, before);
        drop((org, journal));

        let org = open(dir.path());
        assert_eq!(dump(&org), after);
        assert!(!org.settings().merge);
        let next = write(&org, |tx| tx.create(product, &fields(json!({"Name": "three"}))));
        assert!(next > gone);
        let ids: std::collections::BTreeSet<_> = org
            .bus()
            .after(Topic::All, org.bus().oldest(), 1000, usize::MAX)
            .0
            .iter()
            .map(|event| event.id.clone())
            .collect();
        assert_eq!(ids.len(), after.1.len(), "no event's id is drawn twice");
    }
}
