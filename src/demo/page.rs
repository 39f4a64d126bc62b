//! A storefront, as small as one can be: its products with their prices, and a form that places an order.
//!
//! Server-rendered, no framework. Every page asks the daemon's API anew, so what it shows is what the cache
//! holds at that moment; a few lines of script listen to the daemon's changes and ask again when there is one.

use axum::extract::{Form, Path, State};
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use axum::{Router, serve};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::demo::shop::{Product, Shop};

/// Serves the page until `stop`.
pub async fn run(listener: TcpListener, shop: Shop, stop: CancellationToken) -> anyhow::Result<()> {
    let app = Router::new()
        .route("/", get(stores))
        .route("/{store}", get(products))
        .route("/{store}/prices", get(prices))
        .route("/{store}/changes", get(changes))
        .route("/{store}/orders", post(place))
        .route("/{store}/orders/{external_id}", get(order))
        .with_state(shop);
    // A browser that listens would keep the page's server open for good.
    tokio::select! {
        () = stop.cancelled() => Ok(()),
        served = async { serve(listener, app).await } => Ok(served?),
    }
}

/// A page of this storefront could not be made: the visitor gets the reason.
struct Failure(anyhow::Error);

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let body = format!("<h1>Not now</h1><p>{}</p>", escaped(&self.0.to_string()));
        (StatusCode::SERVICE_UNAVAILABLE, layout("Not now", &body)).into_response()
    }
}

/// In place of a page that would be half empty.
fn loading() -> Html<String> {
    let body = "<h1>Loading</h1><p>The org is being read for the first time; this page comes by itself.</p>
<script>setTimeout(() => location.reload(), 300);</script>";
    layout("Loading", body)
}

async fn stores(State(shop): State<Shop>) -> Result<Html<String>, Failure> {
    if shop.is_loading().await? {
        return Ok(loading());
    }
    let mut body = "<h1>Stores of this org</h1><ul>".to_owned();
    for store in shop.stores().await? {
        let text = |key: &str| escaped(store[key].as_str().unwrap_or_default());
        let line = format!(
            r#"<li><a href="/{}">{}</a> <small>{} · {}</small></li>"#,
            text("id"),
            text("name"),
            text("domain"),
            text("currency")
        );
        body.push_str(&line);
    }
    body.push_str("</ul>");
    Ok(layout("Stores", &body))
}

async fn products(State(shop): State<Shop>, Path(store): Path<String>) -> Result<Html<String>, Failure> {
    if shop.is_loading().await? {
        return Ok(loading());
    }
    let products = shop.products(&store).await?;
    let options: String = products
        .iter()
        .filter(|product| product.purchasable)
        .map(|product| {
            format!(
                r#"<option value="{}">{}</option>"#,
                escaped(&product.id),
                escaped(&product.name)
            )
        })
        .collect();
    let store = escaped(&store);
    let body = format!(
        r#"<h1>Products</h1>
<form method="post" action="/{store}/orders">
  <select name="product_id">{options}</select>
  <input name="quantity" type="number" value="1" min="1" max="99" aria-label="Quantity">
  <input name="email" type="email" value="ana@example.com" required aria-label="E-mail">
  <button>Place order</button>
</form>
<div id="prices">{table}</div>
<script>
let due = false;
async function draw() {{
  due = false;
  const answer = await fetch("/{store}/prices");
  if (answer.ok) document.getElementById("prices").innerHTML = await answer.text();
}}
const changes = new EventSource("/{store}/changes");
for (const event of ["ready", "reset", "change"]) changes.addEventListener(event, () => {{
  // Changes that come together are drawn together.
  if (!due) setTimeout(draw, 50);
  due = true;
}});
</script>"#,
        table = table(&products)
    );
    Ok(layout("Products", &body))
}

async fn prices(State(shop): State<Shop>, Path(store): Path<String>) -> Result<Html<String>, Failure> {
    Ok(Html(table(&shop.products(&store).await?)))
}

