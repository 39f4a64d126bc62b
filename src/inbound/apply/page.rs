//! A page of CSV, row by row.

use csv::{Reader, StringRecord};

use crate::inbound::apply::cells;
use crate::inbound::apply::queue::Written;
use crate::inbound::mapping::stamp_field;
use crate::model::clock::Millis;
use crate::model::row::Value;
use crate::store::cache::Batch;
use crate::store::cache::loads::Load;
use crate::store::cache::rows::{Inserter, Mirror, Whole};

/// Where the columns of a table are in a page.
pub(super) struct Columns {
    id: usize,
    stamp: Option<usize>,
    fields: Vec<Option<usize>>,
}

impl Columns {
    pub fn find(header: &StringRecord, mirror: &Mirror) -> Option<Self> {
        let place = |name: &str| header.iter().position(|title| title.eq_ignore_ascii_case(name));
        let fields = mirror
            .table
            .columns
            .iter()
            .map(|column| place(&column.field))
            .collect();
        Some(Self {
            id: place("Id")?,
            stamp: stamp_field(&mirror.table).and_then(place),
            fields,
        })
    }

    fn id<'r>(&self, record: &'r StringRecord) -> Option<&'r str> {
        record.get(self.id).filter(|id| !id.is_empty())
    }

    /// The row's columns, and its stamp.
    fn values<'r>(
        &self,
        mirror: &Mirror,
        record: &'r StringRecord,
    ) -> (impl Iterator<Item = Value<'r>>, Millis) {
        let text = |place: Option<usize>| place.and_then(|place| record.get(place)).unwrap_or("");
        let stamp = cells::stamp(text(self.stamp)).unwrap_or(0);
        let columns = mirror.table.columns.iter().zip(&self.fields);
        let values = columns.map(move |(column, place)| cells::from_text(column.kind, text(*place)));
        (values, stamp)
    }

    /// Adds the row to a table that was empty; `false` where the stream has brought it meanwhile.
    pub fn insert(
        &self,
        inserter: &mut Inserter<'_>,
        mirror: &Mirror,
        id: &str,
        record: &StringRecord,
    ) -> rusqlite::Result<bool> {
        let (values, stamp) = self.values(mirror, record);
        inserter.insert(id, values.enumerate(), stamp, stamp)
    }

    pub fn write(
        &self,
        batch: &mut Batch<'_>,
        mirror: &mut Mirror,
        load: &Load,
        id: &str,
        record: &StringRecord,
    ) -> rusqlite::Result<Whole> {
        let (values, stamp) = self.values(mirror, record);
        let values: Vec<Value<'_>> = values.collect();
        batch.write_whole(mirror, id, &values, stamp, load.start_rev)
    }
}

/// Goes through the rows of a page, in one record that is reused. Gives their number, or why it ends early. Rows that
/// cannot be read are named by their ids.
pub(super) fn each_row(
    (csv, reader): (&[u8], &mut Reader<&[u8]>),
    columns: &Columns,
    object: &str,
    broken: &mut Vec<String>,
    mut take: impl FnMut(&str, &StringRecord) -> rusqlite::Result<()>,
) -> rusqlite::Result<Written> {
    let mut record = StringRecord::new();
    let mut rows = 0;
    loop {
        match reader.read_record(&mut record) {
            Ok(true) => {}
            Ok(false) => return Ok(Ok(rows)),
            Err(error) => match broken_id(csv, columns, &error) {
                Some(id) => {
                    broken.push(id);
                    rows += 1;
                    continue;
                }
                None => return Ok(Err(format!("a page of {object} cannot be read: {error}"))),
            },
        }
        let Some(id) = columns.id(&record) else {
            return Ok(Err(format!("a page of {object} has a row without an id")));
        };
        take(id, &record)?;
        rows += 1;
    }
}

/// The id of a row that has a text which is no UTF-8.
fn broken_id(csv: &[u8], columns: &Columns, error: &csv::Error) -> Option<String> {
    let csv::ErrorKind::Utf8 { pos: Some(at), .. } = error.kind() else {
        return None;
    };
    let rest = csv.get(usize::try_from(at.byte()).ok()?..)?;
    let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(rest);
    let mut record = csv::ByteRecord::new();
    reader.read_byte_record(&mut record).ok()?;
    let id = std::str::from_utf8(record.get(columns.id)?).ok()?;
    (!id.is_empty()).then(|| id.to_owned())
}
