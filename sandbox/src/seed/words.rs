//! The names that seeded rows are made of.

/// A store: name, domain, currency, country, locale, time zone, price against the Australian dollar.
pub struct StoreWords {
    pub name: &'static str,
    pub code: &'static str,
    pub currency: &'static str,
    pub country: &'static str,
    pub locale: &'static str,
    pub timezone: &'static str,
    pub rate: f64,
}

const fn store(
    name: &'static str,
    code: &'static str,
    currency: &'static str,
    country: &'static str,
    locale: &'static str,
    timezone: &'static str,
    rate: f64,
) -> StoreWords {
    StoreWords {
        name,
        code,
        currency,
        country,
        locale,
        timezone,
        rate,
    }
}

pub const STORES: [StoreWords; 8] = [
    store(
        "Harbour & Pine",
        "harbour-pine",
        "AUD",
        "AUS",
        "en-AU",
        "Australia/Sydney",
        1.0,
    ),
    store(
        "Northlight Supply",
        "northlight",
        "USD",
        "USA",
        "en-US",
        "America/Los_Angeles",
        0.65,
    ),
    store(
        "Maison Claire",
        "maison-claire",
        "EUR",
        "FRA",
        "fr-FR",
        "Europe/Paris",
        0.6,
    ),
    store(
        "Thistle & Oak",
        "thistle-oak",
        "GBP",
        "GBR",
        "en-GB",
        "Europe/London",
        0.52,
    ),
    store(
        "Kauri Lane",
        "kauri-lane",
        "NZD",
        "NZL",
        "en-NZ",
        "Pacific/Auckland",
        1.09,
    ),
    store(
        "Maple Outfitters",
        "maple",
        "CAD",
        "CAN",
        "en-CA",
        "America/Toronto",
        0.89,
    ),
    store(
        "Lion City Goods",
        "lion-city",
        "SGD",
        "SGP",
        "en-SG",
        "Asia/Singapore",
        0.87,
    ),
    store(
        "Alpenrose",
        "alpenrose",
        "CHF",
        "CHE",
        "de-CH",
        "Europe/Zurich",
        0.57,
    ),
];

/// Country, its sales tax's name, rate in percent, whether shop prices hold it.
pub const COUNTRIES: [(&str, &str, &str, f64, bool); 8] = [
    ("AUS", "Australia", "GST", 10.0, true),
    ("USA", "United States", "Sales Tax", 7.25, false),
    ("FRA", "France", "TVA", 20.0, true),
    ("GBR", "United Kingdom", "VAT", 20.0, true),
    ("NZL", "New Zealand", "GST", 15.0, true),
    ("CAN", "Canada", "GST", 5.0, false),
    ("SGP", "Singapore", "GST", 9.0, true),
    ("CHE", "Switzerland", "MWST", 8.1, true),
];

/// Country, state code, state, a postcode there.
pub const STATES: [(&str, &str, &str, &str); 12] = [
    ("AUS", "NSW", "New South Wales", "2000"),
    ("AUS", "VIC", "Victoria", "3000"),
    ("AUS", "QLD", "Queensland", "4000"),
    ("AUS", "TAS", "Tasmania", "7000"),
    ("USA", "CA", "California", "94105"),
    ("USA", "NY", "New York", "10001"),
    ("USA", "OR", "Oregon", "97205"),
    ("FRA", "IDF", "Île-de-France", "75001"),
    ("GBR", "ENG", "England", "SW1A 1AA"),
    ("GBR", "SCT", "Scotland", "EH1 1YZ"),
    ("NZL", "AUK", "Auckland", "1010"),
    ("CAN", "ON", "Ontario", "M5V 2T6"),
];

/// Departments with the categories below them.
pub const DEPARTMENTS: [(&str, [&str; 3]); 4] = [
    ("Kitchen", ["Mugs & Cups", "Cookware", "Tea & Coffee"]),
    ("Living", ["Throws & Cushions", "Lighting", "Baskets"]),
    ("Outdoor", ["Camping", "Garden Tools", "Picnic"]),
    ("Stationery", ["Notebooks", "Pens & Pencils", "Desk"]),
];

pub const ADJECTIVES: [&str; 20] = [
    "Classic", "Rustic", "Harbour", "Nordic", "Handmade", "Coastal", "Vintage", "Everyday", "Folded",
    "Speckled", "Alpine", "Little", "Grand", "Woven", "Midnight", "Amber", "Meadow", "Stone", "Cedar",
    "Linen",
];

pub const MATERIALS: [&str; 14] = [
    "Oak", "Ceramic", "Wool", "Brass", "Cotton", "Glass", "Leather", "Bamboo", "Steel", "Copper", "Felt",
    "Walnut", "Enamel", "Paper",
];

/// Things to sell, by department.
pub const THINGS: [[&str; 6]; 4] = [
    [
        "Mug",
        "Teapot",
        "Saucepan",
        "Coffee Dripper",
        "Chopping Board",
        "Bowl",
    ],
    ["Throw", "Cushion", "Lamp", "Basket", "Vase", "Candle Holder"],
    [
        "Lantern",
        "Trowel",
        "Picnic Rug",
        "Camp Stool",
        "Flask",
        "Hammock",
    ],
    [
        "Notebook",
        "Fountain Pen",
        "Pencil Case",
        "Desk Tray",
        "Calendar",
        "Sketchbook",
    ],
];

pub const FAMILIES: [&str; 4] = ["Homewares", "Homewares", "Outdoor", "Stationery"];

pub const FIRST_NAMES: [&str; 24] = [
    "Ana", "Ben", "Chloé", "Dev", "Ella", "Finn", "Grace", "Hugo", "Isla", "Jun", "Kiri", "Liam", "Mia",
    "Noah", "Olga", "Priya", "Quinn", "Rosa", "Sam", "Tane", "Uma", "Viktor", "Wren", "Zoë",
];

pub const LAST_NAMES: [&str; 20] = [
    "Lee", "Nguyen", "O'Brien", "Martin", "Silva", "Kowalski", "Patel", "Müller", "Smith", "Tanaka",
    "Walker", "Dubois", "Ngata", "Rossi", "Haddad", "Svensson", "Brown", "Moreau", "Clarke", "Singh",
];

pub const STREETS: [&str; 8] = [
    "High Street",
    "Station Road",
    "Harbour Parade",
    "Mill Lane",
    "Park Avenue",
    "Church Street",
    "Ocean Drive",
    "Elm Grove",
];
