//! CSV cut into pieces that are whole rows, as its bytes arrive.
//!
//! A line end inside quotes is part of a value. Each piece begins with the header, so that it can be read by itself.
//! A result ends with the end of a line, has the columns that were asked for, and as many rows as it announced: else it
//! was cut off on its way.

use bytes::Bytes;

/// Most bytes to give at once. There is so much room beside a piece's, and all buffers are alike: a load goes through
/// thousands of them, and those of a few sizes would leave holes of all sizes.
pub(super) const ARRIVAL_BYTES: usize = 16 << 10;

/// The lines of a result, counted as its bytes arrive.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Lines {
    ended: u64,
    quoted: bool,
    /// Bytes came behind the end of the last line.
    begun: bool,
}

impl Lines {
    pub fn push(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| {
            self.ends_at(*byte);
        });
    }

    /// Whether a line ends with this byte.
    fn ends_at(&mut self, byte: u8) -> bool {
        // A doubled quote turns it twice, which is right.
        self.quoted ^= byte == b'"';
        let ends = byte == b'\n' && !self.quoted;
        self.begun = !ends;
        self.ended += u64::from(ends);
        ends
    }

    /// Holds what came, and its header, against what was asked for and announced.
    pub fn end(self, header: &[String], columns: &[String], announced: u64) -> Result<(), String> {
        if self.quoted || self.begun || self.ended == 0 {
            return Err("it is cut off: its last line has no end".to_owned());
        }
        let has = |column: &&String| header.iter().any(|title| title.eq_ignore_ascii_case(column));
        if let Some(lacking) = columns.iter().find(|column| !has(column)) {
            return Err(format!("it has no column {lacking}"));
        }
        let came = self.ended - 1;
        if came != announced {
            return Err(format!("{came} of the {announced} rows that it announced came"));
        }
        Ok(())
    }
}

/// The titles of the columns.
pub(super) fn header_of(csv: &[u8]) -> Vec<String> {
    let line = csv.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let titles = line.split(|byte| *byte == b',').map(|title| {
        let title = String::from_utf8_lossy(title);
        title.trim().trim_matches('"').to_owned()
    });
    titles.collect()
}

/// What has arrived and is not handed out yet.
#[derive(Debug)]
pub(super) struct Pieces {
    /// About how long a piece is. Its buffer is made for that, and not moved as it grows.
    bytes: usize,
    header: Option<Vec<u8>>,
    /// The header, and rows; the last of them may be cut.
    pending: Vec<u8>,
    /// How far it has been looked through.
    looked_at: usize,
    lines: Lines,
    /// Where its last whole row ends.
    rows_end: usize,
}

impl Pieces {
    pub fn of(bytes: usize) -> Self {
        Self {
            bytes,
            header: None,
            pending: Vec::with_capacity(bytes + ARRIVAL_BYTES),
            looked_at: 0,
            lines: Lines::default(),
            rows_end: 0,
        }
    }

    pub fn push(&mut self, bytes: &[u8]) {
        self.pending.extend_from_slice(bytes);
        for (at, byte) in (self.looked_at..).zip(&self.pending[self.looked_at..]) {
            if self.lines.ends_at(*byte) {
                self.rows_end = at + 1;
                if self.header.is_none() {
                    self.header = Some(self.pending[..=at].to_vec());
                }
            }
        }
        self.looked_at = self.pending.len();
    }

    /// The whole rows so far, as soon as they are long enough.
    pub fn take(&mut self) -> Option<Bytes> {
        let header = self.header.as_ref()?;
        if self.pending.len() < self.bytes || self.rows_end <= header.len() {
            return None;
        }
        let cut = &self.pending[self.rows_end..];
        let mut rest = Vec::with_capacity((header.len() + cut.len()).max(self.bytes) + ARRIVAL_BYTES);
        rest.extend_from_slice(header);
        rest.extend_from_slice(cut);
        let mut piece = std::mem::replace(&mut self.pending, rest);
        piece.truncate(self.rows_end);
        self.rows_end = header.len();
        self.looked_at = self.pending.len();
        Some(piece.into())
    }

    /// What is left when no more comes; `None` where that is no row. An error where all that came is not what was asked
    /// for and announced.
    pub fn finish(mut self, columns: &[String], announced: u64) -> Result<Option<Bytes>, String> {
        let header = self.header.take().unwrap_or_default();
        self.lines.end(&header_of(&header), columns, announced)?;
        Ok((self.rows_end > header.len()).then(|| self.pending.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CSV: &str = "\"Id\",\"Name\"\n\"1\",\"a \"\"b\"\"\nc\"\n\"2\",\"\"\n\"3\",\"x,\ny\"\n";

    /// Cut into arrivals of so many bytes, and handed out whenever there is a row.
    fn pieces(csv: &str, rows: u64, bytes: usize) -> Vec<String> {
        let (mut pieces, mut out) = (Pieces::of(0), Vec::new());
        for arrival in csv.as_bytes().chunks(bytes) {
            pieces.push(arrival);
            out.extend(pieces.take());
        }
        out.extend(pieces.finish(&["Id".to_owned()], rows).unwrap());
        out.into_iter()
            .map(|piece| String::from_utf8(piece.to_vec()).unwrap())
            .collect()
    }

    #[test]
    fn every_piece_has_the_header_and_whole_rows_wherever_arrivals_are_cut() {
        let header = "\"Id\",\"Name\"\n";
        let rows = ["\"1\",\"a \"\"b\"\"\nc\"\n", "\"2\",\"\"\n", "\"3\",\"x,\ny\"\n"];
        for bytes in 1..=CSV.len() {
            let pieces = pieces(CSV, 3, bytes);
            let told: String = pieces
                .iter()
                .map(|piece| piece.strip_prefix(header).expect("a header"))
                .collect();
            assert_eq!(told, rows.concat(), "{bytes} bytes at a time");
            assert!(pieces.iter().all(|piece| {
                let rest = piece.strip_prefix(header).unwrap();
                !rest.is_empty() && rows.iter().any(|row| rest.ends_with(row))
            }));
        }
        assert_eq!(pieces(CSV, 3, 1).len(), 3);
    }

    #[test]
    fn a_result_is_what_was_asked_for_and_announced_or_an_error() {
        let finish = |csv: &str, rows| {
            let mut pieces = Pieces::of(1 << 10);
            pieces.push(csv.as_bytes());
            pieces.finish(&["Id".to_owned(), "Name".to_owned()], rows)
        };
        assert_eq!(finish(CSV, 3), Ok(Some(Bytes::from(CSV))));
        assert_eq!(finish("\"Id\",\"Name\"\n", 0), Ok(None));
        assert_eq!(finish("id,NAME\r\n", 0), Ok(None));
        for (csv, rows, word) in [
            (CSV, 4, "3 of the 4 rows"),
            (CSV, 2, "3 of the 2 rows"),
            ("", 0, "cut off"),
            ("\"Id\",\"Name\"", 0, "cut off"),
            ("\"Id\"\n", 0, "no column Name"),
            ("\"Id\",\"Name\"\n\"1\",\"a\"", 1, "cut off"),
            ("\"Id\",\"Name\"\n\"1\",\"a\n", 1, "cut off"),
            ("\"Id\",\"Name\"\n\"1\",\"say \"", 1, "cut off"),
        ] {
            let error = finish(csv, rows).unwrap_err();
            assert!(error.contains(word), "{csv}: {error}");
        }
        for cut in 1..CSV.len() {
            assert!(finish(&CSV[..cut], 3).is_err(), "{cut} bytes");
        }
    }
}
