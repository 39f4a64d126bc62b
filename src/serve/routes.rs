//! All addresses of both listeners, in one table each.
//!
//! The router, the check of tokens and the OpenAPI document are all made from it, so that a new address cannot be
//! without one of them.

use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::extract::{DefaultBodyLimit, MatchedPath};
use axum::http::Method;
use axum::response::IntoResponse as _;
use axum::routing::{MethodRouter, get, patch, post};

use crate::model::write::kinds;
use crate::serve::access::{Access, Gate, Place};
use crate::serve::freshness::Subject;
use crate::serve::pool::Pools;
use crate::serve::problem::wrong_method;
use crate::serve::{
    BODY_BYTES_MAX, World, admin, admin_orders, audit, catalogue, changes, customers, metrics, openapi,
    orders, settings, writes,
};

/// One address and method.
pub struct Route {
    pub method: &'static str,
    pub path: &'static str,
    pub access: Access,
    /// Of the operation, for clients that are generated from the document.
    pub name: &'static str,
    pub summary: &'static str,
    /// What may stand in the query: names in [`openapi::PARAMETERS`].
    pub query: &'static [&'static str],
    /// Schema of the body that is sent.
    pub takes: Option<&'static str>,
    pub status: u16,
    /// Schema of the answer where all goes well.
    pub gives: &'static str,
    /// What answers, behind the gate it is given.
    handler: fn(&Arc<Gate>) -> MethodRouter<World>,
}

impl Route {
    /// Whether answers say how well the cache follows the org.
    pub fn is_dated(&self) -> bool {
        !matches!(self.gives, "Text" | "Lines")
    }

    /// Whether answers are made of the cache's rows.
    pub fn is_read(&self) -> bool {
        let is_written = WRITTEN.iter().any(|route| route.name == self.name);
        let is_open = self.access == Access::Open || self.access.role().is_some();
        self.method == "get" && !is_open && !is_written
    }

    /// Where its answers are made: reads of many rows in a pool, as everything is that operators ask of the files.
    fn place(&self, pools: &Pools) -> Place {
        if self.access.role().is_some() {
            return Place::Pool(Arc::clone(&pools.admin));
        }
        if self.takes.is_some() {
            return Place::PoolIfLarge(Arc::clone(&pools.writes));
        }
        match self.gives == "Events" || OF_ONE_ROW.contains(&self.name) {
            true => Place::Here,
            false => Place::Pool(Arc::clone(&pools.storefront)),
        }
    }

    /// Whether answers have a tag, so that who has one from before can ask whether it is still right. Those about
    /// customers, and what becomes of a write, are to be kept by nobody.
    pub fn is_tagged(&self) -> bool {
        let may_be_kept = match self.access {
            Access::Any | Access::Store | Access::Org => true,
            Access::Open => self.name == "openapi",
            Access::Customers | Access::Orders | Access::CustomerChanges => false,
            Access::View | Access::Watch | Access::Operate | Access::Export => false,
        };
        may_be_kept && self.method == "get" && self.gives != "Events" && self.is_dated()
    }
}

/// Reads that look at as many rows as an answer of one thing takes.
const OF_ONE_ROW: &[&str] = &[
    "openapi",
    "resolve",
    "getStore",
    "getProduct",
    "getObject",
    "getOrder",
    "getWrite",
    "livez",
    "readyz",
];

/// What is the same for most.
const GET: Route = Route {
    method: "get",
    path: "",
    access: Access::Store,
    name: "",
    summary: "",
    query: &[],
    takes: None,
    status: 200,
    gives: "List",
    handler: |gate| get(gate.before(|| async {})),
};

macro_rules! routes {
    ($($method:ident $path:literal $access:ident $name:literal $summary:literal [$($query:literal)*] => $gives:literal, $handler:expr;)*) => {
        &[$(Route {
            method: stringify!($method),
            path: $path,
            access: Access::$access,
            name: $name,
            summary: $summary,
            query: &[$($query),*],
            gives: $gives,
            handler: |gate| $method(gate.before($handler)),
            ..GET
        }),*]
    };
}

/// Addresses that take a body.
macro_rules! posted {
    ($($method:ident $path:literal $access:ident $name:literal $summary:literal $takes:literal $status:literal => $gives:literal, $handler:expr;)*) => {
        &[$(Route {
            method: stringify!($method),
            path: $path,
            access: Access::$access,
            name: $name,
            summary: $summary,
            takes: Some($takes),
            status: $status,
            gives: $gives,
            handler: |gate| $method(gate.before($handler)),
            ..GET
        }),*]
    };
}

