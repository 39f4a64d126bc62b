//! Names as they are compared: in small letters and without marks, whichever way they are composed.

use icu_normalizer::DecomposingNormalizerBorrowed;
use std::ops::Range;

/// A text as it is compared, and where in the text itself each byte of that comes from.
#[derive(Debug)]
pub struct Folded {
    pub text: String,
    from: Vec<usize>,
}

impl Folded {
    pub fn of(text: &str) -> Self {
        let apart = DecomposingNormalizerBorrowed::new_nfd();
        let mut folded = Self {
            text: String::with_capacity(text.len()),
            from: Vec::with_capacity(text.len() + 1),
        };
        for (at, letter) in text.char_indices() {
            match letter {
                'ß' | 'ẞ' => folded.text.push_str("ss"),
                letter if letter.is_ascii() => folded.text.push(letter.to_ascii_lowercase()),
                letter => {
                    let mut one = [0; 4];
                    let parts = apart.normalize(letter.encode_utf8(&mut one));
                    let parts = parts.chars().filter(|part| !is_mark(*part));
                    folded.text.extend(parts.flat_map(char::to_lowercase));
                }
            }
            folded.from.resize(folded.text.len(), at);
        }
        folded.from.push(text.len());
        folded
    }

    /// Where a folded name stands by itself, in the text that this is of. Marks that follow belong to it.
    pub fn find<'f>(&'f self, name: &'f str) -> impl Iterator<Item = Range<usize>> {
        let joins = |letter: Option<char>| letter.is_some_and(char::is_alphanumeric);
        let found = self.text.match_indices(name);
        let alone = found.filter(move |(at, _)| {
            let (before, after) = (&self.text[..*at], &self.text[at + name.len()..]);
            !joins(before.chars().next_back()) && !joins(after.chars().next())
        });
        alone.map(move |(at, _)| self.from[at]..self.from[at + name.len()])
    }
}

/// As it is compared.
pub fn folded(text: &str) -> String {
    Folded::of(text).text
}

/// Whether a character only marks the one before it.
pub fn is_mark(letter: char) -> bool {
    matches!(letter, '\u{300}'..='\u{36f}' | '\u{1ab0}'..='\u{1aff}' | '\u{1dc0}'..='\u{1dff}' | '\u{20d0}'..='\u{20ff}'
        | '\u{fe20}'..='\u{fe2f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_found_in_any_case_and_composition() {
        let name = folded("Müßigbrück");
        for text in [
            "of Müßigbrück.",
            "of MÜSSIGBRÜCK.",
            "of müßigbrück.",
            "of Mu\u{308}ßigbru\u{308}ck.",
            "of MUSSIGBRUCK.",
        ] {
            let found: Vec<&str> = Folded::of(text).find(&name).map(|range| &text[range]).collect();
            assert_eq!(found.len(), 1, "{text}");
            assert_eq!(format!("of {}.", found[0]), text);
        }
        assert_eq!(Folded::of("Müßigbrücker, AMüßigbrück").find(&name).count(), 0);
        let text = "Jose\u{301} and José";
        let found: Vec<&str> = Folded::of(text).find("jose").map(|range| &text[range]).collect();
        assert_eq!(found, ["Jose\u{301}", "José"]);
    }
}
