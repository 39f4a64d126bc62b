//! The table of card numbers as people and programs write them, and how many other numbers are taken for one.

use serde_json::json;

use super::*;

/// Numbers that networks and payment providers publish for tests; of each kind of issuer, prefix and length.
const PUBLISHED: [&str; 30] = [
    "4242424242424242",
    "4111111111111111",
    "4000056655665556",
    "4222222222222",
    "4917610000000000003",
    "5555555555554444",
    "5105105105105100",
    "5200828282828210",
    "2223003122003222",
    "378282246310005",
    "371449635398431",
    "343434343434343",
    "6011111111111117",
    "6011000990139424",
    "6445644564456445",
    "30569309025904",
    "38520000023237",
    "36227206271667",
    "3056930009020004",
    "3530111333300000",
    "3566002020360505",
    "6200000000000005",
    "6205500000000000004",
    "6243030000000001",
    "6304000000000000000",
    "6759649826438453",
    "6799990100000000019",
    "5019717010103742",
    "6062826786276634",
    "5066991111111118",
];

/// A number of an issuer that publishes none: the prefix, zeros and the check digit.
fn made(prefix: &str, length: usize) -> String {
    let digits = format!("{prefix:0<width$}", width = length - 1);
    let with = |check: u32| format!("{digits}{check}");
    (0..10).map(with).find(|number| luhn(number)).unwrap()
}

/// Written apart from the product's, so that one proves the other.
fn luhn(number: &str) -> bool {
    let weigh = |(place, c): (usize, char)| {
        let digit = c.to_digit(10).unwrap() * if place % 2 == 1 { 2 } else { 1 };
        digit / 10 + digit % 10
    };
    number.chars().rev().enumerate().map(weigh).sum::<u32>() % 10 == 0
}

fn groups(number: &str, lengths: &[usize], joint: &str) -> String {
    let mut rest = number;
    let mut parts = Vec::new();
    for length in lengths.iter().chain(std::iter::repeat(lengths.last().unwrap())) {
        let (part, after) = rest.split_at((*length).min(rest.len()));
        parts.push(part);
        rest = after;
        if rest.is_empty() {
            break;
        }
    }
    parts.join(joint)
}

/// As it is printed on a card.
fn printed(number: &str, joint: &str) -> String {
    match number.len() {
        14 | 15 => groups(number, &[4, 6, 5], joint),
        _ => groups(number, &[4], joint),
    }
}

fn in_digits_of(number: &str, zero: u32) -> String {
    let digit = |c: char| char::from_u32(zero + c.to_digit(10).unwrap()).unwrap();
    number.chars().map(digit).collect()
}

const JOINTS: [&str; 48] = [
    "^",
    "\"",
    "`",
    "<br>",
    ", ",
    " / ",
    " , ",
    "; ",
    "%20",
    "%C2%A0",
    "&nbsp;",
    "&#160;",
    "&#xA0;",
    "&ndash;",
    "+",
    "#",
    "=",
    ")(",
    " ",
    "-",
    ".",
    "/",
    "\t",
    "\n",
    "\r\n",
    "  ",
    "   ",
    "_",
    ",",
    ":",
    "|",
    " - ",
    "--",
    "\u{a0}",
    "\u{202f}",
    "\u{2003}",
    "\u{3000}",
    "\u{2010}",
    "\u{2011}",
    "\u{2013}",
    "\u{2014}",
    "\u{2212}",
    "\u{ff0d}",
    "\u{b7}",
    "\u{200b}",
    "\u{feff}",
    "\u{ad}",
    " \u{200d} ",
];

#[test]
fn zeros_before_a_card_number_do_not_hide_it() {
    for number in ["4242424242424242", "5555555555554444", "378282246310005"] {
        for filled in [
            format!("0{number}"),
            format!("amount 000{number}"),
            format!("{number:0>24}"),
        ] {
            assert!(contains(&filled), "{filled}");
        }
    }
    // Goods of thirteen digits in a column of fourteen.
    assert!(!contains("04006381333931"));
}

/// Sentences and records in which a number stands.
fn written(number: &str) -> Vec<String> {
    let spaced = printed(number, " ");
    vec![
        format!("card {number} exp 12/27"),
        format!("paid 2 {spaced}"),
        format!("ref 1001 {spaced}, thanks"),
        format!("card{number}exp1227"),
        format!("PAN:{number};"),
        format!("({number})"),
        format!("{spaced} 12/27 123"),
        format!("{spaced} 100 AUD"),
        format!("{number}|12|27|123"),
        format!("%B{number}^LEE/ANA^27121010000000000?"),
        format!(";{number}=27121010000000000000?"),
        format!("{number}D27121010000000000000"),
        in_digits_of(number, 0x660),
        in_digits_of(number, 0x966),
        in_digits_of(number, 0xFF10),
        in_digits_of(number, 0x1D7CE),
        groups(number, &[1], " "),
        groups(number, &[1], "\u{200b}"),
        groups(number, &[2], " "),
        groups(number, &[5], " "),
        groups(number, &[8], " "),
    ]
}

