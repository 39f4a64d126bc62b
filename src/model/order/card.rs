//! Finds card numbers in what a storefront posts, so that they are refused before anything is written.
//!
//! A card number is 13 to 19 digits with a valid Luhn check digit, in one run or in groups parted by single
//! spaces or dashes. One number in ten passes that check by chance; such an order is refused too, since the
//! other mistake cannot be taken back. Digits that stand inside a word with letters (an id, a UUID) do not
//! count.

use serde_json::Value;

const DIGITS_MIN: usize = 13;
const DIGITS_MAX: usize = 19;

/// The path of the first value that holds a card number: `customer.phone`, `items[0].fields.note`.
pub fn find(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => contains(text).then(String::new),
        Value::Number(number) => contains(&number.to_string()).then(String::new),
        Value::Array(items) => items
            .iter()
            .enumerate()
            .find_map(|(index, item)| find(item).map(|rest| join(&format!("[{index}]"), &rest))),
        Value::Object(members) => members.iter().find_map(|(name, member)| {
            // A name is stored as well as its value; it is not repeated in the answer.
            if contains(name) {
                return Some("a field's name".to_owned());
            }
            find(member).map(|rest| join(name, &rest))
        }),
        Value::Null | Value::Bool(_) => None,
    }
}

fn join(name: &str, rest: &str) -> String {
    match rest.chars().next() {
        None => name.to_owned(),
        Some('[') => format!("{name}{rest}"),
        Some(_) => format!("{name}.{rest}"),
    }
}

/// Whether a card number stands anywhere in `text`.
pub fn contains(text: &str) -> bool {
    if text.len() < DIGITS_MIN {
        return false;
    }
    let mut groups: Vec<&str> = Vec::new();
    for token in tokens(text) {
        match token {
            Token::Digits(digits) => groups.push(digits),
            Token::Joint => {}
            Token::Break => {
                if any_window(&groups) {
                    return true;
                }
                groups.clear();
            }
        }
    }
    any_window(&groups)
}

enum Token<'a> {
    /// A run of digits alone.
    Digits(&'a str),
    /// One space or dash.
    Joint,
    /// Anything else.
    Break,
}

fn tokens(text: &str) -> impl Iterator<Item = Token<'_>> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let first = rest.chars().next()?;
        let word = first.is_alphanumeric();
        let same = |c: char| {
            if word {
                c.is_alphanumeric()
            } else {
                !c.is_alphanumeric()
            }
        };
        let end = rest.find(|c| !same(c)).unwrap_or(rest.len());
        let (token, after) = rest.split_at(end);
        rest = after;
        Some(match token {
            _ if word && token.bytes().all(|byte| byte.is_ascii_digit()) => Token::Digits(token),
            " " | "-" | "\u{a0}" => Token::Joint,
            _ => Token::Break,
        })
    })
}

/// Whether some neighbouring groups together make a card number.
fn any_window(groups: &[&str]) -> bool {
    (0..groups.len()).any(|first| {
        let mut digits = String::new();
        groups[first..].iter().any(|group| {
            digits.push_str(group);
            digits.len() <= DIGITS_MAX && digits.len() >= DIGITS_MIN && luhn(&digits)
        })
    })
}

fn luhn(digits: &str) -> bool {
    let sum: u32 = digits
        .bytes()
        .rev()
        .enumerate()
        .map(|(place, byte)| {
            let digit = u32::from(byte - b'0');
            match place % 2 {
                0 => digit,
                _ if digit > 4 => digit * 2 - 9,
                _ => digit * 2,
            }
        })
        .sum();
    // Nothing but zeros is a placeholder, not a card.
    sum > 0 && sum.is_multiple_of(10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sees_cards_however_they_are_written() {
        for text in [
            "4111111111111111",
            "4111 1111 1111 1111",
            "4111-1111-1111-1111",
            "card 5555555555554444 exp 12/27",
            "paid 2 4111 1111 1111 1111",
            "378282246310005",
            "3782 822463 10005",
            "6304000000000000000",
            "(4222222222222)",
        ] {
            assert!(contains(text), "{text}");
        }
    }

    #[test]
    fn lets_other_numbers_pass() {
        for text in [
            "4111111111111112",
            "0000000000000000",
            "+61 400 000 000",
            "550e8400-e29b-41d4-a716-446655440000",
            "801xx0000012345678",
            "12345678901234567890123",
            "1 High St, Hobart 7000",
            "",
        ] {
            assert!(!contains(text), "{text}");
        }
    }

    #[test]
    fn names_where_it_stands() {
        let order = serde_json::json!({"items": [{"fields": {"Note__c": "4111 1111 1111 1111"}}]});
        assert_eq!(find(&order).as_deref(), Some("items[0].fields.Note__c"));
        assert_eq!(
            find(&serde_json::json!({"n": 4_111_111_111_111_111_u64})).as_deref(),
            Some("n")
        );
        assert_eq!(find(&serde_json::json!({"a": [true, null, "x"]})), None);
    }
}
