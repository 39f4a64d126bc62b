//! The numbers of a text, as groups of digits, and whether one is a card's.

use super::characters::Character;
use super::escapes;
use super::issuers::{Lengths, is_card, usual_length};
use super::others::{has_gs1_check_digit, iban, is_sim_card};
use super::{DIGITS_MIN, Field};

/// Most blanks between two groups of one number, and most signs.
const BLANKS_MAX: usize = 8;
const SIGNS_MAX: usize = 3;
/// Most digits of a telephone number behind its plus.
const PHONE_DIGITS_MAX: usize = 13;
/// Most digits of a group as cards have them printed.
const PRINTED_GROUP_MAX: usize = 6;
/// Most digits of a card number.
const DIGITS_MAX: usize = 19;

/// Signs that stand between the groups of a number, and with blanks beside them between numbers.
const LISTS: [char; 15] = [
    '/', '\\', ',', ':', ';', '|', '+', '#', '=', '(', ')', '[', ']', '{', '}',
];
const BRACKETS: [char; 6] = ['(', ')', '[', ']', '{', '}'];

/// What a text was found to hold, and the steps that it took.
#[derive(Debug, Default)]
pub struct Reading {
    pub found: bool,
    pub steps: usize,
}

/// Groups of digits that may be one number.
#[derive(Debug, Default)]
struct Number {
    digits: Vec<u8>,
    /// Where each group ends among the digits.
    ends: Vec<usize>,
    /// Groups that begin a line, without the first.
    lines: Vec<usize>,
    /// A plus stands before it, as before telephone numbers.
    has_plus: bool,
}

/// What stands between two digits.
#[derive(Debug, Default)]
struct Gap {
    blanks: usize,
    has_line_end: bool,
    sign: Option<char>,
    signs: usize,
    parts: bool,
    has_plus: bool,
}

impl Reading {
    pub fn of(text: &str, field: Field) -> Self {
        let mut reading = Self::default();
        let mut number = Number::default();
        // Short groups with a comma and a blank between, each of which is a number by itself.
        let mut list = Number::default();
        let mut gap = Gap::default();
        let mut in_word = false;
        let mut skip_to = 0;
        for (place, c) in text.char_indices() {
            reading.steps += 1;
            if place < skip_to {
                continue;
            }
            if c.is_ascii_alphabetic() && !in_word {
                skip_to = place + iban(&text[place..], &mut reading.steps);
            }
            let escape = escapes::read(&text[place..], &mut reading.steps);
            let (c, bytes) = escape.unwrap_or((c, 0));
            skip_to = skip_to.max(place + bytes);
            in_word = c.is_alphanumeric();
            match Character::of(c) {
                Character::Nothing => {}
                Character::Digit(digit) => {
                    if !gap.joins() {
                        reading.end(&number, &mut list, gap.lists(), field);
                        number.clear(gap.has_plus);
                    }
                    number.push(digit, &gap);
                    gap = Gap::default();
                }
                Character::Blank => gap.add_blank(c),
                Character::Sign(sign) => gap.add(sign),
                Character::Letter => gap.part(),
            }
        }
        reading.end(&number, &mut list, false, field);
        reading
    }

    /// A number ends; `goes_on` where a list that it may be of does not.
    fn end(&mut self, number: &Number, list: &mut Number, goes_on: bool, field: Field) {
        match number.lines.is_empty() {
            true => self.judge(number, field),
            false => number
                .in_lines()
                .iter()
                .for_each(|number| self.judge(number, field)),
        }
        let is_short = number.ends.len() == 1 && number.digits.len() <= PRINTED_GROUP_MAX;
        if is_short {
            list.push_group(&number.digits);
        }
        if !is_short || !goes_on {
            self.judge_list(list);
            list.clear(false);
        }
    }

    fn judge_list(&mut self, list: &Number) {
        if list.digits.len() < DIGITS_MIN || self.found {
            return;
        }
        self.found = (0..list.ends.len()).any(|index| {
            self.steps += DIGITS_MAX;
            list.is_in_printed_groups(index)
        }) || list.is_in_fours(Field::Code, &mut self.steps);
    }

    fn judge(&mut self, number: &Number, field: Field) {
        if number.digits.len() < DIGITS_MIN || self.found {
            return;
        }
        self.steps += number.digits.len();
        if number.has_plus && number.digits.len() <= PHONE_DIGITS_MAX {
            return;
        }
        let groups = number.ends.len();
        self.found = (0..groups).any(|index| {
            self.steps += DIGITS_MAX;
            number.group_is_card(index, field) || number.is_in_printed_groups(index)
        }) || number.is_in_fours(field, &mut self.steps)
            || number.is_in_single_digits(&mut self.steps)
            || field == Field::Text && number.is_card_in_any_groups();
    }
}

impl Gap {
    fn is_empty(&self) -> bool {
        self.blanks == 0 && self.signs == 0 && !self.parts
    }