/// What storefronts reach; all but what they write.
const READ: &[Route] = routes! {
    get "/openapi.json" Open "openapi" "This document" [] => "Any", openapi::storefront;
    get "/v1/resolve" Any "resolve" "The store at a host and path, and the one to suggest for a country"
        ["host" "path" "country"] => "Resolved", settings::resolve;
    get "/v1/stores" Any "listStores" "All stores" [] => "StoreList", catalogue::stores;
    get "/v1/stores/{store}" Store "getStore" "A store with its settings" [] => "Store", catalogue::store;
    get "/v1/stores/{store}/products" Store "listProducts" "What the store shows to a visitor"
        ["limit" "cursor" "customer" "membership" "category" "product" "product_code" "family" "brand" "master"]
        => "ProductList", catalogue::products;
    get "/v1/stores/{store}/products/{product}" Store "getProduct" "A product by id, slug or code, with variants and media"
        ["customer" "membership"] => "Product", catalogue::product;
    get "/v1/stores/{store}/prices" Store "listPrices" "What products are offered for to a visitor"
        ["limit" "cursor" "customer" "membership" "category" "product" "product_code" "family" "brand" "master"]
        => "PriceList", catalogue::prices;
    get "/v1/stores/{store}/categories" Store "listCategories" "The categories as a tree" [] => "CategoryList",
        catalogue::categories;
    get "/v1/stores/{store}/taxes" Store "listTaxes" "Taxes in force at an address"
        ["country" "state" "city" "postcode" "billing_country" "billing_state" "billing_city" "billing_postcode" "product"]
        => "TaxList", settings::taxes;
    get "/v1/stores/{store}/shipping-methods" Store "listShippingMethods" "Rates that an address and an order qualify for"
        ["country" "state" "city" "postcode" "total" "weight" "products"] => "ShippingList", settings::shipping_methods;
    get "/v1/stores/{store}/collection-points" Store "listCollectionPoints" "Where orders may be collected"
        ["limit" "cursor"] => "List", settings::collection_points;
    get "/v1/stores/{store}/delivery-windows" Store "listDeliveryWindows" "When orders may be delivered"
        ["limit" "cursor"] => "List", settings::delivery_windows;
    get "/v1/stores/{store}/payment-providers" Store "listPaymentProviders" "Ways to pay" ["limit" "cursor"] => "List",
        settings::payment_providers;
    get "/v1/stores/{store}/auth-providers" Store "listAuthProviders" "Ways to log in" ["limit" "cursor"] => "List",
        settings::auth_providers;
    get "/v1/stores/{store}/promotions" Store "listPromotions" "Promotions and discounts that are open to a visitor now"
        ["customer" "membership" "coupon"] => "PromotionList", settings::promotions;
    get "/v1/stores/{store}/forms" Store "listForms" "Forms with their questions" ["limit" "cursor"] => "List",
        settings::forms;
    get "/v1/stores/{store}/bookings" Store "listBookings" "Dated events with the places left" ["limit" "cursor"] => "List",
        settings::bookings;
    get "/v1/stores/{store}/availability" Store "listAvailability" "Recurring times that can be booked, or are blocked"
        ["limit" "cursor"] => "List", settings::availability;
    get "/v1/stores/{store}/routes" Store "listRoutes" "Redirects and rewrites for paths with nothing at them"
        ["limit" "cursor"] => "List", settings::routes;
    get "/v1/stores/{store}/customers/{customer}" Customers "getCustomer" "A customer by id, external id or e-mail"
        [] => "Customer", customers::customer;
    get "/v1/stores/{store}/customers/{customer}/orders" Customers "listCustomerOrders"
        "Orders across all stores, those on their way first; of a contact's colleagues only with serve.account_history" ["limit" "cursor"] => "List", customers::orders;
    get "/v1/stores/{store}/customers/{customer}/assets" Customers "listCustomerAssets" "What the customer owns; what colleagues own only with serve.account_history"
        ["limit" "cursor"] => "List", customers::assets;
    get "/v1/stores/{store}/customers/{customer}/cases" Customers "listCustomerCases" "Service requests; those of colleagues only with serve.account_history"
        ["limit" "cursor"] => "List", customers::cases;
    get "/v1/stores/{store}/customers/{customer}/points" Customers "listCustomerPoints" "Entries of the points ledger"
        ["limit" "cursor"] => "List", customers::points;
    get "/v1/objects/{object}" Org "listObject" "Rows of a mirrored object; any column may be asked to equal a value"
        ["limit" "cursor" "fields"] => "List", catalogue::objects;
    get "/v1/objects/{object}/{id}" Org "getObject" "A row of a mirrored object" [] => "Row", catalogue::object;
    get "/v1/changes" Any "followChanges" "What changes, as server-sent events" ["store" "objects" "rows" "since"]
        => "Events", changes::changes;
};

