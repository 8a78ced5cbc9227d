//! The client's side of a call, from chunks to messages.
use std::sync::Arc;
use std::task::{ready, Context, Poll};

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
    received: Arc<Budget>,
}

impl Upload {
    pub fn new(body: RecvStream, encoding: Encoding, max_message: usize, received: &Arc<Budget>) -> Self {
        Upload {
            body,
            decoder: Decoder::new(encoding, max_message),
            charge: Charge::new(received),
            received: received.clone(),
        }
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

    /// The charge goes over to the message, which may be larger than what it came in.
    fn next(&mut self) -> Result<Option<Frame>, Refusal> {
        let Some(message) = self.decoder.next()? else { return Ok(None) };
        self.charge.shrink(self.decoder.len());
        let charge = Charge::force(&self.received, message.len());
        Ok(Some(Frame { message, _charge: charge }))
    }
}

/// The only message of a request, which ends with it.
pub struct Single {
    upload: Upload,
    frame: Option<Frame>,
}

impl Single {
    pub fn new(upload: Upload) -> Self {
        Single { upload, frame: None }
    }

    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Frame, Trouble>> {
        while ready!(self.upload.poll_chunk(cx)?) {
            while let Some(frame) = self.upload.next()? {
                if self.frame.replace(frame).is_some() {
                    return Poll::Ready(Err(Refusal::NotOneMessage.into()));
                }
            }
        }
        if !self.upload.decoder.is_empty() {
            return Poll::Ready(Err(Refusal::CutOff.into()));
        }
        Poll::Ready(self.frame.take().ok_or(Refusal::NotOneMessage.into()))
    }
}

/// The messages of a dialogue, read only as fast as their answers are taken, and while the budget has room.
pub struct Inlet(Upload);

impl Inlet {
    pub fn new(upload: Upload) -> Self {
        Inlet(upload)
    }

    /// None: the client has sent its last message.
    pub fn poll(&mut self, cx: &mut Context<'_>, account: &Account) -> Poll<Result<Option<Frame>, Trouble>> {
        let Inlet(upload) = self;
        if !account.may_hear() {
            return Poll::Pending;
        }
        loop {
            if !upload.charge.may_grow() {
                upload.received.wait(cx.waker());
                if !upload.charge.may_grow() {
                    return Poll::Pending;
                }
            }
            if let Some(frame) = upload.next()? {
                account.heard();
                return Poll::Ready(Ok(Some(frame)));
            }
            if !ready!(upload.poll_chunk(cx)?) {
                let whole = upload.decoder.is_empty();
                return Poll::Ready(if whole { Ok(None) } else { Err(Refusal::CutOff.into()) });
            }
        }
    }
}