    fn add_blank(&mut self, blank: char) {
        self.blanks += 1;
        self.has_line_end |= matches!(blank, '\n'..='\r' | '\u{85}' | '\u{2028}' | '\u{2029}');
    }

    fn add(&mut self, sign: char) {
        self.signs += 1;
        let joins =
            matches!(sign, '-' | '.' | '_' | '*' | '~' | '\'' | '^' | '"' | '`') || LISTS.contains(&sign);
        // Groups in brackets of their own.
        let sign = if BRACKETS.contains(&sign) { '(' } else { sign };
        self.parts |= !joins || self.sign.is_some_and(|before| before != sign);
        self.sign = Some(sign);
        self.has_plus = sign == '+';
    }

    fn part(&mut self) {
        self.parts = true;
        self.has_plus = false;
    }

    /// Whether the digits on both sides may be of one number. With blanks around it, a sign of lists parts.
    fn joins(&self) -> bool {
        self.is_narrow() && (self.blanks == 0 || !self.has_sign_of_lists())
    }

    /// Whether the numbers on both sides may be of one list.
    fn lists(&self) -> bool {
        self.is_narrow() && self.has_sign_of_lists()
    }

    fn is_narrow(&self) -> bool {
        !self.parts && self.blanks <= BLANKS_MAX && self.signs <= SIGNS_MAX
    }

    fn has_sign_of_lists(&self) -> bool {
        self.sign.is_some_and(|sign| LISTS.contains(&sign))
    }
}

impl Number {
    fn clear(&mut self, has_plus: bool) {
        self.digits.clear();
        self.ends.clear();
        self.lines.clear();
        self.has_plus = has_plus;
    }

    fn push(&mut self, digit: u8, gap: &Gap) {
        if gap.has_line_end && !self.ends.is_empty() {
            self.lines.push(self.ends.len());
        }
        self.digits.push(digit);
        let end = self.digits.len();
        match self.ends.last_mut() {
            Some(last) if gap.is_empty() => *last = end,
            _ => self.ends.push(end),
        }
    }

    fn push_group(&mut self, digits: &[u8]) {
        self.digits.extend_from_slice(digits);
        self.ends.push(self.digits.len());
    }

    /// The numbers of a text of lines: a line ends a number where it and the next have the form of telephone numbers.
    /// A line that is long enough for a card is a number by itself too.
    fn in_lines(&self) -> Vec<Self> {
        let mut numbers = vec![Self {
            has_plus: self.has_plus,
            ..Self::default()
        }];
        let mut alone = Vec::new();
        let mut was_phone = false;
        let starts = std::iter::once(0).chain(self.lines.iter().copied());
        let ends = self.lines.iter().copied().chain([self.ends.len()]);
        for (start, end) in starts.zip(ends) {
            let line = self.digits_of(start, end - start);
            let is_phone = is_in_form_of_phone(line);
            if line.len() >= DIGITS_MIN {
                let mut number = Self::default();
                (start..end).for_each(|group| number.push_group(self.digits_of(group, 1)));
                alone.push(number);
            }
            if was_phone && is_phone {
                numbers.push(Self::default());
            }
            was_phone = is_phone;
            if let Some(number) = numbers.last_mut() {
                (start..end).for_each(|group| number.push_group(self.digits_of(group, 1)));
            }
        }
        numbers.append(&mut alone);
        numbers
    }

    /// Where a group begins.
    fn start(&self, group: usize) -> usize {
        group.checked_sub(1).map_or(0, |before| self.ends[before])
    }

    /// How many digits a group has; 0 where there is no such group.
    fn length(&self, group: usize) -> usize {
        self.ends.get(group).map_or(0, |end| end - self.start(group))
    }

    /// The digits of some groups.
    fn digits_of(&self, first: usize, count: usize) -> &[u8] {
        &self.digits[self.start(first)..self.ends[first + count - 1]]
    }

    /// One group that is a card number, or begins with one.
    fn group_is_card(&self, group: usize, field: Field) -> bool {
        let digits = self.digits_of(group, 1);
        if digits.len() < DIGITS_MIN {
            return false;
        }
        let is_code_of_goods = match field {
            Field::Text => digits.len() == 13,
            Field::Code => matches!(digits.len(), 13 | 14 | 18),
        } && has_gs1_check_digit(digits);
        let lengths = match field {
            Field::Text => Lengths::All,
            Field::Code => Lengths::Usual,
        };
        let is_whole = !is_code_of_goods && is_card(digits, lengths);
        is_whole || field == Field::Text && (begins_with_card(digits) || is_card_behind_zeros(digits))
    }

    /// Four, six and five or four digits, as on cards of American Express and Diners Club.
    fn is_in_printed_groups(&self, first: usize) -> bool {
        let lengths = [0, 1, 2].map(|offset| self.length(first + offset));
        matches!(lengths, [4, 6, 4 | 5]) && is_card(self.digits_of(first, 3), Lengths::Usual)
    }

