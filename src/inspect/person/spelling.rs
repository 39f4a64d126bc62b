//! How a text can be spelt in bytes: each character in either case, and as it is or escaped, whatever its neighbours are.
//!
//! An escape of one character does not say how the next is written, so that no list of whole spellings would be complete.
//! The first few characters are looked for in all their forms at once; where those are, the rest is compared character by
//! character. So what it takes does not grow with the length of the text.
//!
//! Forms of a character: itself, composed or decomposed; in Latin-1; percent-encoded; as JSON escapes it, also within a
//! text that is escaped again; of a blank also the `+` of a form. UTF-16 has no escapes.

use std::collections::BTreeSet;

use icu_normalizer::{ComposingNormalizerBorrowed, DecomposingNormalizerBorrowed};

/// Most beginnings that are looked for of a text, and most characters of one.
const BEGINNINGS_MAX: usize = 300;
const BEGINNING_CHARS: usize = 4;

/// A way to write a character.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Form {
    bytes: Vec<u8>,
    /// As it stands in text.
    is_plain: bool,
}

/// A text in one encoding: for each character its forms, the longest first.
#[derive(Clone, Debug)]
pub struct Spelling(Vec<Vec<Form>>);

/// A text in all encodings.
pub fn spellings(text: &str) -> Vec<Spelling> {
    let composed = ComposingNormalizerBorrowed::new_nfc().normalize(text);
    let of = |forms: &dyn Fn(&str) -> Vec<Form>| {
        let all = |letter: char| {
            let mut all: Vec<Form> = cases(letter).iter().flat_map(|case| forms(case)).collect();
            all.extend((letter == ' ').then(|| escape("+".to_owned())));
            all.sort();
            all.dedup();
            all.sort_by_key(|form| std::cmp::Reverse(form.bytes.len()));
            all
        };
        Spelling(composed.chars().map(all).collect())
    };
    vec![
        of(&in_bytes),
        of(&|case| vec![wide(case.encode_utf16().flat_map(u16::to_le_bytes))]),
        of(&|case| vec![wide(case.encode_utf16().flat_map(u16::to_be_bytes))]),
    ]
}

impl Spelling {
    /// All forms of the first characters.
    pub fn beginnings(&self) -> BTreeSet<Vec<u8>> {
        let mut found = BTreeSet::from([Vec::new()]);
        for forms in self.0.iter().take(BEGINNING_CHARS) {
            if found.len() > 1 && found.len() * forms.len() > BEGINNINGS_MAX {
                break;
            }
            let mut longer = BTreeSet::new();
            for start in &found {
                longer.extend(forms.iter().map(|form| [&start[..], &form.bytes].concat()));
            }
            found = longer;
        }
        found
    }

    /// Where the text ends that begins here, and whether it stands as in text; `None` where another begins.
    pub fn end(&self, bytes: &[u8], start: usize) -> Option<(usize, bool)> {
        let (mut at, mut is_plain) = (start, true);
        for forms in &self.0 {
            let rest = bytes.get(at..)?;
            let form = forms.iter().find(|form| rest.starts_with(&form.bytes))?;
            at += form.bytes.len();
            is_plain &= form.is_plain;
        }
        Some((at, is_plain))
    }
}

/// A character as it is, small and large, composed and decomposed.
fn cases(letter: char) -> BTreeSet<String> {
    let mut cases = BTreeSet::from([letter.to_string()]);
    cases.extend([
        letter.to_lowercase().to_string(),
        letter.to_uppercase().to_string(),
    ]);
    if matches!(letter, 'ß' | 'ẞ') {
        cases.extend(["ß", "ẞ", "ss", "SS"].map(str::to_owned));
    }
    let apart = DecomposingNormalizerBorrowed::new_nfd();
    let decomposed: Vec<String> = cases
        .iter()
        .map(|case| apart.normalize(case).into_owned())
        .collect();
    cases.extend(decomposed);
    cases
}

fn in_bytes(case: &str) -> Vec<Form> {
    let mut forms = vec![Form {
        bytes: case.as_bytes().to_owned(),
        is_plain: true,
    }];
    // Nothing escapes these.
    if case.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return forms;
    }
    let mut encoded = vec![case.as_bytes().to_owned()];
    let latin: Option<Vec<u8>> = case.chars().map(|letter| u8::try_from(letter).ok()).collect();
    if let Some(latin) = latin.filter(|_| !case.is_ascii()) {
        forms.push(wide(latin.iter().copied()));
        encoded.push(latin);
    }
    for bytes in encoded {
        let mut texts = [String::new(), String::new()];
        for byte in bytes {
            let forms = match byte.is_ascii_alphanumeric() {
                true => [char::from(byte).to_string(), char::from(byte).to_string()],
                false => [format!("%{byte:02X}"), format!("%{byte:02x}")],
            };
            texts
                .iter_mut()
                .zip(forms)
                .for_each(|(text, form)| text.push_str(&form));
        }
        forms.extend(texts.map(escape));
    }
    let mut texts = [String::new(), String::new()];
    for unit in case.encode_utf16() {
        let forms = match char::from_u32(u32::from(unit)).filter(char::is_ascii_alphanumeric) {
            Some(letter) => [letter.to_string(), letter.to_string()],
            None => [format!("\\u{unit:04X}"), format!("\\u{unit:04x}")],
        };
        texts
            .iter_mut()
            .zip(forms)
            .for_each(|(text, form)| text.push_str(&form));
    }
    // Also within a text that is escaped again.
    forms.extend(texts.each_ref().map(|text| escape(text.replace('\\', "\\\\"))));
    forms.extend(texts.map(escape));
    if matches!(case, "\"" | "\\" | "/") {
        forms.push(escape(format!("\\{case}")));
        forms.push(escape(format!("\\\\\\{case}")));
    }
    forms
}

fn escape(text: String) -> Form {
    Form {
        bytes: text.into_bytes(),
        is_plain: false,
    }
}

fn wide(bytes: impl Iterator<Item = u8>) -> Form {
    Form {
        bytes: bytes.collect(),
        is_plain: false,
    }
}
