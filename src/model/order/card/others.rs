//! Long numbers that are no cards, by check digits of their own.

use super::characters::Character;
use super::issuers::luhn;

/// Most characters of an IBAN.
const IBAN_MAX: usize = 34;

/// Countries and the length of their IBANs.
const IBANS: &str = "AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BI27 BR29 BY28 CH21 CR22 CY28 CZ24 DE22 DJ27 DK18 DO28 EE20 \
    EG29 ES24 FI18 FK18 FO18 FR27 GB22 GE22 GI23 GL18 GR27 GT28 HR21 HU28 IE22 IL23 IQ23 IS26 IT27 JO30 KW30 KZ20 LB28 \
    LC32 LI21 LT20 LU20 LV21 LY25 MC27 MD24 ME22 MK19 MN20 MR27 MT31 MU30 NI28 NL18 NO15 OM23 PK24 PL28 PS29 PT25 QA29 \
    RO24 RS22 RU33 SA24 SC31 SD18 SE24 SI19 SK24 SM27 SO23 ST25 SV28 TL23 TN24 TR26 UA29 VA22 VG24 XK20";

/// The bytes of an IBAN that a text begins with, in one run or in groups; 0 where there is none.
pub fn iban(text: &str, steps: &mut usize) -> usize {
    let Some(length) = iban_length(text) else { return 0 };
    let mut characters = Vec::with_capacity(IBAN_MAX);
    let mut parted = false;
    for (place, c) in text.char_indices() {
        *steps += 1;
        if c.is_ascii_alphanumeric() {
            characters.push(c.to_ascii_uppercase());
            parted = false;
            if characters.len() == length {
                let end = place + 1;
                let ends = !text[end..].starts_with(|c: char| c.is_alphanumeric());
                return if ends && is_iban(&characters) { end } else { 0 };
            }
        } else if parted || !matches!(Character::of(c), Character::Blank | Character::Sign('-' | '.')) {
            return 0;
        } else {
            parted = true;
        }
    }
    0
}

/// By its country, where two digits stand behind that.
fn iban_length(text: &str) -> Option<usize> {
    let [first, second, check @ ..] = text.as_bytes().get(..4)? else {
        return None;
    };
    let country = [first.to_ascii_uppercase(), second.to_ascii_uppercase()];
    let begins = country.iter().all(u8::is_ascii_uppercase) && check.iter().all(u8::is_ascii_digit);
    let mut known = IBANS.split_ascii_whitespace().filter(|_| begins);
    known.find(|known| known.as_bytes()[..2] == country)?[2..]
        .parse()
        .ok()
}

/// Its remainder by 97 is 1, with the first four characters at the end and letters as 10 to 35.
fn is_iban(characters: &[char]) -> bool {
    let (first, rest) = characters.split_at(4);
    let remainder = rest.iter().chain(first).fold(0, |remainder, c| {
        let value = c.to_digit(36).unwrap_or_default();
        let shift = if value > 9 { 100 } else { 10 };
        (remainder * shift + value) % 97
    });
    remainder == 1
}

/// Whether it is the number of a SIM card (ICCID), which begins with 89.
pub fn is_sim_card(digits: &[u8]) -> bool {
    matches!(digits.len(), 19 | 20) && digits.starts_with(&[8, 9]) && luhn(digits)
}

/// Whether the last digit is the check digit of GS1: weights 3 and 1 from the right. EAN, GTIN and SSCC have it, and
/// the tracking numbers of USPS.
pub fn has_gs1_check_digit(digits: &[u8]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(place, digit)| u32::from(*digit) * if place % 2 == 0 { 1 } else { 3 })
        .sum();
    sum.is_multiple_of(10)
}
