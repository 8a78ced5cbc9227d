//! The client's side of a call, from chunks to messages.
use std::sync::Arc;
use std::task::{ready, Context, Poll};

use bytes::Bytes;
use h2::RecvStream;

use crate::account::Account;
use crate::budget::{Budget, Charge};
use crate::frame::{Decoder, Encoding};
use crate::inbox::Frame;
use crate::refusal::Refusal;

/// Why there is no message.
#[derive(Debug)]
pub enum Trouble {
    Refused(Refusal),
    /// The client gave up, or its connection broke.
    Gone,
}

impl From<Refusal> for Trouble {
    fn from(refusal: Refusal) -> Self {
        Trouble::Refused(refusal)
    }
}

/// What a client sends, bounded by a budget that all share.
pub struct Upload {
    body: RecvStream,
    decoder: Decoder,
    charge: Charge,
}

impl Upload {
    pub fn new(body: RecvStream, encoding: Encoding, max_message: usize, received: &Arc<Budget>) -> Self {
        Upload { body, decoder: Decoder::new(encoding, max_message), charge: Charge::new(received) }
    }

    /// Takes in the next chunk; false at the end of the stream.
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool, Trouble>> {
        let Some(chunk) = ready!(self.body.poll_data(cx)) else { return Poll::Ready(Ok(false)) };
        let Ok(chunk) = chunk else { return Poll::Ready(Err(Trouble::Gone)) };
        let _ = self.body.flow_control().release_capacity(chunk.len());
        if !self.charge.add(chunk.len()) {
            return Poll::Ready(Err(Refusal::TooManyRequestBytes.into()));
        }
        self.decoder.push(chunk);
        Poll::Ready(Ok(true))
    }

    fn frame(&mut self, message: Bytes) -> Frame {
        let charge = self.charge.split(message.len() + crate::frame::PREFIX);
        Frame { message, charge }
    }
}

/// The only message of a request, which ends with it.
pub struct Single {
    upload: Upload,
    message: Option<Bytes>,
}

impl Single {
    pub fn new(upload: Upload) -> Self {
        Single { upload, message: None }
    }

    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Frame, Trouble>> {
        while ready!(self.upload.poll_chunk(cx)?) {
            while let Some(message) = self.upload.decoder.next()? {
                if self.message.replace(message).is_some() {
                    return Poll::Ready(Err(Refusal::NotOneMessage.into()));
                }
            }
        }
        if !self.upload.decoder.is_empty() {
            return Poll::Ready(Err(Refusal::CutOff.into()));
        }
        Poll::Ready(match self.message.take() {
            Some(message) => Ok(self.upload.frame(message)),
            None => Err(Refusal::NotOneMessage.into()),
        })
    }
}

/// The messages of a dialogue, read only as fast as their answers are taken.
pub struct Inlet {
    upload: Upload,
    received: Arc<Budget>,
}

impl Inlet {
    pub fn new(upload: Upload, received: Arc<Budget>) -> Self {
        Inlet { upload, received }
    }

    /// None: the client has sent its last message.
    pub fn poll(&mut self, cx: &mut Context<'_>, account: &Account) -> Poll<Result<Option<Frame>, Trouble>> {
        if !account.may_hear() {
            return Poll::Pending;
        }
        loop {
            if let Some(message) = self.upload.decoder.next()? {
                account.heard();
                return Poll::Ready(Ok(Some(self.upload.frame(message))));
            }
            if self.received.exceeded() {
                self.received.wait(cx.waker());
                if self.received.exceeded() {
                    return Poll::Pending;
                }
            }
            if !ready!(self.upload.poll_chunk(cx)?) {
                let whole = self.upload.decoder.is_empty();
                return Poll::Ready(if whole { Ok(None) } else { Err(Refusal::CutOff.into()) });
            }
        }
    }
}
