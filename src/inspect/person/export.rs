//! What the files hold of a person, written out: one JSON object a line, first who it is, then place by place.

use std::fs::Permissions;
use std::io::{BufWriter, ErrorKind, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde_json::{Value as Json, json};
use tempfile::NamedTempFile;

use crate::inspect::Misused;
use crate::inspect::person::look::Finding;
use crate::inspect::person::others::Others;
use crate::inspect::person::wanted::Wanted;

/// Where an export goes.
pub enum Target {
    Standard,
    /// A file beside the one that is named, which it becomes when all is in it; one that is not finished is removed.
    File {
        made: NamedTempFile,
        to: PathBuf,
    },
}

/// An export that is being written.
pub struct Export<'w> {
    out: BufWriter<Box<dyn Write>>,
    file: Option<(NamedTempFile, PathBuf)>,
    others: Others<'w>,
    wanted: &'w Wanted,
    places: u64,
}

impl Target {
    /// A file that is there already is left as it is.
    pub fn new(to: &Path) -> anyhow::Result<Self> {
        if to.as_os_str() == "-" {
            return Ok(Self::Standard);
        }
        if to.symlink_metadata().is_ok() {
            return Err(is_there(to).into());
        }
        let dir = to.parent().filter(|dir| !dir.as_os_str().is_empty());
        let name = to.file_name().unwrap_or_default().to_string_lossy();
        let made = tempfile::Builder::new()
            .prefix(&format!(".{name}."))
            .permissions(Permissions::from_mode(0o600))
            .tempfile_in(dir.unwrap_or(Path::new(".")))
            .map_err(|error| Misused(format!("{} cannot be written ({error})", to.display())))?;
        let to = to.to_owned();
        Ok(Self::File { made, to })
    }
}

fn is_there(to: &Path) -> Misused {
    Misused(format!("{} is there already: name another file", to.display()))
}

impl<'w> Export<'w> {
    pub fn begin(
        target: Target,
        person: &Json,
        others: Others<'w>,
        wanted: &'w Wanted,
    ) -> anyhow::Result<Self> {
        let (out, file): (Box<dyn Write>, _) = match target {
            Target::Standard => (Box::new(std::io::stdout()), None),
            Target::File { made, to } => {
                let out = made.as_file().try_clone().context("write the export")?;
                (Box::new(out), Some((made, to)))
            }
        };
        let mut export = Self {
            out: BufWriter::new(out),
            file,
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
        if let Some((made, to)) = self.file {
            made.as_file().sync_all().context("write the export")?;
            made.persist_noclobber(&to).map_err(|error| match error.error {
                error if error.kind() == ErrorKind::AlreadyExists => anyhow::Error::from(is_there(&to)),
                error => anyhow::Error::from(error).context("write the export"),
            })?;
        }
        Ok(places)
    }

    fn line(&mut self, line: &Json) -> anyhow::Result<()> {
        serde_json::to_writer(&mut self.out, line).context("write the export")?;
        self.out.write_all(b"\n").context("write the export")
    }
}
