//! Answers while the first load runs.
//!
//! An answer is refused until each object that it is made of has been complete once: a shop that is built from half a
//! catalogue is wrong and looks right. Who wants what is there all the same asks for it with `partial=true`, and is told
//! that it is a part, which nobody may keep.

use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};

use crate::model::freshness::Progress;
use crate::serve::World;
use crate::serve::problem::Problem;

const PARTIAL: HeaderName = HeaderName::from_static("storesync-partial");

/// Of one object.
const NOTHING: Progress = Progress {
    complete: 0,
    needed: 1,
};

/// The parameter of the query.
pub const NAME: &str = "partial";

/// Stands beside a request that may ask for what is there.
#[derive(Clone, Copy, Debug)]
pub struct Partial;

impl Partial {
    /// Whether a request asks for it.
    pub fn is_asked(request: &Request) -> bool {
        let mut pairs = request.uri().query().unwrap_or_default().split('&');
        pairs.any(|pair| matches!(pair, "partial=true" | "partial=1"))
    }

    /// Says that an answer is a part.
    pub fn tell(mut answer: Response) -> Response {
        if answer.status().is_success() {
            let headers = answer.headers_mut();
            headers.insert(PARTIAL, HeaderValue::from_static("true"));
            headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
            headers.remove(header::ETAG);
        }
        answer
    }
}

