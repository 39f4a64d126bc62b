//! How old an answer may be: by the objects that it is made of.
//!
//! What is known of each object is looked at once a second and on its way out turned into an age. It is taken before
//! the rows are read, so that rows are never older than is said of them. The feed's table says which objects are part
//! of what, here stands which of that an address shows.

use axum::http::{HeaderMap, HeaderName, HeaderValue};

use crate::model::clock::Moment;
use crate::model::freshness::{Standing, State, Truth};
use crate::store::storefront::feed;

const STATE: HeaderName = HeaderName::from_static("storesync-state");
const LAG: HeaderName = HeaderName::from_static("storesync-lag-seconds");

/// What answers are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// All objects, or what is in no object.
    All,
    Settings,
    Categories,
    Products,
    Taxes,
    Shipping,
    Payment,
    Authentication,
    Promotions,
    Forms,
    Bookings,
    Customers,
    /// What an order is made of.
    Orders,
}

/// The objects of customers' answers, which are not part of what all are shown.
const OF_CUSTOMERS: &[&str] = &[
    "Account",
    "Contact",
    "Order",
    "OrderItem",
    "Asset",
    "Case",
    "s_c__Account_Points_Ledger__c",
    "s_c__Account_Credit__c",
    "s_c__Membership__c",
    "s_c__Subscription__c",
];

impl Subject {
    const ALL: [Self; 13] = [
        Self::All,
        Self::Settings,
        Self::Categories,
        Self::Products,
        Self::Taxes,
        Self::Shipping,
        Self::Payment,
        Self::Authentication,
        Self::Promotions,
        Self::Forms,
        Self::Bookings,
        Self::Customers,
        Self::Orders,
    ];

    /// Of a route, by its name.
    pub fn of(route: &str) -> Self {
        match route {
            "resolve" | "listStores" | "getStore" | "listRoutes" => Self::Settings,
            "listCategories" => Self::Categories,
            "listProducts" | "getProduct" | "listPrices" => Self::Products,
            "listTaxes" => Self::Taxes,
            "listShippingMethods" | "listCollectionPoints" | "listDeliveryWindows" => Self::Shipping,
            "listPaymentProviders" => Self::Payment,
            "listAuthProviders" => Self::Authentication,
            "listPromotions" => Self::Promotions,
            "listForms" => Self::Forms,
            "listBookings" | "listAvailability" => Self::Bookings,
            "getCustomer" | "listCustomerOrders" | "listCustomerAssets" | "listCustomerCases"
            | "listCustomerPoints" => Self::Customers,
            "placeOrder" => Self::Orders,
            _ => Self::All,
        }
    }

    /// As the feed names it.
    fn topics(self) -> &'static [&'static str] {
        match self {
            Self::All | Self::Customers => &[],
            Self::Settings => &["settings"],
            Self::Categories => &["settings", "categories"],
            Self::Products | Self::Orders => &["settings", "categories", "products", "prices", "stock"],
            Self::Taxes => &["settings", "taxes", "zones"],
            Self::Shipping => &["settings", "shipping", "zones"],
            Self::Payment => &["settings", "payment"],
            Self::Authentication => &["settings", "authentication"],
            Self::Promotions => &["settings", "promotions", "prices"],
            Self::Forms => &["settings", "forms"],
            Self::Bookings => &["settings", "bookings"],
        }
    }

    fn standing(self, truth: &Truth) -> Standing {
        match self {
            Self::All => truth.all().clone(),
            Self::Customers => truth.of(OF_CUSTOMERS.iter().copied()),
            Self::Orders => truth.of(feed::objects_of(self.topics()).chain(["Contact"])),
            _ => truth.of(feed::objects_of(self.topics())),
        }
    }
}

/// How each subject stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Freshness {
    truth: Truth,
    /// In the order of [`Subject::ALL`]; none before the first look.
    subjects: Vec<Standing>,
}

impl Freshness {
    pub fn new(truth: Truth) -> Self {
        Self {
            subjects: Subject::ALL.map(|subject| subject.standing(&truth)).into(),
            truth,
        }
    }

    pub fn truth(&self) -> &Truth {
        &self.truth
    }

    fn of(&self, subject: Subject) -> &Standing {
        self.subjects.get(subject as usize).unwrap_or(self.truth.all())
    }

    /// Whether an object of a subject has never been complete.
    pub fn is_initializing(&self, subject: Subject, now: Moment) -> bool {
        self.of(subject).state(now) == State::Initializing
    }

    /// What answers about a subject say.
    pub fn told(&self, subject: Subject) -> Told {
        Told::of(self.of(subject))
    }

    /// What answers with rows of an object say.
    pub fn told_of(&self, object: &str) -> Told {
        Told::of(self.truth.object(object).unwrap_or(self.truth.all()))
    }
}

/// What was known before an answer was made.
#[derive(Clone, Debug)]
pub struct Told(Standing);

impl Told {
    fn of(standing: &Standing) -> Self {
        Self(standing.clone())
    }

    /// Says it, with the age as it is now. What an answer says already is more exact.
    pub fn tell(&self, headers: &mut HeaderMap, now: Moment) {
        if headers.contains_key(STATE) {
            return;
        }
        headers.insert(STATE, HeaderValue::from_static(self.0.state(now).name()));
        if let Some(seconds) = self.0.lag_seconds(now) {
            headers.insert(LAG, seconds.into());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serve::routes;

    #[test]
    fn every_subject_is_made_of_objects_that_the_feed_knows() {
        for (index, subject) in Subject::ALL.into_iter().enumerate() {
            assert_eq!(subject as usize, index);
            for topic in subject.topics() {
                assert!(feed::objects_of(&[topic]).next().is_some(), "{topic}");
            }
        }
    }

    #[test]
    fn every_address_that_shows_rows_says_of_which_objects() {
        let by_object = ["listObject", "getObject"];
        let of_no_object = ["openapi", "followChanges", "getOrder", "getWrite"];
        for route in routes::storefront().filter(|route| route.method == "get") {
            let is_all = by_object.contains(&route.name) || of_no_object.contains(&route.name);
            assert_eq!(Subject::of(route.name) == Subject::All, is_all, "{}", route.name);
        }
    }
}
