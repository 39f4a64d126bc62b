//! CSV cut into pieces that are whole rows, as its bytes arrive.
//!
//! A line end inside quotes is part of a value. Each piece begins with the header, so that it can be read by itself.

use bytes::Bytes;

/// Most bytes to give at once. There is so much room beside a piece's, and all buffers are alike: a load goes through
/// thousands of them, and those of a few sizes would leave holes of all sizes.
pub(super) const ARRIVAL_BYTES: usize = 16 << 10;

/// What has arrived and is not handed out yet.
#[derive(Debug)]
pub(super) struct Pieces {
    /// About how long a piece is. Its buffer is made for that, and not moved as it grows.
    bytes: usize,
    header: Option<Vec<u8>>,
    /// The header, and rows; the last of them may be cut.
    pending: Vec<u8>,
    /// How far it has been looked through, and whether that is inside quotes.
    looked_at: usize,
    quoted: bool,
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
            quoted: false,
            rows_end: 0,
        }
    }

    pub fn push(&mut self, bytes: &[u8]) {
        self.pending.extend_from_slice(bytes);
        for (at, byte) in (self.looked_at..).zip(&self.pending[self.looked_at..]) {
            match byte {
                // A doubled quote turns it twice, which is right.
                b'"' => self.quoted = !self.quoted,
                b'\n' if !self.quoted => {
                    self.rows_end = at + 1;
                    if self.header.is_none() {
                        self.header = Some(self.pending[..=at].to_vec());
                    }
                }
                _ => {}
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

    /// What is left when no more comes; `None` where that is no row. The last row may have no line end.
    pub fn finish(mut self) -> Option<Bytes> {
        let header = self.header.as_ref().map_or(0, Vec::len);
        self.rows_end = self.pending.len();
        (self.rows_end > header).then(|| std::mem::take(&mut self.pending).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CSV: &str = "\"Id\",\"Name\"\n\"1\",\"a \"\"b\"\"\nc\"\n\"2\",\"\"\n\"3\",\"x,\ny\"\n";

    /// Cut into arrivals of so many bytes, and handed out whenever there is a row.
    fn pieces(csv: &str, bytes: usize) -> Vec<String> {
        let (mut pieces, mut out) = (Pieces::of(0), Vec::new());
        for arrival in csv.as_bytes().chunks(bytes) {
            pieces.push(arrival);
            out.extend(pieces.take());
        }
        out.extend(pieces.finish());
        out.into_iter()
            .map(|piece| String::from_utf8(piece.to_vec()).unwrap())
            .collect()
    }

    #[test]
    fn every_piece_has_the_header_and_whole_rows_wherever_arrivals_are_cut() {
        let header = "\"Id\",\"Name\"\n";
        let rows = ["\"1\",\"a \"\"b\"\"\nc\"\n", "\"2\",\"\"\n", "\"3\",\"x,\ny\"\n"];
        for bytes in 1..=CSV.len() {
            let pieces = pieces(CSV, bytes);
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
        assert_eq!(pieces(CSV, 1).len(), 3);
    }

    #[test]
    fn a_result_without_rows_or_without_a_last_line_end_is_read_all_the_same() {
        assert!(pieces("", 1).is_empty());
        assert!(pieces("\"Id\"\n", 3).is_empty());
        assert_eq!(
            pieces("\"Id\"\n\"1\"\n\"2\"", 100),
            ["\"Id\"\n\"1\"\n", "\"Id\"\n\"2\""]
        );
    }
}
