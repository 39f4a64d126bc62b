//! How old an answer may be: by the objects that it is made of.
//!
//! What is known of each object is looked at once a second and on its way out turned into an age. It is taken before
//! the rows are read, so that rows are never older than is said of them. The feed's table says which objects are part
//! of what, here stands which of that an address shows.

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;

use crate::model::clock::Moment;
use crate::model::freshness::{Progress, Standing, State, Truth};
use crate::store::storefront::feed;

const STATE: HeaderName = HeaderName::from_static("storesync-state");
const LAG: HeaderName = HeaderName::from_static("storesync-lag-seconds");

/// What answers are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// All objects, or what is in no object.
    All,
    /// The store that an address begins with.
    Settings,
    Resolved,
    Categories,
    Products,
    /// What one customer is shown of the products.
    ProductsForCustomer,
    Taxes,
    Shipping,
    Payment,
    Authentication,
    Promotions,
    PromotionsForCustomer,
    Forms,
    Bookings,
    Customer,
    CustomerOrders,
    CustomerAssets,
    CustomerCases,
    CustomerPoints,
    /// What an order is made of.
    Orders,
}

/// The objects that say who a customer is, which are not part of what all are shown. Orders prove memberships.
const OF_CUSTOMERS: [&str; 4] = ["Account", "Contact", "Order", "OrderItem"];

impl Subject {
    const ALL: [Self; 20] = [
        Self::All,
        Self::Settings,
        Self::Resolved,
        Self::Categories,
        Self::Products,
        Self::ProductsForCustomer,
        Self::Taxes,
        Self::Shipping,
        Self::Payment,
        Self::Authentication,
        Self::Promotions,
        Self::PromotionsForCustomer,
        Self::Forms,
        Self::Bookings,
        Self::Customer,
        Self::CustomerOrders,
        Self::CustomerAssets,
        Self::CustomerCases,
        Self::CustomerPoints,
        Self::Orders,
    ];

    /// Of a route, by its name.
    pub fn of(route: &str) -> Self {
        match route {
            "listStores" | "getStore" | "listRoutes" => Self::Settings,
            "resolve" => Self::Resolved,
            "listCategories" => Self::Categories,
            "listProducts" | "getProduct" | "listPrices" => Self::Products,
            "listTaxes" => Self::Taxes,
            "listShippingMethods" | "listCollectionPoints" | "listDeliveryWindows" => Self::Shipping,
            "listPaymentProviders" => Self::Payment,
            "listAuthProviders" => Self::Authentication,
            "listPromotions" => Self::Promotions,
            "listForms" => Self::Forms,
            "listBookings" | "listAvailability" => Self::Bookings,
            "getCustomer" => Self::Customer,
            "listCustomerOrders" => Self::CustomerOrders,
            "listCustomerAssets" => Self::CustomerAssets,
            "listCustomerCases" => Self::CustomerCases,
            "listCustomerPoints" => Self::CustomerPoints,
            "placeOrder" => Self::Orders,
            _ => Self::All,
        }
    }

    /// The same where the query names a customer.
    pub fn asked(self, query: Option<&str>) -> Self {
        let is_customer = |pair: &str| pair.split_once('=').is_some_and(|(name, _)| name == "customer");
        let names_customer = query.is_some_and(|query| query.split('&').any(is_customer));
        match self {
            Self::Products if names_customer => Self::ProductsForCustomer,
            Self::Promotions if names_customer => Self::PromotionsForCustomer,
            _ => self,
        }
    }

