//! Whether the process answers, and whether it can be used: for load balancers and supervisors, who have no key. They learn one
//! word; the reason in full is in the log.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{Json, extract::State, http::StatusCode};
use serde::{Deserialize, Serialize};
use tokio::sync::{Mutex, watch};
use utoipa::ToSchema;

use super::Api;
use crate::host::Host;

/// How long what was found out is taken for true: strangers ask, and finding it out writes to the disk.
const FRESH: Duration = Duration::from_secs(2);

/// How a host is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Health {
    /// The process answers.
    Alive,
    /// It can be used.
    Ready,
    /// It was told to stop: what is under way is finished, and new calls belong elsewhere.
    Stopping,
    /// Its store cannot be written, or not be read.
    StoreUnavailable,
    /// Its audit cannot be written.
    AuditUnavailable,
}

/// What is answered.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct HealthView {
    pub(crate) status: Health,
}

/// What is known of it.
pub(super) struct Readiness {
    stopping: watch::Sender<bool>,
    found: Mutex<Option<(Instant, Health)>>,
}

impl Readiness {
    pub(super) fn new() -> Self {
        Self { stopping: watch::Sender::new(false), found: Mutex::default() }
    }

    /// From now on it stops.
    pub(super) fn stop(&self) {
        self.stopping.send_replace(true);
    }

    /// Returns once it stops.
    pub(super) async fn stopped(&self) {
        let mut stopping = self.stopping.subscribe();
        // The sender lives as long as `self`.
        let _ = stopping.wait_for(|stopping| *stopping).await;
    }

    async fn now(&self, host: &Arc<Host>) -> Health {
        if *self.stopping.borrow() {
            return Health::Stopping;
        }
        // One looks, and whoever comes meanwhile waits for what it finds.
        let mut found = self.found.lock().await;
        match *found {
            Some((at, health)) if at.elapsed() < FRESH => health,
            _ => {
                let host = host.clone();
                let health = tokio::task::spawn_blocking(move || look(&host)).await.unwrap_or(Health::StoreUnavailable);
                *found = Some((Instant::now(), health));
                health
            }
        }
    }
}

fn look(host: &Host) -> Health {
    if let Err(error) = host.audit.sync() {
        tracing::error!(%error, "not ready");
        return Health::AuditUnavailable;
    }
    match host.vault.try_writing() {
        Ok(()) => Health::Ready,
        Err(error) => {
            tracing::error!(%error, "not ready");
            Health::StoreUnavailable
        }
    }
}

/// Whether the process answers.
#[utoipa::path(get, path = "/healthz", tag = "health", security(()), responses((status = 200, body = HealthView)))]
pub(super) async fn alive() -> Json<HealthView> {
    Json(HealthView { status: Health::Alive })
}

/// Whether calls are to be sent here: the store and the audit can be written, and the host is not about to stop.
#[utoipa::path(get, path = "/readyz", tag = "health", security(()),
    responses((status = 200, body = HealthView), (status = 503, body = HealthView)))]
pub(super) async fn ready(State(api): State<Arc<Api>>) -> (StatusCode, Json<HealthView>) {
    let status = api.readiness.now(&api.host).await;
    let code = if status == Health::Ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (code, Json(HealthView { status }))
}
