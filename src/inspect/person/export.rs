//! What the files hold of a person, written out: one JSON object a line, first who it is, then place by place.

use std::fs::OpenOptions;
use std::io::{BufWriter, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::Context as _;
use serde_json::{Value as Json, json};

use crate::inspect::Misused;
use crate::inspect::person::look::Finding;
use crate::inspect::person::others::Others;
use crate::inspect::person::wanted::Wanted;

/// A file that is being written.
pub struct Export<'w> {
    out: Box<dyn Write>,
    others: Others<'w>,
    wanted: &'w Wanted,
    places: u64,
}

/// Opens where an export goes; a file that is there already is left as it is.
pub fn open(to: &Path) -> anyhow::Result<Box<dyn Write>> {
    if to.as_os_str() == "-" {
        return Ok(Box::new(BufWriter::new(std::io::stdout())));
    }
    let made = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(to);
    match made {
        Ok(file) => Ok(Box::new(BufWriter::new(file))),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            Err(Misused(format!("{} is there already: name another file", to.display())).into())
        }
        Err(error) => Err(Misused(format!("{} cannot be written ({error})", to.display())).into()),
    }
}

impl<'w> Export<'w> {
    pub fn begin(
        out: Box<dyn Write>,
        person: &Json,
        others: Others<'w>,
        wanted: &'w Wanted,
    ) -> anyhow::Result<Self> {
        let mut export = Self {
            out,
            others,
            wanted,
            places: 0,
        };
        export.line(&json!({ "person": person }))?;
        Ok(export)
    }

    pub fn add(&mut self, finding: &Finding) -> anyhow::Result<()> {
        let linked = finding.hits.iter().map(|hit| {
            let token = &self.wanted.tokens[hit.token];
            json!({"column": hit.column, "what": token.what.name(), "token": token.text, "how": token.how})
        });
        let linked: Vec<Json> = linked.collect();
        let (place, values) = self.others.masked(finding)?;
        self.places += 1;
        self.line(&json!({
            "file": finding.file, "table": finding.table, "place": place, "linked": linked, "values": values,
        }))
    }

    /// The last line says how many there were: without it the export is not whole.
    pub fn end(mut self) -> anyhow::Result<u64> {
        let places = self.places;
        self.line(&json!({ "places": places }))?;
        self.out.flush().context("write the export")?;
        Ok(places)
    }

    fn line(&mut self, line: &Json) -> anyhow::Result<()> {
        serde_json::to_writer(&mut self.out, line).context("write the export")?;
        self.out.write_all(b"\n").context("write the export")
    }
}