/// The daemon's stream of changes, passed on as it comes.
async fn changes(State(shop): State<Shop>, Path(store): Path<String>) -> Result<Response, Failure> {
    let stream = shop.changes(&store).await?;
    let body = futures_util::stream::unfold(stream, |mut stream| async move {
        match stream.chunk().await {
            Ok(Some(chunk)) => Some((Ok::<_, std::convert::Infallible>(chunk), stream)),
            // The daemon has stopped: the browser asks again by itself.
            Ok(None) | Err(_) => None,
        }
    });
    let mut response = Response::new(axum::body::Body::from_stream(body));
    let kind = axum::http::HeaderValue::from_static("text/event-stream");
    response
        .headers_mut()
        .insert(axum::http::header::CONTENT_TYPE, kind);
    Ok(response)
}

fn table(products: &[Product]) -> String {
    let mut table = "<table><tr><th>Product<th>Code<th>Price</tr>".to_owned();
    for product in products {
        let price = match &product.price {
            Some((amount, currency)) => format!("{amount} {currency}"),
            None => "unavailable".to_owned(),
        };
        let cells = [&product.name, &product.code, &price].map(|cell| escaped(cell));
        table.push_str(&format!(
            "<tr><td>{}<td>{}<td>{}</tr>",
            cells[0], cells[1], cells[2]
        ));
    }
    table.push_str("</table>");
    table
}

#[derive(Deserialize)]
struct Basket {
    product_id: String,
    quantity: u32,
    email: String,
}

async fn place(
    State(shop): State<Shop>,
    Path(store): Path<String>,
    Form(basket): Form<Basket>,
) -> Result<Response, Failure> {
    let product = shop.product(&store, &basket.product_id).await?;
    let Some((amount, currency)) = product.price else {
        return Err(anyhow::anyhow!("{} has no price in this store", product.name).into());
    };
    let external_id = format!("WEB-{:016X}", fastrand::u64(..));
    let order = json!({
        "external_id": external_id,
        "currency": currency,
        "customer": {"email": basket.email, "first_name": "Ana", "last_name": "Lee"},
        "shipping_address": {
            "street": "1 High St", "city": "Hobart", "state": "TAS", "postal_code": "7000", "country": "AU"
        },
        "items": [{"product_id": product.id, "quantity": basket.quantity, "unit_price": amount}],
        "fields": {},
    });
    let (status, answer) = shop.place(&store, &order).await?;
    if status != 202 {
        let reason = answer["detail"].as_str().unwrap_or("no reason given").to_owned();
        return Err(anyhow::anyhow!("the order was not accepted: {reason}").into());
    }
    Ok(Redirect::to(&format!("/{store}/orders/{external_id}")).into_response())
}

async fn order(
    State(shop): State<Shop>,
    Path((store, external_id)): Path<(String, String)>,
) -> Result<Html<String>, Failure> {
    let order = shop.order(&store, &external_id).await?;
    let text = |value: &Value| escaped(value.as_str().unwrap_or("not yet"));
    let body = format!(
        r#"<h1>Order {}</h1>
<dl><dt>State<dd>{}<dt>Salesforce id<dd>{}<dt>Attempts<dd>{}<dt>Trouble<dd>{}</dl>
<p><a href="/{}">Back to the products</a></p>
<script>setTimeout(() => location.reload(), 1000);</script>"#,
        escaped(&external_id),
        text(&order["state"]),
        text(&order["salesforce_id"]),
        order["attempts"],
        escaped(order["error"]["message"].as_str().unwrap_or("none")),
        escaped(&store),
    );
    Ok(layout("Order", &body))
}

fn layout(title: &str, body: &str) -> Html<String> {
    Html(format!(
        r#"<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width">
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 46rem; margin: 2rem auto; padding: 0 1rem }}
table {{ border-collapse: collapse; width: 100% }}
td, th {{ text-align: left; padding: .3rem .6rem; border-bottom: 1px solid #ddd }}
form {{ display: flex; gap: .5rem; margin: 1rem 0; flex-wrap: wrap }}
dt {{ font-weight: 600 }}
</style></head><body>{body}</body></html>"#
    ))
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}
