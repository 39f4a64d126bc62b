//! Exact decimals for money and quantities.
//!
//! Promises that what a storefront wrote is what the org is sent, digit for digit: arithmetic is on integers.
//! Fifteen significant digits are the most that are taken, because the org's JSON numbers are binary doubles
//! and fifteen decimal digits are what survives the way there and back unchanged.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Most significant digits of an amount or a quantity.
const DIGITS_MAX: usize = 15;
/// Most digits after the point.
pub const SCALE_MAX: u32 = 6;

/// A decimal number without trailing zeros, so that equal numbers are equal values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Decimal {
    /// Millionths: the value times 10 to the power of [`SCALE_MAX`].
    millionths: i128,
}

const ONE: i128 = 10_i128.pow(SCALE_MAX);

impl Decimal {
    pub const ZERO: Self = Self { millionths: 0 };
    pub const ONE: Self = Self { millionths: ONE };

    /// Reads `-12`, `19.90`; `None` for anything else, exponents and more than fifteen digits included.
    pub fn parse(text: &str) -> Option<Self> {
        let (negative, digits) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
        if !is_plain(digits) {
            return None;
        }
        let (whole, fraction) = (whole.trim_start_matches('0'), fraction.trim_end_matches('0'));
        if whole.len() + fraction.len() > DIGITS_MAX || fraction.len() > SCALE_MAX as usize {
            return None;
        }
        let millionths: i128 = format!("{whole}{fraction:0<6}").parse().ok()?;
        Some(Self {
            millionths: if negative { -millionths } else { millionths },
        })
    }

    /// The shortest decimal that names this double: what a JSON number or a `real` column was written as.
    pub fn from_real(real: f64) -> Option<Self> {
        real.is_finite()
            .then(|| format!("{real}"))
            .and_then(|text| Self::parse(&text))
    }

    pub fn from_json(value: &serde_json::Value) -> Option<Self> {
        match value {
            serde_json::Value::Number(number) => number.as_i64().map_or_else(
                || number.as_f64().and_then(Self::from_real),
                |integer| Self::parse(&integer.to_string()),
            ),
            serde_json::Value::String(text) => Self::parse(text),
            _ => None,
        }
    }

    /// A JSON number with the same digits.
    pub fn to_json_number(self) -> serde_json::Value {
        if self.scale() == 0
            && let Ok(integer) = i64::try_from(self.millionths / ONE)
        {
            return integer.into();
        }
        // Fifteen digits pass through a double unchanged.
        self.to_string()
            .parse::<f64>()
            .map_or(serde_json::Value::Null, Into::into)
    }

    /// `None` where the product has more digits than are kept whole.
    pub fn times(self, other: Self) -> Option<Self> {
        let millionths = self.millionths.checked_mul(other.millionths)? / ONE;
        Some(Self { millionths })
    }

    /// Whether it has at most so many digits before the point.
    pub fn has_whole_digits(self, most: u32) -> bool {
        let limit = 10_i128.checked_pow(most).and_then(|limit| limit.checked_mul(ONE));
        limit.is_none_or(|limit| self.millionths.abs() < limit)
    }

    /// How many hundredths it is; `None` where it has more digits than that.
    pub fn hundredths(self) -> Option<i64> {
        let hundredth = ONE / 100;
        let whole = self.millionths % hundredth == 0;
        whole
            .then(|| i64::try_from(self.millionths / hundredth).ok())
            .flatten()
    }

    pub fn negated(self) -> Self {
        Self {
            millionths: -self.millionths,
        }
    }

    pub fn is_positive(self) -> bool {
        self.millionths > 0
    }

    pub fn is_negative(self) -> bool {
        self.millionths < 0
    }

    /// Digits after the point.
    pub fn scale(self) -> u32 {
        let mut rest = self.millionths % ONE;
        let mut scale = 0;
        while rest != 0 {
            rest = rest * 10 % ONE;
            scale += 1;
        }
        scale
    }

    /// Rounded to `scale` digits after the point, halves away from zero, as the org does.
    pub fn rounded(self, scale: u32) -> Self {
        let unit = 10_i128.pow(SCALE_MAX.saturating_sub(scale));
        let half = unit / 2 * self.millionths.signum();
        Self {
            millionths: (self.millionths + half) / unit * unit,
        }
    }