    /// Groups of four digits, the last of which may be shorter.
    fn is_in_fours(&self, field: Field, steps: &mut usize) -> bool {
        let mut first = 0;
        while first < self.ends.len() {
            let fours = (first..self.ends.len())
                .take_while(|group| self.length(*group) == 4)
                .count();
            *steps += fours + 1;
            if fours >= 3 && self.is_in_chain(first, fours, field, steps) {
                return true;
            }
            first += fours + 1;
        }
        false
    }

    /// `fours` groups of four digits, with another group before and after them, or none.
    fn is_in_chain(&self, first: usize, fours: usize, field: Field, steps: &mut usize) -> bool {
        let last = match self.length(first + fours) {
            length @ 1..=3 => length,
            _ => 0,
        };
        let chain = self.digits_of(first, fours + usize::from(last > 0));
        let is_parcel = || {
            matches!(chain.len(), 20 | 22)
                && matches!(chain[..2], [0, 0] | [7, 0 | 1] | [9, 2..=5])
                && has_gs1_check_digit(chain)
        };
        if is_sim_card(chain) || is_parcel() {
            return false;
        }
        // A number may stand before the card, and cards may follow each other. USPS Certified Mail has twenty digits.
        let (until, by) = match (field, fours) {
            _ if chain.len() == 20 && matches!(chain[..2], [7, 0 | 1]) => (1, 1),
            (Field::Text, 4 | 5) => (2, 1),
            (Field::Text, 8..) => (fours, 4),
            _ => (1, 1),
        };
        (0..until).step_by(by).any(|start| {
            *steps += DIGITS_MAX;
            let (group, count) = (first + start, fours - start);
            let whole = count + usize::from(last > 0);
            let is_whole = count <= 4 && is_card(self.digits_of(group, whole), Lengths::All);
            let ends = match field {
                Field::Code => count == 4 && last == 0,
                Field::Text => {
                    count == 4 || count >= 8 || count > 4 && is_expiry(self.digits_of(group + 4, 1))
                }
            };
            is_whole || ends && is_card(self.digits_of(group, 4), Lengths::All)
        })
    }

    /// Digits that stand alone, from the first to the last of such.
    fn is_in_single_digits(&self, steps: &mut usize) -> bool {
        let mut first = 0;
        while first < self.ends.len() {
            let singles = (first..self.ends.len())
                .take_while(|group| self.length(*group) == 1)
                .count();
            *steps += singles + 1;
            if singles >= DIGITS_MIN && is_card(self.digits_of(first, singles), Lengths::Usual) {
                return true;
            }
            first += singles + 1;
        }
        false
    }

    /// The whole number, however it is grouped.
    fn is_card_in_any_groups(&self) -> bool {
        self.ends.len() > 1
            && self.digits.len() > DIGITS_MIN
            && !self.is_two_mobile_phones()
            && is_card(&self.digits, Lengths::All)
    }

    /// Two groups of eight digits, both of which begin as mobile telephone numbers do where those have eight. No card
    /// is printed in such groups.
    fn is_two_mobile_phones(&self) -> bool {
        let begins = |group| matches!(self.digits[self.start(group)], 5 | 6 | 8 | 9);
        self.ends == [8, 16] && begins(0) && begins(1)
    }
}

/// Seven digits to twelve. Without an area code, the first is neither 0 nor 1.
fn is_in_form_of_phone(digits: &[u8]) -> bool {
    match digits.len() {
        7 | 8 => digits[0] > 1,
        length => (9..DIGITS_MIN).contains(&length),
    }
}

/// A card number with its security code, its expiry date or both behind it.
fn begins_with_card(digits: &[u8]) -> bool {
    let Some(length) = usual_length(digits).filter(|length| digits.len() > *length) else {
        return false;
    };
    let (card, rest) = digits.split_at(length);
    let security = if length == 15 { 4 } else { 3 };
    let is_rest =
        rest.len() == security || is_expiry(rest) && (rest.len() == 4 || rest.len() == 4 + security);
    is_rest && is_card(card, Lengths::Usual)
}

/// A card number that was filled up with zeros, as columns of a fixed width are.
fn is_card_behind_zeros(digits: &[u8]) -> bool {
    let zeros = digits.iter().take_while(|digit| **digit == 0).count();
    zeros > 0 && is_card(&digits[zeros..], Lengths::Usual)
}

/// Whether digits begin with month and year, or year and month, or are a year.
fn is_expiry(digits: &[u8]) -> bool {
    let [a, b, c, d, ..] = *digits else { return false };
    let (first, second) = (a * 10 + b, c * 10 + d);
    let (month, year) = (1..=12, 20..=49);
    month.contains(&first) && year.contains(&second)
        || year.contains(&first) && month.contains(&second)
        || first == 20 && year.contains(&second)
}