#[test]
fn every_way_to_write_a_card_number_is_seen() {
    let more = [
        ("220000", 16),
        ("272099", 16),
        ("301000", 14),
        ("352800", 16),
        ("358999", 16),
        ("508500", 16),
        ("503800", 18),
        ("589300", 16),
        ("606985", 16),
        ("676770", 16),
        ("622126", 16),
        ("625094", 19),
        ("810000", 16),
        ("817200", 16),
        ("860000", 16),
        ("970400", 16),
        ("979200", 16),
        ("986000", 16),
        ("636368", 16),
        ("506099", 19),
    ];
    let numbers = PUBLISHED.map(str::to_owned).into_iter();
    let numbers: Vec<String> = numbers
        .chain(more.map(|(prefix, length)| made(prefix, length)))
        .collect();
    let mut missed = Vec::new();
    let mut tried = 0;
    for number in &numbers {
        let mut ways = vec![number.clone()];
        ways.extend(JOINTS.iter().map(|joint| printed(number, joint)));
        // Old cards of thirteen digits, and what nobody writes in other groups than those on the card.
        let all = if number.len() == 13 { 12 } else { 21 };
        ways.extend(written(number).into_iter().take(all));
        // Two groups of eight may be two telephone numbers.
        let is_phones = number.len() == 16 && [0, 8].iter().all(|at| "5689".contains(&number[*at..=*at]));
        if is_phones {
            ways.retain(|way| *way != groups(number, &[8], " "));
        }
        for way in ways {
            tried += 1;
            if find(&json!({ "note": way })).is_none() {
                missed.push(way);
            }
        }
    }
    println!(
        "{} of {tried} ways to write {} numbers are missed",
        missed.len(),
        numbers.len()
    );
    assert!(missed.is_empty(), "{missed:?}");
}

#[test]
fn particular_texts_with_card_numbers_are_seen() {
    for text in [
        "4111-1111 1111-1111",
        "4111 11 111111 1111",
        "411111111111 1111",
        "4111111111111111123",
        "41111111111111111227123",
        "3782822463100051234",
        "4111 1111 1111 1111 5555 5555 5555 4444",
        "4111 1111 1111 1111 1227 123",
        "in 2026 4111 1111 1111 1111",
        "+4111111111111111",
        "\u{2460} 4111 1111 1111 1111",
        "4\u{fe0f}\u{20e3}1\u{fe0f}\u{20e3}1\u{fe0f}\u{20e3}1\u{fe0f}\u{20e3}111111111111",
        "DE89 4111 1111 1111 1111",
        "order 20261129 5555555555554444",
        "4111, 1111, 1111, 1111",
        "qty 2, 4111, 1111, 1111, 1111, 12/27",
        "3782, 822463, 10005",
        "%204111111111111111",
        "4111%2D1111%2d1111%2D1111",
        "5123 4567\n4111 1111 1111 1111",
        "51234567 4111111111111111",
        "41111111 11111111",
    ] {
        assert!(contains(text), "{text}");
    }
    for (member, text) in [
        ("external_id", "WEB-4111-1111-1111-1111"),
        ("external_id", "4111111111111111"),
        ("product_code", "SKU4111111111111111"),
        ("phone", "4111 1111 1111 1111"),
        ("phone", "+4111111111111111"),
        ("serial_number", "3782 822463 10005"),
        ("reference", "5555555555554444"),
        ("Tracking__c", "4111.1111.1111.1111"),
        ("phone", "4 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1"),
        ("reference", "3 7 8 2 8 2 2 4 6 3 1 0 0 0 5"),
        ("product_code", "5 5 5 5 5 5 5 5 5 5 5 5 4 4 4 4"),
        ("external_id", "4-1-1-1-1-1-1-1-1-1-1-1-1-1-1-1"),
        (
            "external_id",
            "4%201%201%201%201%201%201%201%201%201%201%201%201%201%201%201",
        ),
        ("phone", "4111, 1111, 1111, 1111"),
        ("phone", "4111%201111%201111%201111"),
        ("reference", "4111&nbsp;1111&nbsp;1111&nbsp;1111"),
        ("reference", "4111<br>1111<BR/>1111<br />1111"),
        ("phone", "4111 1111 1111\n1111"),
        ("phone", "4111\n1111\n1111\n1111"),
    ] {
        assert_eq!(find(&json!({ member: text })).as_deref(), Some(member), "{text}");
    }
}

