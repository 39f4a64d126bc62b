//! Requests of one connection on their way to the routes, and their answers on the way back.
//!
//! A body is counted as it arrives, against one budget for all clients: they may begin many and end none. An answer is
//! counted until it is taken; where too much of them waits, the next one is not made.

use std::collections::HashMap;
use std::convert::Infallible;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Instant;

use axum::BoxError;
use axum::body::{Body, Bytes, HttpBody};
use axum::http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version, header};
use axum::response::IntoResponse;
use http_body::{Frame, SizeHint};
use tower_service::Service;

use crate::serve::connection::proxies::Peer;
use crate::serve::connection::{Connection, Served, Source};
use crate::serve::foreign::Head;
use crate::serve::problem::Problem;

/// Largest body taken: an order of 2,000 items is a fifth of it.
pub const BODY_BYTES_MAX: usize = 1024 * 1024;
/// Bodies that are not complete, of all clients together, and of one token or address.
const RECEIVING_BYTES_MAX: usize = 64 * 1024 * 1024;
const RECEIVING_OF_ONE_BYTES_MAX: usize = 8 * 1024 * 1024;
/// What HTTP/2 is given of an answer at a time: what it has, it keeps until the client takes it.
const PART_BYTES_MAX: usize = 16 * 1024;

/// Beside an answer to a request with a token or a session that is good.
#[derive(Clone, Copy, Debug)]
pub struct LetIn;

/// The bytes of bodies that are being received.
#[derive(Debug)]
pub struct Receiving {
    most_bytes: usize,
    most_bytes_of_one: usize,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    bytes: usize,
    of_holders: HashMap<u64, usize>,
}

impl Default for Receiving {
    fn default() -> Self {
        Self::of(RECEIVING_BYTES_MAX, RECEIVING_OF_ONE_BYTES_MAX)
    }
}

impl Receiving {
    pub fn of(most_bytes: usize, most_bytes_of_one: usize) -> Self {
        Self {
            most_bytes,
            most_bytes_of_one,
            held: Mutex::default(),
        }
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn held_bytes(&self) -> usize {
        self.held().bytes
    }

    /// Takes so many more, where there is room for them.
    fn take(&self, holder: Option<u64>, bytes: usize) -> bool {
        let mut held = self.held();
        let of_holder = holder.map(|holder| held.of_holders.get(&holder).copied().unwrap_or(0) + bytes);
        let has_room = held.bytes + bytes <= self.most_bytes
            && of_holder.is_none_or(|bytes| bytes <= self.most_bytes_of_one);
        if has_room {
            held.bytes += bytes;
            if let Some((holder, bytes)) = holder.zip(of_holder) {
                held.of_holders.insert(holder, bytes);
            }
        }
        has_room
    }

    fn give_back(&self, holder: Option<u64>, bytes: usize) {
        let mut held = self.held();
        held.bytes -= bytes;
        let Some(holder) = holder else { return };
        let left = held
            .of_holders
            .get(&holder)
            .copied()
            .unwrap_or(0)
            .saturating_sub(bytes);
        match left {
            0 => drop(held.of_holders.remove(&holder)),
            left => drop(held.of_holders.insert(holder, left)),
        }
    }
}

/// The routes, for one connection.
#[derive(Clone)]
pub(super) struct Requests {
    pub peer: Peer,
    pub served: Arc<Served>,
    pub connection: Arc<Connection>,
}

impl<B> Service<Request<B>> for Requests
where
    B: HttpBody<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<Answer>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let at_hand = AtHand::begin(Arc::clone(&self.connection));
        let requests = self.clone();
        Box::pin(async move { Ok(requests.answer(request, at_hand).await) })
    }
}

impl Requests {
    async fn answer<B>(self, request: Request<B>, mut at_hand: AtHand) -> Response<Answer>
    where
        B: HttpBody<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<BoxError>,
    {
        at_hand.room().await;
        let is_in_parts = request.version() == Version::HTTP_2;
        let is_kept = self.connection.doing().is_kept();
        let mut response = match self.refuse(&request, is_kept) {
            Some(problem) => problem.into_response(),
            None => self.route(request).await,
        };
        if response.extensions().get::<LetIn>().is_some() {
            self.connection.doing().let_in();
        }
        // HTTP/2 has no such header: there the connection ends with its time.
        if is_kept && !is_in_parts {
            let close = HeaderValue::from_static("close");
            response.headers_mut().insert(header::CONNECTION, close);
        }
        let size = response.body().size_hint();
        let waits = size.exact().unwrap_or(size.lower());
        at_hand.answered(usize::try_from(waits).unwrap_or(usize::MAX));
        response.map(|body| Answer {
            body,
            rest: Bytes::new(),
            is_in_parts,
            at_hand,
        })
    }

