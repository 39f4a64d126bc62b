//! The digits of a number as it is written, and where its point stands. Pure.
//!
//! JSON numbers and the org's are binary doubles. One that is written with more digits than a double keeps becomes another
//! number without a word, so that such a number is refused instead.

/// What is said of a number that would become another one.
pub const TOO_MANY: &str = "has more digits than a number keeps: send at most 15";

/// A number without its sign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Digits {
    /// Without zeros at both ends; nothing for zero.
    digits: String,
    /// The power of ten of the last digit.
    exponent: i64,
}

impl Digits {
    /// Reads `-12`, `19.90` and `1.5e3`; `None` for what is no number.
    pub fn of(text: &str) -> Option<Self> {
        let text = text.strip_prefix(['-', '+']).unwrap_or(text);
        let (plain, exponent) = match text.split_once(['e', 'E']) {
            Some((plain, exponent)) => (plain, exponent.parse().ok()?),
            None => (text, 0_i64),
        };
        let (whole, fraction) = plain.split_once('.').unwrap_or((plain, ""));
        let all = format!("{whole}{fraction}");
        if all.is_empty() || !all.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let digits = all.trim_end_matches('0');
        let exponent = exponent.checked_sub(i64::try_from(fraction.len()).ok()?)?;
        let dropped = i64::try_from(all.len() - digits.len()).ok()?;
        let digits = digits.trim_start_matches('0').to_owned();
        let exponent = match digits.is_empty() {
            true => 0,
            false => exponent.checked_add(dropped)?,
        };
        Some(Self { digits, exponent })
    }

    /// Digits after the point.
    pub fn scale(&self) -> u32 {
        u32::try_from(self.exponent.saturating_neg()).unwrap_or(0)
    }

    /// Whether a double is written with these digits and no others.
    pub fn are_of(&self, real: f64) -> bool {
        real.is_finite() && Self::of(&format!("{real:e}")).as_ref() == Some(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_has_the_same_digits_however_it_is_written() {
        for (one, other) in [
            ("1500", "1.5e3"),
            ("-19.90", "19.9"),
            ("007", "7"),
            ("0.000", "-0"),
            ("0.00015", "15E-5"),
            ("+.5", "5e-1"),
        ] {
            assert_eq!(Digits::of(one), Digits::of(other), "{one} {other}");
        }
        for text in [
            "",
            "-",
            ".",
            "e3",
            "1e",
            "1,5",
            "0x1",
            "1e99999999999999999999",
            "inf",
        ] {
            assert_eq!(Digits::of(text), None, "{text}");
        }
    }

    #[test]
    fn digits_after_the_point_are_counted() {
        for (text, scale) in [
            ("12", 0),
            ("12.50", 1),
            ("1.12345678", 8),
            ("1.5e3", 0),
            ("1.5e-3", 4),
            ("0.0", 0),
            ("1e-400", 400),
        ] {
            assert_eq!(Digits::of(text).unwrap().scale(), scale, "{text}");
        }
    }

    #[test]
    fn what_a_double_would_change_is_told() {
        for (text, expected) in [
            ("19.9", true),
            ("0.1", true),
            ("123456789012345", true),
            ("9007199254740992", true),
            ("9007199254740993", false),
            ("0.12345678901234567", false),
            ("0.1000000000000000055511151231257827", false),
            ("12345678901234567890", false),
            ("1e300", true),
            ("1e-400", false),
        ] {
            let real: f64 = text.parse().unwrap();
            assert_eq!(Digits::of(text).unwrap().are_of(real), expected, "{text}");
        }
    }
}
