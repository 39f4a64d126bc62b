//! Ids of the org's records: their two lengths, and the objects that their first three characters tell. Pure.

/// Whether a text has the form of an id.
pub fn is_id(text: &str) -> bool {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric());
    // The last three of 18 say which of the others are capitals.
    is_plain && (text.len() == 15 || text.len() == 18 && text == with_checksum(&text[..15]))
}

/// An id in its 18 characters, which differ by more than case. Any other text stays as it is.
pub fn long(text: &str) -> String {
    match text.len() == 15 && is_id(text) {
        true => with_checksum(text),
        false => text.to_owned(),
    }
}

fn with_checksum(text: &str) -> String {
    let mut id = text.to_owned();
    for five in text.as_bytes().chunks(5) {
        let capitals = five.iter().enumerate();
        let capitals = capitals.filter(|(_, byte)| byte.is_ascii_uppercase());
        let sum: u8 = capitals.map(|(at, _)| 1_u8 << at).sum();
        id.push(char::from(match sum {
            0..26 => b'A' + sum,
            _ => b'0' + (sum - 26),
        }));
    }
    id
}

/// The characters that tell the object.
pub fn prefix(id: &str) -> Option<&str> {
    id.get(..3).filter(|_| is_id(id))
}

/// The standard object that an id is of, the same in every org; `None` of any other object.
pub fn standard_object(id: &str) -> Option<&'static str> {
    let prefix = prefix(id)?;
    let known = STANDARD.iter().find(|(own, _)| *own == prefix);
    known.map(|(_, object)| *object)
}

/// Whether ids of an object begin alike in every org.
pub fn has_standard_prefix(object: &str) -> bool {
    STANDARD
        .iter()
        .any(|(_, standard)| standard.eq_ignore_ascii_case(object))
}

/// What is said of an id of another object than those that a member takes.
pub fn refusal(found: &str, expected: &[impl AsRef<str>]) -> String {
    let named: Vec<&str> = expected.iter().take(NAMED_MAX).map(AsRef::as_ref).collect();
    let more = match expected.len().saturating_sub(NAMED_MAX) {
        0 => String::new(),
        more => format!(" or {more} more"),
    };
    format!("is an id of {found}: give an id of {}{more}", named.join(" or "))
}

/// Most objects that a refusal names.
const NAMED_MAX: usize = 4;

const STANDARD: [(&str, &str); 28] = [
    ("001", "Account"),
    ("003", "Contact"),
    ("005", "User"),
    ("006", "Opportunity"),
    ("00D", "Organization"),
    ("00E", "UserRole"),
    ("00G", "Group"),
    ("00Q", "Lead"),
    ("00T", "Task"),
    ("00U", "Event"),
    ("00e", "Profile"),
    ("00k", "OpportunityLineItem"),
    ("00v", "CampaignMember"),
    ("012", "RecordType"),
    ("015", "Document"),
    ("01s", "Pricebook2"),
    ("01t", "Product2"),
    ("01u", "PricebookEntry"),
    ("02i", "Asset"),
    ("068", "ContentVersion"),
    ("069", "ContentDocument"),
    ("0Q0", "Quote"),
    ("131", "Location"),
    ("500", "Case"),
    ("701", "Campaign"),
    ("800", "Contract"),
    ("801", "Order"),
    ("802", "OrderItem"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_of_15_characters_is_the_one_of_18() {
        // Ids of public record, as Salesforce writes them.
        for (short, expected) in [
            ("001B000001CjFMy", "001B000001CjFMyIAN"),
            ("00530000009M943", "00530000009M943AAC"),
            ("0015000000Gv7qJ", "0015000000Gv7qJAAR"),
            ("0015000000Gv7qJAAR", "0015000000Gv7qJAAR"),
            ("WEB-1", "WEB-1"),
            ("no id of the or", "no id of the or"),
        ] {
            assert_eq!(long(short), expected);
        }
    }

    #[test]
    fn the_last_three_of_18_characters_belong_to_the_others() {
        for (text, expected) in [
            ("001B000001CjFMyIAN", true),
            ("001B000001CjFMy", true),
            ("001b000001cjfmyian", false),
            ("001B000001CjFMyIAX", false),
            ("001B000001CjFMyIA", false),
            ("001B000001CjFM IAN", false),
        ] {
            assert_eq!(is_id(text), expected, "{text}");
        }
    }

    #[test]
    fn an_id_tells_its_object() {
        for (id, expected) in [
            ("001D000000IRFmaIAH", Some("Account")),
            ("00e58000001JFbx", Some("Profile")),
            ("a0B58000001JFbx", None),
            ("001", None),
        ] {
            assert_eq!(standard_object(id), expected, "{id}");
        }
        let many = ["Account", "Contact", "Lead", "Case", "Order", "Asset"];
        assert_eq!(
            refusal("User", &many[..2]),
            "is an id of User: give an id of Account or Contact"
        );
        assert_eq!(
            refusal("User", &many),
            "is an id of User: give an id of Account or Contact or Lead or Case or 2 more"
        );
    }
}