    fn refuse<B>(&self, request: &Request<B>, is_kept: bool) -> Option<Problem> {
        let is_answered = !is_kept
            || request.method() == Method::GET && self.served.kept_paths.contains(&request.uri().path());
        if !is_answered {
            return Some(Problem::unavailable("all places are taken: try again"));
        }
        let head = Head {
            method: request.method(),
            uri: request.uri(),
            version: request.version(),
            headers: request.headers(),
        };
        let foreign = self.served.facing.refuse(head, (self.served.is_open)());
        foreign.or_else(|| refuse_body(request.headers()))
    }

    async fn route<B>(&self, mut request: Request<B>) -> Response<Body>
    where
        B: HttpBody<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<BoxError>,
    {
        let mut router = self.served.router.clone();
        let source = self.served.proxies.source(self.peer, request.headers());
        request.extensions_mut().insert(source);
        // A proxy that is named has those of many on one.
        if !self.served.proxies.are_named(self.peer) {
            request.extensions_mut().insert(self.connection.streams.clone());
        }
        // HTTP/2 tells the host in the address alone; who answers looks for it in one place.
        let told = request.uri().authority().map(|host| host.as_str().to_owned());
        let told = told.and_then(|host| HeaderValue::try_from(host).ok());
        if let (false, Some(host)) = (request.headers().contains_key(header::HOST), told) {
            request.headers_mut().insert(header::HOST, host);
        }
        if request.body().is_end_stream() {
            return infallible(router.call(request.map(|_| Body::empty())).await);
        }
        let share = Arc::new(Share {
            receiving: Arc::clone(&self.served.receiving),
            holder: holder(request.headers(), source),
            held_bytes: AtomicUsize::new(0),
            is_refused: AtomicBool::new(false),
        });
        self.connection.doing().body_began();
        let counted = request.map(|body| {
            Body::new(Counted {
                body,
                share: Arc::clone(&share),
                connection: Arc::clone(&self.connection),
            })
        });
        let response = infallible(router.call(counted).await);
        match share.is_refused.load(Ordering::Relaxed) {
            true => too_busy().into_response(),
            false => response,
        }
    }
}

/// Whose share of the budget a body counts for; nobody's where all who come are of this machine.
fn holder(headers: &HeaderMap, source: Source) -> Option<u64> {
    let token = headers.get(header::AUTHORIZATION);
    let mut hasher = DefaultHasher::new();
    match (token, source) {
        (Some(token), _) => token.hash(&mut hasher),
        (None, Source::Here) => return None,
        (None, source) => source.hash(&mut hasher),
    }
    Some(hasher.finish())
}

fn infallible<T>(result: Result<T, Infallible>) -> T {
    match result {
        Ok(value) => value,
        Err(never) => match never {},
    }
}

fn too_busy() -> Problem {
    let detail = "too much is being sent to storesync at this moment: send the request again";
    Problem::unavailable(detail)
}

/// Refuses by its head what would not be taken whatever it holds, before any of the body is asked for.
fn refuse_body(headers: &HeaderMap) -> Option<Problem> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let length = text(header::CONTENT_LENGTH).and_then(|length| length.parse::<u64>().ok());
    if length.is_some_and(|length| length > BODY_BYTES_MAX as u64) {
        let detail = format!("the body is too large: at most {BODY_BYTES_MAX} bytes are taken");
        return Some(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", detail));
    }
    let encoding = text(header::CONTENT_ENCODING).unwrap_or("identity");
    if !encoding.eq_ignore_ascii_case("identity") {
        let detail = "the body must be sent as it is, without a Content-Encoding";
        return Some(Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unsupported-media-type",
            detail,
        ));
    }
    None
}

/// A request from its head to the last part of its answer.
#[derive(Debug)]
struct AtHand {
    connection: Arc<Connection>,
    place: usize,
    /// Bytes of the answer that are counted.
    bytes: usize,
}

