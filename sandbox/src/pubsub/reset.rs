//! Streams that can be reset in the middle.
//!
//! A gRPC service ends a call with trailers. [`Resettable`] wraps one so that a call can also end as it does where a
//! proxy gives up: the HTTP/2 stream is reset (RST_STREAM) and no status ever comes.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http_body::{Frame, SizeHint};
use tonic::body::Body;
use tonic::codegen::{Service, http};
use tonic::server::NamedService;

/// Resets the call whose request it came with, when the call ends.
#[derive(Clone, Debug, Default)]
pub struct Reset(Arc<AtomicBool>);

impl Reset {
    /// From now on nothing of the answer is sent.
    pub fn ask(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    fn is_asked(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

/// A service whose calls find a `Reset` in their request's extensions.
#[derive(Clone)]
pub struct Resettable<S>(pub S);

impl<S: NamedService> NamedService for Resettable<S> {
    const NAME: &'static str = S::NAME;
}

impl<S> Service<http::Request<Body>> for Resettable<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, mut request: http::Request<Body>) -> Self::Future {
        let reset = Reset::default();
        request.extensions_mut().insert(reset.clone());
        let answer = self.0.call(request);
        Box::pin(async move {
            let mut answer = answer.await?;
            // A refused call's headers hold the status already; that must not leave.
            if reset.is_asked() {
                answer = http::Response::new(Body::default());
            }
            Ok(answer.map(|body| Body::new(ResettableBody { body, reset })))
        })
    }
}

struct ResettableBody {
    body: Body,
    reset: Reset,
}

impl http_body::Body for ResettableBody {
    type Data = Bytes;
    type Error = tonic::Status;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, tonic::Status>>> {
        let this = self.get_mut();
        let frame = ready!(Pin::new(&mut this.body).poll_frame(context));
        // A body that fails is reset by the server that writes it.
        if this.reset.is_asked() {
            let error = io::Error::from(io::ErrorKind::ConnectionReset);
            return Poll::Ready(Some(Err(tonic::Status::from_error(error.into()))));
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream() && !self.reset.is_asked()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
