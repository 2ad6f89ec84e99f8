//! Noticing that a client's tools are others now: connections come and go, connectors are upgraded, consents end.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use tokio::time::Instant;

use super::{Offer, tools};
use crate::{digest::Digest, error::Result, host::Host};

/// How often it is looked whether anything was written. That is one number, as long as nothing was.
const LOOK: Duration = Duration::from_millis(500);
/// A consent runs out without anything being written, so that the tools themselves are looked at so often.
const LOOK_CLOSELY: u32 = 120;
/// What took long to look at is left alone for so many times as long: where there are very many connections, clients that wait
/// for changes keep nobody else from working.
const REST: u32 = 50;

/// Waits for changes of an offer's tools.
pub(super) struct Changes {
    /// Whoever listens does not keep the store open.
    host: Weak<Host>,
    offer: Arc<Offer>,
    revision: u64,
    tools: Option<Digest>,
    rests_until: Instant,
}

impl Changes {
    /// From now on.
    pub(super) async fn of(host: Arc<Host>, offer: Arc<Offer>) -> Self {
        let revision = host.vault.revision();
        let host = Arc::downgrade(&host);
        let mut changes = Self { host, offer, revision, tools: None, rests_until: Instant::now() };
        changes.tools = changes.digest().await.ok().flatten();
        changes
    }

    /// Ends when the tools are others; `false` when there will be no others, since the host is gone.
    pub(super) async fn next(&mut self) -> bool {
        let mut looks = tokio::time::interval(LOOK);
        let mut until_closely = LOOK_CLOSELY;
        loop {
            looks.tick().await;
            until_closely = until_closely.saturating_sub(1);
            let Some(revision) = self.host.upgrade().map(|host| host.vault.revision()) else { return false };
            if (revision == self.revision && until_closely > 0) || Instant::now() < self.rests_until {
                continue;
            }
            (self.revision, until_closely) = (revision, LOOK_CLOSELY);
            match self.digest().await {
                Ok(None) => return false,
                Ok(tools) if self.tools != tools => {
                    self.tools = tools;
                    return true;
                }
                Ok(_) => {}
                Err(error) => tracing::warn!(%error, "the tools of a client cannot be listed"),
            }
        }
    }

    /// Of all tools there are now, page by page; none when the host is gone.
    async fn digest(&mut self) -> Result<Option<Digest>> {
        let began = Instant::now();
        let (mut digest, mut after) = (Digest::of(b""), Some(String::new()));
        while let Some(from) = after {
            let Some(host) = self.host.upgrade() else { return Ok(None) };
            let page = tools::page(&host, &self.offer, &from)?;
            let tools = serde_json::to_vec(&page.tools).unwrap_or_default();
            digest = Digest::of(&[digest.to_string().as_bytes(), &tools].concat());
            after = page.next;
            tokio::task::yield_now().await;
        }
        self.rests_until = Instant::now() + began.elapsed() * REST;
        Ok(Some(digest))
    }
}