    /// Written with at least `digits` digits after the point: `19.90`.
    pub fn with_digits(self, digits: u32) -> String {
        let digits = digits.max(self.scale()).min(SCALE_MAX);
        let sign = if self.millionths < 0 { "-" } else { "" };
        let (whole, fraction) = (self.millionths.abs() / ONE, self.millionths.abs() % ONE);
        match digits {
            0 => format!("{sign}{whole}"),
            _ => format!("{sign}{whole}.{}", &format!("{fraction:06}")[..digits as usize]),
        }
    }

    /// An amount of money: with as many digits as its currency has, or more where the amount has more.
    pub fn as_amount(self, currency: &str) -> String {
        self.with_digits(minor_digits(currency))
    }
}

/// Whether a text is digits, with or without a point among them: a decimal, unless it has too many.
pub fn is_plain(text: &str) -> bool {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let all_digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    all_digits(whole) && all_digits(fraction)
}

/// Digits after the point of a currency (ISO 4217).
pub fn minor_digits(currency: &str) -> u32 {
    match currency {
        "BIF" | "CLP" | "DJF" | "GNF" | "ISK" | "JPY" | "KMF" | "KRW" | "PYG" | "RWF" | "UGX" | "VND"
        | "VUV" | "XAF" | "XOF" | "XPF" => 0,
        "BHD" | "IQD" | "JOD" | "KWD" | "LYD" | "OMR" | "TND" => 3,
        _ => 2,
    }
}

impl std::iter::Sum for Decimal {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        let millionths = amounts.map(|amount| amount.millionths).sum();
        Self { millionths }
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.with_digits(0))
    }
}

impl Serialize for Decimal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Decimal {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // A person who edits one may leave out the quotes.
        let value = serde_json::Value::deserialize(deserializer)?;
        Self::from_json(&value).ok_or_else(|| {
            serde::de::Error::custom("not a decimal of at most 15 digits, 6 of them after the point")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decimal(text: &str) -> Decimal {
        Decimal::parse(text).unwrap()
    }

    #[test]
    fn reads_and_writes_exactly() {
        for (text, shown, money) in [
            ("19.90", "19.9", "19.90"),
            ("0.1", "0.1", "0.10"),
            ("-0.000001", "-0.000001", "-0.000001"),
            ("007", "7", "7.00"),
            ("0", "0", "0.00"),
            ("123456789012.345", "123456789012.345", "123456789012.345"),
        ] {
            assert_eq!(decimal(text).to_string(), shown);
            assert_eq!(decimal(text).as_amount("AUD"), money);
        }
        assert_eq!(decimal("1500").as_amount("JPY"), "1500");
        assert_eq!(decimal("1.5").as_amount("KWD"), "1.500");
    }

    #[test]
    fn refuses_what_is_not_a_plain_decimal() {
        for text in [
            "",
            ".",
            "1.",
            ".5",
            "1e3",
            "1,5",
            " 1",
            "+1",
            "--1",
            "0.1234567",
            "1234567890123456",
            "NaN",
        ] {
            assert_eq!(Decimal::parse(text), None, "{text}");
        }
    }

    #[test]
    fn equal_numbers_are_equal_values() {
        assert_eq!(decimal("19.90"), decimal("19.9"));
        assert_eq!(Decimal::from_real(19.9), Some(decimal("19.90")));
        assert_eq!(Decimal::from_json(&serde_json::json!(2)), Some(decimal("2")));
        assert_eq!(Decimal::from_json(&serde_json::json!(2.50)), Some(decimal("2.5")));
    }

    #[test]
    fn hundredths_are_whole() {
        for (text, hundredths) in [
            ("2", Some(200)),
            ("1.25", Some(125)),
            ("0.001", None),
            ("-1", Some(-100)),
        ] {
            assert_eq!(decimal(text).hundredths(), hundredths, "{text}");
        }
    }

    #[test]
    fn json_numbers_keep_the_digits() {
        for text in ["19.9", "0.1", "2", "123456789012.345", "0.000001", "99999999.99"] {
            let number = decimal(text).to_json_number();
            assert_eq!(Decimal::from_json(&number), Some(decimal(text)), "{text}");
        }
        assert_eq!(decimal("19.90").to_json_number().to_string(), "19.9");
        assert_eq!(decimal("2.0").to_json_number().to_string(), "2");
    }

    #[test]
    fn rounds_halves_away_from_zero() {
        for (text, rounded) in [
            ("1.005", "1.01"),
            ("1.0049", "1"),
            ("-1.005", "-1.01"),
            ("2", "2"),
        ] {
            assert_eq!(decimal(text).rounded(2), decimal(rounded), "{text}");
        }
    }
}
