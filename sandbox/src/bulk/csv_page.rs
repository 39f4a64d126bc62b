//! A page of CSV as bulk jobs write it: every cell quoted, null an empty cell.
//!
//! Doubles are written as Java prints them, so large and tiny ones come in scientific notation.

use serde::Deserialize;

use crate::clock::{format_date, format_datetime, format_time};
use crate::value::Value;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Delimiter {
    Backquote,
    Caret,
    #[default]
    Comma,
    Pipe,
    Semicolon,
    Tab,
}

impl Delimiter {
    pub fn byte(self) -> u8 {
        match self {
            Self::Backquote => b'`',
            Self::Caret => b'^',
            Self::Comma => b',',
            Self::Pipe => b'|',
            Self::Semicolon => b';',
            Self::Tab => b'\t',
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Backquote => "BACKQUOTE",
            Self::Caret => "CARET",
            Self::Comma => "COMMA",
            Self::Pipe => "PIPE",
            Self::Semicolon => "SEMICOLON",
            Self::Tab => "TAB",
        }
    }
}

/// A page being written.
pub struct Page {
    bytes: Vec<u8>,
    delimiter: u8,
    crlf: bool,
    at_start: bool,
}

impl Page {
    pub fn new(delimiter: Delimiter, crlf: bool, header: &[&str]) -> Self {
        let mut page = Self {
            bytes: Vec::new(),
            delimiter: delimiter.byte(),
            crlf,
            at_start: true,
        };
        for name in header {
            page.text(name);
        }
        page.end_row();
        page
    }

    pub fn cell(&mut self, value: Option<&Value>) {
        match value {
            None => self.text(""),
            Some(Value::Text(text)) => self.text(text),
            Some(Value::Id(id)) => self.text(id.as_str()),
            Some(Value::Boolean(flag)) => self.text(if *flag { "true" } else { "false" }),
            Some(Value::Integer(number)) => self.text(&number.to_string()),
            Some(Value::Double(number)) => self.text(&java_double(*number)),
            Some(Value::Date(millis)) => self.text(&format_date(*millis)),
            Some(Value::DateTime(millis)) => self.text(&format_datetime(*millis)),
            Some(Value::Time(millis)) => self.text(&format_time(*millis)),
        }
    }

    pub fn text(&mut self, text: &str) {
        if !self.at_start {
            self.bytes.push(self.delimiter);
        }
        self.at_start = false;
        self.bytes.push(b'"');
        for (at, part) in text.split('"').enumerate() {
            if at > 0 {
                self.bytes.extend_from_slice(b"\"\"");
            }
            self.bytes.extend_from_slice(part.as_bytes());
        }
        self.bytes.push(b'"');
    }

    pub fn end_row(&mut self) {
        self.bytes
            .extend_from_slice(if self.crlf { b"\r\n" } else { b"\n" });
        self.at_start = true;
    }

    pub fn bytes(self) -> Vec<u8> {
        self.bytes
    }
}

/// `Double.toString`: plain from a thousandth up to ten million, scientific outside.
fn java_double(number: f64) -> String {
    if number == 0.0 || (1e-3..1e7).contains(&number.abs()) {
        return format!("{number:?}");
    }
    let text = format!("{number:E}");
    match text.split_once('E') {
        Some((mantissa, exponent)) if !mantissa.contains('.') => format!("{mantissa}.0E{exponent}"),
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_numbers_as_java_does() {
        for (number, text) in [
            (19.9, "19.9"),
            (400.0, "400.0"),
            (0.0, "0.0"),
            (-0.5, "-0.5"),
            (912_260_031.0, "9.12260031E8"),
            (10_000_000.0, "1.0E7"),
            (0.0001, "1.0E-4"),
            (9_999_999.5, "9999999.5"),
        ] {
            assert_eq!(java_double(number), text);
        }
    }

    #[test]
    fn quotes_every_cell() {
        let mut page = Page::new(Delimiter::Comma, false, &["Id", "Name"]);
        page.cell(None);
        page.cell(Some(&Value::text("say \"hi\",\nbye")));
        page.end_row();
        assert_eq!(
            String::from_utf8(page.bytes()).unwrap(),
            "\"Id\",\"Name\"\n\"\",\"say \"\"hi\"\",\nbye\"\n"
        );
    }
}
