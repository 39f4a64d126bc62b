//! A socket that tells its connection what comes and whether it takes what goes.
//!
//! One that sends much that is no request is read in small parts with a pause after each: to answer pings costs as much as
//! sending them, and the time would be taken from all others.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use crate::serve::connection::Connection;

/// What is read at a time of a noisy client, and the pause after it.
const NOISY_READ_BYTES: usize = 8 * 1024;
const NOISY_PAUSE: Duration = Duration::from_millis(50);

pub(super) struct Watched<S> {
    stream: S,
    pause: Option<Pin<Box<Sleep>>>,
    connection: Arc<Connection>,
}

impl<S> Watched<S> {
    pub fn new(stream: S, connection: Arc<Connection>) -> Self {
        Self {
            stream,
            pause: None,
            connection,
        }
    }

    fn wrote<T>(&self, written: Poll<T>) -> Poll<T> {
        self.connection.doing().wrote(written.is_ready(), Instant::now());
        written
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Some(pause) = &mut self.pause {
            ready!(pause.as_mut().poll(context));
            self.pause = None;
        }
        let before = buffer.filled().len();
        let is_noisy = self.connection.doing().is_noisy();
        let read = match is_noisy {
            true => poll_part(Pin::new(&mut self.stream), context, buffer),
            false => Pin::new(&mut self.stream).poll_read(context, buffer),
        };
        let new = &buffer.filled()[before..];
        if !new.is_empty() {
            let mut doing = self.connection.doing();
            doing.heard(new, Instant::now());
            let (has_ended, is_noisy) = (doing.ended().is_some(), doing.is_noisy());
            drop(doing);
            if has_ended {
                self.connection.ended.notify_one();
            }
            if is_noisy {
                self.pause = Some(Box::pin(tokio::time::sleep(NOISY_PAUSE)));
            }
        }
        read
    }
}

/// Reads a few bytes at most.
fn poll_part(
    stream: Pin<&mut impl AsyncRead>,
    context: &mut Context<'_>,
    buffer: &mut ReadBuf<'_>,
) -> Poll<io::Result<()>> {
    let most = buffer.remaining().min(NOISY_READ_BYTES);
    let mut part = ReadBuf::new(buffer.initialize_unfilled_to(most));
    let read = stream.poll_read(context, &mut part);
    let bytes = part.filled().len();
    buffer.advance(bytes);
    read
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.wrote(written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        self.wrote(flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, bytes);
        self.wrote(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
