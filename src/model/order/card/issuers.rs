//! Which numbers issuers of cards give out: prefixes of six digits, and how many digits a card has.

/// One issuer's range.
struct Range {
    first: u32,
    last: u32,
    /// Lengths as bits: 1 << 16 for sixteen digits.
    usual: u32,
    /// Those and others that exist.
    all: u32,
}

const fn range(first: u32, last: u32, usual: &[u32], rare: &[u32]) -> Range {
    let usual = bits(usual);
    Range {
        first,
        last,
        usual,
        all: usual | bits(rare),
    }
}

const fn bits(lengths: &[u32]) -> u32 {
    let (mut bits, mut index) = (0, 0);
    while index < lengths.len() {
        bits |= 1 << lengths[index];
        index += 1;
    }
    bits
}

const RANGES: [Range; 36] = [
    // Mir, and Borica beside it.
    range(220_000, 220_599, &[16], &[17, 18, 19]),
    // Mastercard.
    range(222_100, 272_099, &[16], &[]),
    range(510_000, 559_999, &[16], &[]),
    // Diners Club.
    range(300_000, 305_999, &[14], &[16, 17, 18, 19]),
    range(309_500, 309_599, &[14], &[16, 17, 18, 19]),
    range(360_000, 369_999, &[14], &[16, 17, 18, 19]),
    range(380_000, 399_999, &[14], &[16, 17, 18, 19]),
    // American Express.
    range(340_000, 349_999, &[15], &[]),
    range(370_000, 379_999, &[15], &[]),
    // JCB, with RuPay and LankaPay inside it.
    range(352_800, 358_999, &[16], &[17, 18, 19]),
    // Visa.
    range(400_000, 499_999, &[16], &[13, 19]),
    // Maestro, with Dankort, Elo, RuPay, Verve and Meeza inside it. Numbers of 13 to 15 digits are allowed to it, but
    // are on no card, while platforms number orders with 13 digits that begin with 5 or 6.
    range(500_000, 509_999, &[16, 18, 19], &[17]),
    range(560_000, 589_999, &[16, 18, 19], &[17]),
    range(630_400, 630_499, &[16, 18, 19], &[17]),
    range(639_000, 639_099, &[16, 18, 19], &[17]),
    range(670_000, 679_999, &[16, 18, 19], &[17]),
    // Switch and Solo, which are not given out any more.
    range(633_110, 633_110, &[16, 18, 19], &[]),
    range(633_300, 633_499, &[16, 18, 19], &[]),
    // Discover, with Elo, RuPay and Verve inside it.
    range(601_100, 601_199, &[16], &[17, 18, 19]),
    range(644_000, 659_999, &[16], &[17, 18, 19]),
    // RuPay.
    range(606_985, 607_984, &[16], &[]),
    range(608_001, 608_500, &[16], &[]),
    range(817_200, 829_999, &[16], &[]),
    // Hipercard.
    range(606_282, 606_282, &[16], &[13, 19]),
    range(637_095, 637_095, &[16], &[]),
    range(637_568, 637_568, &[16], &[]),
    // UnionPay. Gift cards have what is left out of 62.
    range(620_000, 626_999, &[16, 19], &[17, 18]),
    range(628_200, 628_899, &[16, 19], &[17, 18]),
    range(810_000, 817_199, &[16, 19], &[17, 18]),
    // Elo.
    range(627_780, 627_780, &[16], &[]),
    range(636_297, 636_297, &[16], &[]),
    range(636_368, 636_369, &[16], &[]),
    // UzCard, Napas, Troy and Humo.
    range(860_000, 860_099, &[16], &[]),
    range(970_400, 970_499, &[16, 19], &[]),
    range(979_200, 979_289, &[16], &[]),
    range(986_000, 986_099, &[16], &[]),
];

/// Which lengths of an issuer count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lengths {
    Usual,
    All,
}

/// Whether a number is that of a card: prefix, length and check digit.
pub fn is_card(digits: &[u8], lengths: Lengths) -> bool {
    range_of(digits).is_some_and(|range| {
        let lengths = match lengths {
            Lengths::Usual => range.usual,
            Lengths::All => range.all,
        };
        u32::try_from(digits.len()).is_ok_and(|length| length < 32 && lengths & (1 << length) != 0)
            && luhn(digits)
    })
}

/// How many digits a card has that begins like this, where cards begin so; the shortest usual number.
pub fn usual_length(digits: &[u8]) -> Option<usize> {
    range_of(digits).map(|range| range.usual.trailing_zeros() as usize)
}

fn range_of(digits: &[u8]) -> Option<&'static Range> {
    let prefix = digits
        .get(..6)?
        .iter()
        .fold(0, |prefix, digit| prefix * 10 + u32::from(*digit));
    RANGES
        .iter()
        .find(|range| (range.first..=range.last).contains(&prefix))
}

/// Whether the last digit is the check digit of Luhn, as cards have it.
pub fn luhn(digits: &[u8]) -> bool {
    let double = |digit: u32| if digit > 4 { digit * 2 - 9 } else { digit * 2 };
    let values = digits.iter().rev().map(|digit| u32::from(*digit)).enumerate();
    let sum: u32 = values
        .map(|(place, digit)| if place % 2 == 0 { digit } else { double(digit) })
        .sum();
    sum.is_multiple_of(10)
}
