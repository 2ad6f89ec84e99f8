//! The way of one request: open the box, judge where it goes, attach, write it down, send, and take out of the answer what was
//! attached. What is placed where, and what goes to whom, is what was sealed; what can be reached at all is the gateway's own
//! list.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method};
use url::Url;

use super::{
    super::wire::{Asked, Told},
    generations::Generations,
    opened::{Boxes, Opened},
};
use crate::{
    audit::{Audit, Event, Subject},
    credential::{self, Attached, Existing},
    egress::{Destination, Reachable, Scrubber},
    error::{Kind, Result},
    manifest::template::Moment,
    origin::Origin,
    transport::{Incoming, Limits, Outgoing, Place, PrivateAllowed, Room, Transport},
};

/// A body that is looked through in less than a millisecond.
const QUICK: usize = 64 << 10;

/// What every request is answered with.
pub(super) struct Answerer {
    pub(super) boxes: Boxes,
    pub(super) generations: Generations,
    /// What may be reached.
    pub(super) allowed: PrivateAllowed,
    pub(super) transport: Arc<Transport>,
    pub(super) limits: Limits,
    /// Where large requests are held.
    pub(super) asked: Room,
    pub(super) audit: Arc<Audit>,
}

impl Answerer {
    /// Answers a request of the host's.
    ///
    /// # Errors
    /// Every kind of the way out. The sentence holds nothing of what was attached.
    pub(super) async fn answer(&self, asked: Asked, body: Bytes) -> Result<(Told, Content)> {
        let opened = self.boxes.open(&asked.sealed, asked.app.as_ref(), asked.captured.as_ref())?;
        self.generations.judge(&opened.terms, &asked.about.operation)?;
        let subject = Subject::new(asked.about.clone());
        let mut sent = Scrubber::default();
        let answered = self.send(asked, body, &opened, &subject, &mut sent).await;
        answered.map_err(|error| error.map_text(|text| sent.masked(text)))
    }

    async fn send(
        &self,
        asked: Asked,
        body: Bytes,
        opened: &Opened,
        subject: &Subject,
        sent: &mut Scrubber,
    ) -> Result<(Told, Content)> {
        let unreadable = |_| Kind::InvalidInput.error("The host asks for something that is no request.");
        let method = Method::from_bytes(asked.method.as_bytes()).map_err(|_| unreadable(()))?;
        let url = Url::parse(&asked.url).map_err(|_| unreadable(()))?;
        let headers = HeaderMap::try_from(asked.headers)?;
        // A service that has a secret may give it back whenever it likes, and not only in the answer to what brought it.
        let origin = Origin::of(&url)?;
        if opened.audience.iter().any(|pattern| pattern.matches(&origin)) {
            sent.add(&opened.known, opened.values.secret().values().cloned());
        }
        let limits = asked.bounds.within(&self.limits);
        let mut outgoing = Outgoing::new(method.clone(), url.clone(), headers, body);
        let existing = if asked.replace { Existing::Replace } else { Existing::Refuse };
        let attached =
            self.judge(&url, asked.attach, opened).and_then(|()| attach(asked.attach, opened, existing, &mut outgoing));
        let attached = match attached {
            Ok(attached) => attached,
            Err(error) => {
                self.audit.note(&Event::denied(subject, &method, &url, error.message()))?;
                return Err(error);
            }
        };
        let leaving = Event::request(subject, &method, &url, asked.hop, &attached.places).repeated(asked.repeated);
        self.audit.leaving(&leaving).await?;
        sent.add(&opened.known, attached.values);
        match self.transport.send_sparing(&opened.pool(), &self.allowed, outgoing, &limits).await {
            Ok(answer) => self.hand_over(answer, subject, sent).await,
            Err(fault) => {
                let failed = Event::fault(subject, &fault.to_string());
                self.audit.note(&failed.map_text(&|text| sent.masked(text)))?;
                Err(fault.into())
            }
        }
    }

    /// What the credential may go to was sealed with it; what may be reached at all is said here.
    fn judge(&self, url: &Url, attach: bool, opened: &Opened) -> Result<()> {
        let origin = Origin::of(url)?;
        self.allowed.confine(&origin)?;
        if !attach {
            return Ok(());
        }
        let audience = Reachable {
            audience: opened.audience.clone(),
            sign_in: opened.sign_in.clone(),
            private: self.allowed.clone(),
            ..Reachable::default()
        };
        match audience.judge(url)? {
            Destination::Audience => {}
            Destination::Open => return Err(Kind::Internal.error("Nothing is open to a credential.")),
        }
        // A secret of the operator's app goes to the app's origins, whatever the owner of a connection typed.
        match &opened.app {
            Some(app) if opened.option.carries_app_secrets() => app.permits(url),
            _ => Ok(()),
        }
    }

    async fn hand_over(&self, answer: Incoming, subject: &Subject, sent: &Scrubber) -> Result<(Told, Content)> {
        let Incoming { status, headers, body, place } = answer;
        let (body, mut masked) = mask(sent, Vec::from(body)).await?;
        let mut clean = HeaderMap::with_capacity(headers.len());
        for (name, value) in &headers {
            let mut bytes = value.as_bytes().to_vec();
            masked += sent.mask(&mut bytes);
            let mut field = name.as_str().as_bytes().to_vec();
            // A name that has a secret in it names nothing any more.
            if sent.mask(&mut field) == 0
                && let Ok(value) = HeaderValue::from_bytes(&bytes)
            {
                clean.append(name, value);
            } else {
                masked += 1;
            }
        }
        self.audit.note(&Event::answer(subject, status.as_u16(), body.len(), masked))?;
        Ok((Told { status: status.as_u16(), headers: (&clean).into(), masked }, Content { body: body.into(), place }))
    }
}

/// What is sent back: while it is, it takes the place that a large answer takes.
pub(super) struct Content {
    pub(super) body: Bytes,
    pub(super) place: Option<Place>,
}

/// Masks in a body. In a large one that takes so long that it is done aside: whoever asks whether the gateway is still there is
/// answered meanwhile.
async fn mask(sent: &Scrubber, mut body: Vec<u8>) -> Result<(Vec<u8>, u64)> {
    if body.len() <= QUICK {
        let masked = sent.mask(&mut body);
        return Ok((body, masked));
    }
    let sent = sent.clone();
    let aside = tokio::task::spawn_blocking(move || {
        let masked = sent.mask(&mut body);
        (body, masked)
    });
    aside.await.map_err(|_| Kind::Internal.error("An answer could not be looked through."))
}

fn attach(wanted: bool, opened: &Opened, existing: Existing, outgoing: &mut Outgoing) -> Result<Attached> {
    if !wanted {
        return Ok(Attached::default());
    }
    let option = &opened.option;
    credential::attach(&option.attach, &option.jwts, &opened.values, &Moment::now(), existing, outgoing)
}