/// What storefronts write.
const WRITES: &[Route] = posted! {
    post "/v1/stores/{store}/orders" Orders "placeOrder" "Takes an order, once" "NewOrder" 202 => "Accepted", orders::place;
    post "/v1/stores/{store}/customers" Orders "putCustomer" "Takes a customer who signs up, or is changed where the token is for data of customers, once" "NewCustomer" 202 => "Accepted",
        writes::collection(&kinds::CUSTOMER);
    post "/v1/stores/{store}/cases" Orders "createCase" "Takes a service request, once" "NewCase" 202 => "Accepted",
        writes::collection(&kinds::CASE);
    post "/v1/stores/{store}/leads" Orders "createLead" "Takes a lead, once" "NewLead" 202 => "Accepted",
        writes::collection(&kinds::LEAD);
    post "/v1/stores/{store}/campaign-members" Orders "joinCampaign" "Takes a campaign member, once" "NewCampaignMember" 202 => "Accepted",
        writes::collection(&kinds::CAMPAIGN_MEMBER);
    post "/v1/stores/{store}/assets" Orders "createAsset" "Takes an asset, once" "NewAsset" 202 => "Accepted",
        writes::collection(&kinds::ASSET);
    post "/v1/stores/{store}/form-submissions" Orders "submitForm" "Takes a form with its answers, once" "NewFormSubmission" 202 => "Accepted",
        writes::collection(&kinds::FORM_SUBMISSION);
    patch "/v1/stores/{store}/customers/{customer}" CustomerChanges "changeCustomer" "Takes a change of a customer, once" "CustomerChange" 202
        => "Accepted", writes::change_customer;
    post "/v1/stores/{store}/orders/{external_id}/updates" Orders "updateOrder"
        "Takes what happens to an order after it was placed: payment, cancelled, addresses" "OrderUpdate" 202 => "Accepted",
        writes::update_order;
};

/// What became of it.
const WRITTEN: &[Route] = routes! {
    get "/v1/stores/{store}/orders/{external_id}" Orders "getOrder" "What became of an order" [] => "OrderState", orders::status;
    get "/v1/stores/{store}/writes/{kind}/{external_id}" Orders "getWrite" "What became of anything that was written" []
        => "OrderState", writes::status;
};

const DEEDS: &[Route] = posted! {
    post "/api/orders/retry" Operate "retryWrites" "Sends again all that a filter takes, so many a second" "RetryAll" 200
        => "Any", admin_orders::retry_all;
    post "/api/orders/{reference}/{deed}" Operate "actOnWrite" "Retries, edits, discards or reopens one write" "Deed" 200
        => "Any", admin_orders::one;
};

const OPERATORS: &[Route] = routes! {
    get "/openapi.json" Open "openapi" "This document" [] => "Any", openapi::operators;
    get "/livez" Open "livez" "The process answers" [] => "Any", admin::livez;
    get "/readyz" Open "readyz" "Whether reads and orders are to be sent here" [] => "Any", admin::readyz;
    get "/metrics" Watch "metrics" "Counters and gauges in Prometheus' text form" [] => "Text", metrics::metrics;
    get "/api/orders" View "listWrites" "Orders and other writes, the newest first"
        ["kind" "state" "code" "store" "customer" "text" "since" "until" "limit" "cursor"] => "Any", admin_orders::list;
    get "/api/orders/export" Export "exportWrites" "All that a filter takes, a line each with attempts and deeds"
        ["kind" "state" "code" "store" "customer" "text" "since" "until"] => "Lines", admin_orders::export;
    get "/api/orders/{reference}" View "getWrite" "One write with its attempts and what people did" [] => "Any",
        admin_orders::show;
    get "/api/audit" View "listAudit" "What operators did and read, of all stores, the oldest first, without what may be of a person"
        ["limit" "cursor"] => "Any", audit::list;
    get "/status" Watch "status" "Objects and orders, counted" [] => "Any", admin::status;
};

/// The storefronts' addresses.
pub fn storefront() -> impl Iterator<Item = &'static Route> {
    READ.iter().chain(WRITES).chain(WRITTEN)
}

/// The operators' addresses.
pub fn operators() -> impl Iterator<Item = &'static Route> {
    OPERATORS.iter().chain(DEEDS)
}

/// Serves the addresses, each behind its gate.
pub fn router(
    routes: impl Iterator<Item = &'static Route>,
    world: &World,
    listener: &'static str,
) -> Router<World> {
    let router = routes.fold(Router::new(), |router, route| {
        let gate = Arc::new(Gate {
            world: world.clone(),
            listener,
            path: route.path,
            access: route.access,
            subject: route.is_dated().then(|| Subject::of(route.name)),
            is_read: route.is_read(),
            place: route.place(&world.pools),
        });
        let mut handler = (route.handler)(&gate);
        if route.takes.is_some() {
            handler = handler.layer(DefaultBodyLimit::max(BODY_BYTES_MAX));
        }
        router.route(route.path, handler)
    });
    router.method_not_allowed_fallback(async move |path: MatchedPath, method: Method| {
        let (started, answer) = (Instant::now(), wrong_method().into_response());
        metrics::counted(listener, &method, path.as_str(), &answer, started);
        answer
    })
}