#[test]
fn other_numbers_pass() {
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

/// Numbers of other kinds, as they are in use: the kind, the members that hold them, and how one is made.
type Kind = (
    &'static str,
    &'static [&'static str],
    fn(&mut fastrand::Rng) -> String,
);

fn digits(rng: &mut fastrand::Rng, count: usize) -> String {
    (0..count).map(|_| rng.digit(10)).collect()
}

fn letters(rng: &mut fastrand::Rng, count: usize) -> String {
    (0..count).map(|_| rng.uppercase()).collect()
}

fn pick<'a>(rng: &mut fastrand::Rng, of: &[&'a str]) -> &'a str {
    of[rng.usize(..of.len())]
}

/// With the check digit of GS1 behind it.
fn gs1(digits: &str) -> String {
    let weigh = |(place, c): (usize, char)| c.to_digit(10).unwrap() * if place % 2 == 0 { 3 } else { 1 };
    let sum: u32 = digits.chars().rev().enumerate().map(weigh).sum();
    format!("{digits}{}", (10 - sum % 10) % 10)
}

fn with_luhn(prefix: &str, rng: &mut fastrand::Rng, length: usize) -> String {
    let body = format!("{prefix}{}", digits(rng, length - 1 - prefix.len()));
    (0..10)
        .map(|check| format!("{body}{check}"))
        .find(|number| luhn(number))
        .unwrap()
}

fn sku(rng: &mut fastrand::Rng) -> String {
    match rng.u8(..6) {
        0 => format!("SKU-{}", digits(rng, 6)),
        1 => format!("{}-{}-{}", letters(rng, 3), digits(rng, 4), digits(rng, 4)),
        2 => digits(rng, 8),
        3 => format!("{}.{}.{}", digits(rng, 3), digits(rng, 3), digits(rng, 2)),
        4 => format!("{}{}-{}", letters(rng, 2), digits(rng, 10), letters(rng, 1)),
        _ => format!("{}-{}-{}", digits(rng, 6), digits(rng, 3), digits(rng, 2)),
    }
}

fn ean(rng: &mut fastrand::Rng) -> String {
    let digits = digits(rng, 12);
    gs1(&digits)
}

fn gtin(rng: &mut fastrand::Rng) -> String {
    let digits = digits(rng, 13);
    gs1(&digits)
}

fn tracking(rng: &mut fastrand::Rng) -> String {
    let plain = match rng.u8(..10) {
        0 => gs1(&format!("94{}", digits(rng, 19))),
        1 => gs1(&format!("92{}", digits(rng, 19))),
        2 => gs1(&format!("70{}", digits(rng, 17))),
        3 => {
            return format!(
                "1Z{}{}{}{}",
                letters(rng, 1),
                digits(rng, 2),
                letters(rng, 2),
                digits(rng, 11)
            );
        }
        4 => digits(rng, 12),
        5 => format!("9612{}", digits(rng, 11)),
        6 => gs1(&format!("00340434{}", digits(rng, 11))),
        7 => format!("{}{}", pick(rng, &["01", "05", "13", "15"]), digits(rng, 12)),
        8 => format!("{}{}", pick(rng, &["70", "73", "10", "80"]), digits(rng, 14)),
        _ => return format!("{}{}GB", letters(rng, 2), digits(rng, 9)),
    };
    if rng.bool() {
        groups(&plain, &[4], " ")
    } else {
        plain
    }
}

fn date(rng: &mut fastrand::Rng) -> [String; 3] {
    [rng.u32(2020..2031), rng.u32(1..13), rng.u32(1..29)].map(|part| format!("{part:02}"))
}

fn key(rng: &mut fastrand::Rng) -> String {
    let [year, month, day] = date(rng);
    let time = format!("{:02}{:02}{:02}", rng.u8(..24), rng.u8(..60), rng.u8(..60));
    match rng.u8(..6) {
        0 | 1 => format!("{year}{month}{day}-{time}-{}", digits(rng, 4)),
        2 => format!("{year}-{month}-{day}-{time}-{}", digits(rng, 4)),
        3 => format!("WEB-{year}{month}{day}-{}", digits(rng, 6)),
        4 => format!("17{}", digits(rng, 11)),
        _ => {
            let hex = format!("{:032x}", rng.u128(..));
            format!(
                "{}-{}-{}-{}-{}",
                &hex[..8],
                &hex[8..12],
                &hex[12..16],
                &hex[16..20],
                &hex[20..]
            )
        }
    }
}

