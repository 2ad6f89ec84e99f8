//! Noticing that a client's tools are others now: connections come and go, connectors are upgraded, consents end.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use super::{Offer, tools};
use crate::{digest::Digest, error::Result, host::Host};

/// How often it is looked whether anything was written. That is one number, as long as nothing was.
const LOOK: Duration = Duration::from_millis(500);
/// A consent runs out without anything being written, so that the tools themselves are looked at so often.
const LOOK_CLOSELY: u32 = 120;

/// Waits for changes of an offer's tools.
pub(super) struct Changes {
    /// Whoever listens does not keep the store open.
    host: Weak<Host>,
    offer: Arc<Offer>,
    revision: u64,
    tools: Option<Digest>,
}

impl Changes {
    /// From now on.
    pub(super) fn of(host: &Arc<Host>, offer: Arc<Offer>) -> Self {
        let revision = host.vault.revision();
        Self { tools: digest(host, &offer).ok(), host: Arc::downgrade(host), offer, revision }
    }

    /// Ends when the tools are others; `false` when there will be no others, since the host is gone.
    pub(super) async fn next(&mut self) -> bool {
        let mut looks = tokio::time::interval(LOOK);
        let mut until_closely = LOOK_CLOSELY;
        loop {
            looks.tick().await;
            let Some(host) = self.host.upgrade() else { return false };
            until_closely = until_closely.saturating_sub(1);
            let revision = host.vault.revision();
            if revision == self.revision && until_closely > 0 {
                continue;
            }
            (self.revision, until_closely) = (revision, LOOK_CLOSELY);
            match digest(&host, &self.offer) {
                Ok(tools) if self.tools != Some(tools) => {
                    self.tools = Some(tools);
                    return true;
                }
                Ok(_) => {}
                Err(error) => tracing::warn!(%error, "the tools of a client cannot be listed"),
            }
        }
    }
}

fn digest(host: &Host, offer: &Offer) -> Result<Digest> {
    let tools = tools::all(host, offer)?;
    Ok(Digest::of(&serde_json::to_vec(&tools).unwrap_or_default()))
}