    /// As the feed names it.
    fn topics(self) -> &'static [&'static str] {
        match self {
            Self::All => &[],
            Self::Settings
            | Self::Customer
            | Self::CustomerOrders
            | Self::CustomerAssets
            | Self::CustomerCases
            | Self::CustomerPoints => &["settings"],
            Self::Resolved => &["settings", "zones"],
            Self::Categories => &["settings", "categories"],
            Self::Products | Self::ProductsForCustomer | Self::Orders => {
                &["settings", "categories", "products", "prices", "stock"]
            }
            Self::Taxes => &["settings", "taxes", "zones"],
            Self::Shipping => &["settings", "shipping", "zones"],
            Self::Payment => &["settings", "payment"],
            Self::Authentication => &["settings", "authentication"],
            Self::Promotions | Self::PromotionsForCustomer => &["settings", "promotions", "prices"],
            Self::Forms => &["settings", "forms", "categories", "products"],
            Self::Bookings => &["settings", "bookings"],
        }
    }

    /// Objects of other topics, or of none.
    fn besides(self) -> &'static [&'static str] {
        match self {
            Self::Settings => &["s_c__Zone__c"],
            Self::Resolved => &["Account"],
            Self::Categories => &["s_c__Media__c"],
            Self::Shipping => &["Product2", "s_c__Stock_Location__c"],
            Self::ProductsForCustomer | Self::PromotionsForCustomer | Self::CustomerOrders => &OF_CUSTOMERS,
            Self::Customer => &[
                "Account",
                "Contact",
                "Order",
                "OrderItem",
                "s_c__Account_Points_Ledger__c",
                "s_c__Membership__c",
                "s_c__Products_Product_Categories__c",
                "s_c__Subscription__c",
            ],
            Self::CustomerAssets => &["Account", "Contact", "Asset"],
            Self::CustomerCases => &["Account", "Contact", "Case"],
            Self::CustomerPoints => &["Account", "Contact", "s_c__Account_Points_Ledger__c"],
            Self::Orders => &["Contact"],
            _ => &[],
        }
    }

    fn objects(self) -> impl Iterator<Item = &'static str> {
        feed::objects_of(self.topics()).chain(self.besides().iter().copied())
    }

    fn standing(self, truth: &Truth) -> Standing {
        match self {
            Self::All => truth.all().clone(),
            _ => truth.of(self.objects()),
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

    /// How far the first load of a subject's objects has come.
    pub fn progress(&self, subject: Subject, now: Moment) -> Progress {
        match subject {
            Subject::All => self.truth.progress(None::<[&str; 0]>, now),
            _ => self.truth.progress(Some(subject.objects()), now),
        }
    }

    /// What answers about a subject say.
    pub fn told(&self, subject: Subject) -> Told {
        Told::of(self.of(subject))
    }

    /// What answers with rows of an object say.
    pub fn told_of(&self, object: &str) -> Told {
        Told::of(self.truth.object(object).unwrap_or(self.truth.all()))
    }

    /// What a stream about several objects says; about all where none is named.
    pub fn told_of_all<'n>(&self, objects: impl IntoIterator<Item = &'n str>) -> Told {
        Told(self.truth.of(objects))
    }
}

/// What was known before an answer was made.
#[derive(Clone, Debug)]
pub struct Told(Standing);

impl Told {
    fn of(standing: &Standing) -> Self {
        Self(standing.clone())
    }

    /// An object that the answer is made of has never been complete.
    pub fn is_initializing(&self, now: Moment) -> bool {
        self.0.state(now) == State::Initializing
    }

    /// Puts it among the members of an event.
    pub fn describe(&self, data: &mut Value, now: Moment) {
        data["state"] = self.0.state(now).name().into();
        data["lag_seconds"] = self.0.lag_seconds(now).into();
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
    fn who_names_a_customer_is_shown_what_more_objects_say() {
        for (subject, query, expected) in [
            (Subject::Products, None, Subject::Products),
            (Subject::Products, Some("limit=2&membership=m"), Subject::Products),
            (
                Subject::Products,
                Some("limit=2&customer=C-7"),
                Subject::ProductsForCustomer,
            ),
            (
                Subject::Promotions,
                Some("customer=C-7"),
                Subject::PromotionsForCustomer,
            ),
            (Subject::Taxes, Some("customer=C-7"), Subject::Taxes),
        ] {
            assert_eq!(subject.asked(query), expected, "{query:?}");
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