/// A number of USPS Certified Mail: twenty digits in five groups.
fn certified_mail(rng: &mut fastrand::Rng) -> String {
    let prefix = pick(rng, &["70222410000", "7012", "7018", "7019"]);
    let rest = digits(rng, 20 - prefix.len());
    groups(&format!("{prefix}{rest}"), &[4], " ")
}

/// Thirteen digits that begin with 5 or 6, as platforms number orders, in a sentence or alone.
fn order_id_in_text(rng: &mut fastrand::Rng) -> String {
    let (first, rest) = (rng.u8(5..7), digits(rng, 12));
    let before = pick(rng, &["", "Order ", "#", "re: order no. "]);
    format!("{before}{first}{rest}")
}

/// Two telephone numbers of eight digits, as in Hong Kong, on two lines.
fn two_lines_of_phones(rng: &mut fastrand::Rng) -> String {
    let lengths: &[usize] = if rng.bool() { &[4, 4] } else { &[8] };
    let mut phone = || {
        let plain = format!("{}{}", pick(rng, &["2", "3", "5", "6", "9"]), digits(rng, 7));
        groups(&plain, lengths, " ")
    };
    [phone(), phone()].join("\n")
}

/// Two mobile telephone numbers of eight digits with a blank between.
fn two_mobiles(rng: &mut fastrand::Rng) -> String {
    format!("5{} 6{}", digits(rng, 7), digits(rng, 7))
}

/// As storefronts number their orders: thirteen digits that begin with 4, 5 or 6.
fn storefront_id(rng: &mut fastrand::Rng) -> String {
    format!("{}{}", rng.u8(4..7), digits(rng, 12))
}

fn phone(rng: &mut fastrand::Rng) -> String {
    let part = |rng: &mut fastrand::Rng, lengths: &[usize], joint: &str| {
        let count = lengths.iter().sum();
        groups(&digits(rng, count), lengths, joint)
    };
    match rng.u8(..9) {
        0 => format!("+61 4{}", part(rng, &[2, 3, 3], " ")),
        1 => format!("04{}", part(rng, &[2, 3, 3], " ")),
        2 => format!("({}) {}", digits(rng, 3), part(rng, &[3, 4], "-")),
        3 => format!("+49 15{} {}", digits(rng, 1), digits(rng, 8)),
        4 => format!("+33 6 {}", part(rng, &[2, 2, 2, 2], " ")),
        5 => format!("0{} {}", rng.u8(1..8), part(rng, &[2, 2, 2, 2], " ")),
        6 => format!("+44 7{} {}", digits(rng, 3), digits(rng, 6)),
        7 => format!("+57 3{}", digits(rng, 9)),
        _ => format!("{}-{}", digits(rng, 3), part(rng, &[3, 4], "-")),
    }
}

fn two_phones(rng: &mut fastrand::Rng) -> String {
    let joint = pick(rng, &[" / ", "/", ", ", "; ", " or ", "\n", " "]);
    format!("{}{joint}{}", phone(rng), phone(rng))
}

fn iban(rng: &mut fastrand::Rng) -> String {
    let (country, bank) = match rng.u8(..4) {
        0 => ("DE", digits(rng, 18)),
        1 => ("ES", digits(rng, 20)),
        2 => ("GB", format!("{}{}", letters(rng, 4), digits(rng, 14))),
        _ => ("FR", digits(rng, 23)),
    };
    let remainder = |text: &str| {
        let values = text.chars().map(|c| c.to_digit(36).unwrap());
        values.fold(0, |sum, value| {
            (sum * if value > 9 { 100 } else { 10 } + value) % 97
        })
    };
    let check = 98 - remainder(&format!("{bank}{country}00"));
    let plain = format!("{country}{check:02}{bank}");
    if rng.bool() {
        groups(&plain, &[4], " ")
    } else {
        plain
    }
}

fn imei(rng: &mut fastrand::Rng) -> String {
    let prefix = pick(rng, &["35", "86", "01", "99"]);
    let plain = with_luhn(prefix, rng, 15);
    match rng.u8(..3) {
        0 => groups(&plain, &[2, 6, 6, 1], "-"),
        1 => groups(&plain, &[2, 6, 6, 1], " "),
        _ => plain,
    }
}