/// An answer about one object, which may not have been complete yet.
pub fn of_object(
    world: &World,
    object: &str,
    is_partial: bool,
    read: impl FnOnce() -> Result<Response, Problem>,
) -> Result<Response, Problem> {
    // Before anything is read.
    let told = world.health.borrow().freshness.told_of(object);
    let is_initializing = told.is_initializing(world.clock.moment());
    let mut answer = match is_initializing {
        true if is_partial => match read() {
            // Nobody knows yet whether there is none.
            Err(problem) if problem.is_not_found() => Problem::initializing(NOTHING).into_response(),
            answer => Partial::tell(answer?),
        },
        true => Problem::initializing(NOTHING).or_partial().into_response(),
        false => read()?,
    };
    told.tell(answer.headers_mut(), world.clock.moment());
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::clock::Clock;
    use crate::model::freshness::{Known, Limits, Truth};
    use crate::model::schedule::Intervals;
    use crate::model::trouble::Hindrances;
    use crate::serve::tests::{CACHE, Shop};
    use crate::serve::{Freshness, Health, routes};
    use crate::store::storefront::feed;
    use std::collections::BTreeSet;

    /// Rows of the org that answers about customers are made of.
    const CUSTOMERS: &str = "
        create table contact (id text primary key, name text, email text, accountid text, external_id__c text);
        insert into contact values ('003000000000001AAA', 'Ana', 'ana@example.com', null, 'C-7');";

    const STORE: &str = "s_c__Store__c";
    const LINKS: &str = "s_c__Products_Product_Categories__c";

    /// What an answer needs, and some of what it does not need, by the operation's name.
    type Needs = (
        &'static str,
        &'static str,
        &'static [&'static str],
        &'static [&'static str],
    );

    const ANSWERS: &[Needs] = &[
        (
            "resolve",
            "/v1/resolve?host=shop.example.com",
            &[
                STORE,
                "s_c__Web_Domain__c",
                "s_c__Zone__c",
                "s_c__Zone_Country__c",
                "Account",
            ],
            &["Product2", "Order"],
        ),
        ("listStores", "/v1/stores", &[STORE], &["Product2", "s_c__Tax__c"]),
        (
            "getStore",
            "/v1/stores/main",
            &[
                STORE,
                "s_c__Store_Variable__c",
                "s_c__Web_Domain__c",
                "s_c__Theme__c",
                "s_c__Zone__c",
                "Campaign",
            ],
            &["Product2"],
        ),
        (
            "listProducts",
            "/v1/stores/main/products",
            &[
                STORE,
                "Product2",
                LINKS,
                "PricebookEntry",
                "Pricebook2",
                "s_c__Stock_Level__c",
                "s_c__Media__c",
                "Account",
                "s_c__Taxonomy__c",
            ],
            &["Contact", "Order", "s_c__Tax__c", "s_c__Form__c"],
        ),
        (
            "listProducts",
            "/v1/stores/main/products?customer=C-7",
            &[
                "Contact",
                "Account",
                "Order",
                "OrderItem",
                "s_c__Membership__c",
                "PricebookEntry",
            ],
            &["Case", "s_c__Tax__c"],
        ),
        (
            "getProduct",
            "/v1/stores/main/products/mug",
            &[
                STORE,
                "Product2",
                "s_c__Product_Variant__c",
                "s_c__Product_Media__c",
                "s_c__Trait__c",
                "s_c__Product_Component__c",
                "s_c__Permitted_Restricted_Product__c",
            ],
            &["Contact", "s_c__Shipping_Rate__c"],
        ),
        (
            "getProduct",
            "/v1/stores/main/products/mug?customer=C-7",
            &["Contact"],
            &["Case"],
        ),
        (
            "listPrices",
            "/v1/stores/main/prices",
            &[
                STORE,
                "Product2",
                "PricebookEntry",
                "Pricebook2",
                "s_c__Stock_Level__c",
            ],
            &["Contact"],
        ),
        (
            "listPrices",
            "/v1/stores/main/prices?customer=C-7&limit=1",
            &["Contact", "OrderItem"],
            &["Case"],
        ),
        (
            "listCategories",
            "/v1/stores/main/categories",
            &[
                STORE,
                "s_c__Taxonomy__c",
                "s_c__Product_Category__c",
                "s_c__Product_Category_Hierarchy__c",
                "s_c__Media__c",
            ],
            &["Product2", "PricebookEntry"],
        ),
        (
            "listTaxes",
            "/v1/stores/main/taxes?country=AU",
            &[
                STORE,
                "s_c__Tax__c",
                "s_c__Product_Tax__c",
                "s_c__Tax_Provider__c",
                "s_c__Zone__c",
                "s_c__Zone_Country__c",
                "s_c__Country__c",
            ],
            &["Product2", "s_c__Shipping_Rate__c"],
        ),
        (
            "listShippingMethods",
            "/v1/stores/main/shipping-methods",
            &[
                STORE,
                "s_c__Shipping_Rate__c",
                "s_c__Shipping_Provider__c",
                "s_c__Zone__c",
                "Product2",
            ],
            &["s_c__Tax__c", "Contact"],
        ),
        (
            "listCollectionPoints",
            "/v1/stores/main/collection-points",
            &[
                STORE,
                "s_c__Collection_Point__c",
                "s_c__Opening_Time__c",
                "s_c__Stock_Location__c",
            ],
            &["s_c__Tax__c"],
        ),
        (
            "listDeliveryWindows",
            "/v1/stores/main/delivery-windows",
            &[STORE, "s_c__Delivery_Window__c"],
            &["s_c__Tax__c"],
        ),
        (
            "listPaymentProviders",
            "/v1/stores/main/payment-providers",
            &[STORE, "s_c__Payment_Provider__c"],
            &["Product2"],
        ),
        (
            "listAuthProviders",
            "/v1/stores/main/auth-providers",
            &[STORE, "s_c__Authentication_Provider__c"],
            &["Product2"],
        ),
        (
            "listPromotions",
            "/v1/stores/main/promotions",
            &[
                STORE,
                "s_c__Promotion2__c",
                "s_c__Condition__c",
                "s_c__Reward__c",
                "s_c__Promotion__c",
                "s_c__Discount__c",
                "s_c__Membership__c",
            ],
            &["Contact", "Product2"],
        ),
        (
            "listPromotions",
            "/v1/stores/main/promotions?customer=C-7",
            &["Contact", "Account", "Order"],
            &["Case"],
        ),
        (
            "listForms",
            "/v1/stores/main/forms",
            &[
                STORE,
                "s_c__Form__c",
                "s_c__Form_Question__c",
                "s_c__Store_Form__c",
                "s_c__Product_Form__c",
                LINKS,
            ],
            &["Contact"],
        ),
        (
            "listBookings",
            "/v1/stores/main/bookings",
            &[
                STORE,
                "s_c__Bookable_Event__c",
                "s_c__Booking__c",
                "s_c__Bookable_Location__c",
            ],
            &["Product2"],
        ),
        (
            "listAvailability",
            "/v1/stores/main/availability",
            &[STORE, "s_c__Availability__c"],
            &["Product2"],
        ),
        (
            "listRoutes",
            "/v1/stores/main/routes",
            &[STORE, "s_c__Route_Mapping__c"],
            &["Product2"],
        ),
        (
            "getCustomer",
            "/v1/stores/main/customers/C-7",
            &[
                STORE,
                "Contact",
                "Account",
                "s_c__Membership__c",
                "s_c__Account_Points_Ledger__c",
                "s_c__Subscription__c",
                "OrderItem",
            ],
            &["Case", "Asset"],
        ),
        (
            "listCustomerOrders",
            "/v1/stores/main/customers/C-7/orders",
            &[STORE, "Contact", "Account", "Order", "OrderItem"],
            &["Case"],
        ),
        (
            "listCustomerAssets",
            "/v1/stores/main/customers/C-7/assets",
            &[STORE, "Contact", "Account", "Asset"],
            &["Order"],
        ),
        (
            "listCustomerCases",
            "/v1/stores/main/customers/C-7/cases",
            &[STORE, "Contact", "Account", "Case"],
            &["Order"],
        ),
        (
            "listCustomerPoints",
            "/v1/stores/main/customers/C-7/points",
            &[STORE, "Contact", "Account", "s_c__Account_Points_Ledger__c"],
            &["Order"],
        ),
        (
            "listObject",
            "/v1/objects/product2?limit=1",
            &["Product2"],
            &["Order", STORE],
        ),
        (
            "getObject",
            "/v1/objects/Product2/01t000000000001AAA",
            &["Product2"],
            &["Order", STORE],
        ),
        (
            "followChanges",
            "/v1/changes?rows=true",
            &["Product2", "Order", "Case"],
            &[],
        ),
        (
            "followChanges",
            "/v1/changes?rows=true&store=main",
            &["Product2", "s_c__Tax__c"],
            &["Order"],
        ),
        (
            "followChanges",
            "/v1/changes?rows=true&objects=Product2,case",
            &["Product2", "Case"],
            &["Order"],
        ),
    ];

    /// All objects have been complete but one.
    fn without(object: &str) -> Health {
        let others = [
            "Contact",
            "Order",
            "OrderItem",
            "Asset",
            "Case",
            "s_c__Account_Points_Ledger__c",
            "s_c__Subscription__c",
        ];
        let names: BTreeSet<String> = feed::objects().chain(others).map(str::to_owned).collect();
        assert!(object.is_empty() || names.contains(object), "{object}");
        let now = Clock::System.moment();
        let known: Vec<(String, Known)> = names
            .into_iter()
            .map(|name| {
                let known = Known {
                    complete: name != object,
                    proved: Some(now),
                    ..Known::default()
                };
                (name, known)
            })
            .collect();
        let limits = Limits {
            polls: Intervals::even(60_000),
            stale_after_millis: None,
        };
        let known = known.iter().map(|(name, known)| (name, known));
        Health {
            freshness: Freshness::new(Truth::new(known, &limits, &Hindrances::default(), now)),
            ..Health::default()
        }
    }

    struct Answer {
        status: u16,
        headers: axum::http::HeaderMap,
        response: reqwest::Response,
    }

    async fn ask(shop: &Shop, path: &str, more: &str) -> Answer {
        let joint = match path.contains('?') {
            true => "&",
            false => "?",
        };
        let more = if more.is_empty() {
            String::new()
        } else {
            format!("{joint}{more}")
        };
        let url = format!("{}{path}{more}", shop.address);
        let response = shop.client.get(url).send().await.unwrap();
        Answer {
            status: response.status().as_u16(),
            headers: response.headers().clone(),
            response,
        }
    }

    #[tokio::test]
    async fn an_answer_waits_for_the_objects_that_it_is_made_of_and_for_no_others() {
        let shop = Shop::open(&format!("{CACHE}{CUSTOMERS}")).await;
        shop.health.send_replace(without(""));
        for (name, path, needed, others) in ANSWERS {
            let whole = ask(&shop, path, "partial=true").await;
            assert_eq!(
                (whole.status, whole.headers.get(PARTIAL)),
                (200, None),
                "{name} {path}"
            );
            for object in *needed {
                shop.health.send_replace(without(object));
                let refused = ask(&shop, path, "").await;
                let state = refused.headers.get("storesync-state");
                assert_eq!(
                    (refused.status, refused.headers.contains_key("retry-after")),
                    (503, true),
                    "{path} without {object}"
                );
                assert!(
                    *name == "followChanges" || state.is_some_and(|state| state == "initializing"),
                    "{path} without {object}"
                );
                let problem: serde_json::Value = refused.response.json().await.unwrap();
                assert_eq!(
                    problem["type"], "urn:storesync:problem:initializing",
                    "{path} without {object}"
                );
                let progress = &problem["progress"];
                let (loaded, all) = (&progress["objects_loaded"], &progress["objects_needed"]);
                assert_eq!(
                    loaded.as_u64().map(|loaded| loaded + 1),
                    all.as_u64(),
                    "{path} without {object}"
                );
                let part = ask(&shop, path, "partial=true").await;
                assert_eq!(part.status, 200, "{path} without {object}");
                assert_eq!(part.headers[PARTIAL], "true", "{path} without {object}");
                assert_eq!(
                    part.headers["cache-control"], "no-store",
                    "{path} without {object}"
                );
                assert_eq!(
                    part.headers["storesync-state"], "initializing",
                    "{path} without {object}"
                );
                assert!(!part.headers.contains_key("etag"), "{path} without {object}");
            }
            for object in *others {
                shop.health.send_replace(without(object));
                let whole = ask(&shop, path, "").await;
                assert_eq!(whole.status, 200, "{path} without {object}");
                assert_eq!(
                    whole.headers["storesync-state"], "live",
                    "{path} without {object}"
                );
                assert!(
                    whole.headers.contains_key("storesync-lag-seconds"),
                    "{path} without {object}"
                );
            }
            shop.health.send_replace(without(""));
        }
        let tried: BTreeSet<&str> = ANSWERS.iter().map(|(name, ..)| *name).collect();
        let reads = routes::storefront().filter(|route| route.is_read());
        assert_eq!(reads.map(|route| route.name).collect::<BTreeSet<_>>(), tried);
        shop.stop.cancel();
    }

    #[tokio::test]
    async fn what_needs_no_rows_is_answered_while_they_are_loaded() {
        let shop = Shop::open(CACHE).await;
        shop.health.send_replace(without("Product2"));
        for (path, status) in [
            ("/openapi.json", 200),
            ("/v1/stores/main/orders/WEB-1", 404),
            ("/v1/stores/main/writes/case/WEB-1", 404),
            ("/v1/changes", 200),
            ("/v1/changes?store=main", 200),
        ] {
            assert_eq!(ask(&shop, path, "").await.status, status, "{path}");
        }
        let stream = ask(&shop, "/v1/changes?store=main", "").await;
        assert_eq!(stream.headers["storesync-state"], "initializing");
        // What is not there may be on its way, and is not said to be missing.
        let unknown = ask(&shop, "/v1/stores/main/products/none", "partial=true").await;
        assert_eq!(unknown.status, 503);
        // Categories are all there.
        let unknown = ask(&shop, "/v1/stores/main/products?category=none", "partial=true").await;
        assert_eq!(unknown.status, 404);
        assert_eq!(ask(&shop, "/v1/stores/none/taxes", "").await.status, 404);
        for path in [
            "/v1/stores/none/taxes",
            "/v1/stores/none/orders/WEB-1",
            "/v1/changes?store=none",
        ] {
            shop.health.send_replace(without(STORE));
            assert_eq!(ask(&shop, path, "").await.status, 503, "{path}");
        }
        assert_eq!(
            ask(&shop, "/v1/stores/main/taxes", "partial=perhaps")
                .await
                .status,
            503
        );
        shop.health.send_replace(without(""));
        assert_eq!(
            ask(&shop, "/v1/stores/main/taxes", "partial=perhaps")
                .await
                .status,
            400
        );
        assert_eq!(
            ask(&shop, "/v1/objects/Product2/01t000000000001AAA", "nothing=1")
                .await
                .status,
            400
        );
        shop.stop.cancel();
    }
}