impl AtHand {
    fn begin(connection: Arc<Connection>) -> Self {
        let place = connection.doing().began();
        Self {
            connection,
            place,
            bytes: 0,
        }
    }

    /// Waits until less waits for the client.
    async fn room(&self) {
        loop {
            let rung = self.connection.room.notified();
            if self.connection.doing().has_room() {
                return;
            }
            rung.await;
        }
    }

    fn answered(&mut self, bytes: usize) {
        self.bytes = bytes;
        self.connection
            .doing()
            .answered(self.place, bytes, Instant::now());
    }
}

impl Drop for AtHand {
    fn drop(&mut self) {
        let mut doing = self.connection.doing();
        let was_full = !doing.has_room();
        doing.finished(self.place, self.bytes, Instant::now());
        drop(doing);
        if was_full {
            self.connection.room.notify_waiters();
        }
    }
}

/// What one request holds of the budget.
struct Share {
    receiving: Arc<Receiving>,
    holder: Option<u64>,
    held_bytes: AtomicUsize,
    is_refused: AtomicBool,
}

impl Drop for Share {
    fn drop(&mut self) {
        let held = self.held_bytes.load(Ordering::Relaxed);
        if held > 0 {
            self.receiving.give_back(self.holder, held);
        }
    }
}

/// A body that is counted as it arrives.
struct Counted<B> {
    body: B,
    share: Arc<Share>,
    connection: Arc<Connection>,
}

impl<B> Drop for Counted<B> {
    fn drop(&mut self) {
        self.connection.doing().body_ended();
    }
}

impl<B> HttpBody for Counted<B>
where
    B: HttpBody<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let frame = match Pin::new(&mut self.body).poll_frame(context) {
            Poll::Ready(Some(Ok(frame))) => frame,
            Poll::Ready(Some(Err(error))) => return Poll::Ready(Some(Err(error.into()))),
            Poll::Ready(None) => return Poll::Ready(None),
            Poll::Pending => return Poll::Pending,
        };
        let bytes = frame.data_ref().map_or(0, Bytes::len);
        self.connection.doing().received(bytes);
        if !self.share.receiving.take(self.share.holder, bytes) {
            self.share.is_refused.store(true, Ordering::Relaxed);
            return Poll::Ready(Some(Err("too much is being received".into())));
        }
        self.share.held_bytes.fetch_add(bytes, Ordering::Relaxed);
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The body of an answer, which tells its connection when it is taken.
#[derive(Debug)]
pub(super) struct Answer {
    body: Body,
    /// What is left of a part of it.
    rest: Bytes,
    is_in_parts: bool,
    at_hand: AtHand,
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = &mut *self;
        let (connection, place) = (&this.at_hand.connection, this.at_hand.place);
        connection.doing().asked(place);
        let mut data = std::mem::take(&mut this.rest);
        if data.is_empty() {
            data = match Pin::new(&mut this.body).poll_frame(context) {
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => data,
                    Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
                },
                other => return other,
            };
        }
        if this.is_in_parts && data.len() > PART_BYTES_MAX {
            this.rest = data.split_off(PART_BYTES_MAX);
        }
        connection.doing().given(place, Instant::now());
        Poll::Ready(Some(Ok(Frame::data(data))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let rest = self.rest.len() as u64;
        let of_body = self.body.size_hint();
        let mut hint = SizeHint::new();
        hint.set_lower(of_body.lower() + rest);
        if let Some(upper) = of_body.upper() {
            hint.set_upper(upper + rest);
        }
        hint
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_client_has_no_more_than_its_share_of_the_budget() {
        let receiving = Receiving::of(100, 40);
        assert!(receiving.take(Some(1), 40) && !receiving.take(Some(1), 1));
        assert!(receiving.take(Some(2), 40) && receiving.take(None, 20));
        assert!(!receiving.take(Some(3), 1), "the budget is spent");
        receiving.give_back(Some(1), 40);
        assert!(receiving.take(Some(1), 40));
        for (holder, bytes) in [(Some(1), 40), (Some(2), 40), (None, 20)] {
            receiving.give_back(holder, bytes);
        }
        assert_eq!(receiving.held_bytes(), 0);
        assert!(receiving.held().of_holders.is_empty());
    }
}