fn iccid(rng: &mut fastrand::Rng) -> String {
    let prefix = pick(rng, &["8961", "8949", "8944", "8901"]);
    let length = rng.usize(19..21);
    let plain = with_luhn(prefix, rng, length);
    if rng.bool() {
        groups(&plain, &[4], " ")
    } else {
        plain
    }
}

fn gift_card(rng: &mut fastrand::Rng) -> String {
    let prefix = pick(
        rng,
        &["600649", "603628", "603571", "627571", "636490", "7777", "9999"],
    );
    let length = if rng.bool() { 16 } else { 19 };
    let plain = with_luhn(prefix, rng, length);
    if rng.bool() {
        groups(&plain, &[4], "-")
    } else {
        plain
    }
}

const KINDS: [Kind; 16] = [
    (
        "certified mail",
        &["Tracking__c", "note", "message"],
        certified_mail,
    ),
    (
        "order ids in text",
        &["note", "subject", "reason", "label"],
        order_id_in_text,
    ),
    (
        "telephone numbers on two lines",
        &["phone", "note"],
        two_lines_of_phones,
    ),
    ("two mobile telephone numbers", &["phone", "note"], two_mobiles),
    ("product codes", &["product_code", "note"], sku),
    ("EAN-13", &["product_code", "note"], ean),
    ("GTIN-14", &["product_code"], gtin),
    ("tracking numbers", &["Tracking__c", "note"], tracking),
    ("order keys", &["external_id", "note"], key),
    ("order numbers of 13 digits", &["external_id"], storefront_id),
    ("telephone numbers", &["phone", "note"], phone),
    ("two telephone numbers", &["phone", "note"], two_phones),
    ("IBAN", &["reference", "note"], iban),
    ("IMEI", &["serial_number", "note"], imei),
    ("ICCID", &["serial_number", "note"], iccid),
    ("gift cards", &["external_id", "note"], gift_card),
];

#[test]
fn other_numbers_are_hardly_ever_taken_for_cards() {
    const EACH: usize = 5_000;
    let mut too_many = Vec::new();
    for (kind, members, make) in KINDS {
        for member in members {
            let mut rng = fastrand::Rng::with_seed(7);
            let values: Vec<String> = (0..EACH).map(|_| make(&mut rng)).collect();
            let taken: Vec<&String> = values
                .iter()
                .filter(|value| find(&json!({ *member: value })).is_some())
                .collect();
            println!(
                "{kind} in {member}: {:.2} %",
                taken.len() as f64 * 100.0 / EACH as f64
            );
            // Fewer than one in a thousand.
            if taken.len() * 1_000 >= EACH {
                too_many.push(format!(
                    "{kind} in {member}: {}, such as {:?}",
                    taken.len(),
                    taken.iter().take(3).collect::<Vec<_>>()
                ));
            }
        }
    }
    assert!(too_many.is_empty(), "of {EACH}: {too_many:#?}");
}

#[test]
fn the_steps_grow_as_the_text_does() {
    let texts: [(&str, &str); 14] = [
        ("list", "4111, "),
        ("list of single digits", "1, "),
        ("lines of telephone numbers", "5123 4567\n"),
        ("escapes", "1%20"),
        ("beginnings of escapes", "&#"),
        ("single digits", "1 "),
        ("pairs", "41 "),
        ("fours", "4111 "),
        ("groups of a card", "3782 822463 10004 "),
        ("one number", "4"),
        ("numbers of a card's length", "4111111111111112 "),
        ("beginnings of IBAN", "DE89 "),
        ("signs", "1-------"),
        ("words", "a1"),
    ];
    for (what, part) in texts {
        let steps = |bytes: usize| Reading::of(&part.repeat(bytes / part.len()), Field::Text).steps;
        let (small, large) = (steps(10_000), steps(160_000));
        assert!(large <= small * 17, "{what}: {small} steps, then {large}");
        assert!(large <= 160_000 * 30, "{what}: {large} steps");
    }
}

#[test]
fn names_where_it_stands() {
    let order = json!({"items": [{"fields": {"Note__c": "4111 1111 1111 1111"}}]});
    assert_eq!(find(&order).as_deref(), Some("items[0].fields.Note__c"));
    assert_eq!(
        find(&json!({"n": 4_111_111_111_111_111_u64})).as_deref(),
        Some("n")
    );
    assert_eq!(find(&json!({"a": [true, null, "x"]})), None);
    assert_eq!(
        find(&json!({"4111111111111111": 1})).as_deref(),
        Some("a field's name")
    );
}
