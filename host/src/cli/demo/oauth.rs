//! A connection by OAuth 2.0, at the simulated provider: signed in on another device, and renewed when its token ran out.

use std::{collections::BTreeMap, time::Duration};

use serde_json::{Value, json};
use uuid::Uuid;

use super::{call, say, step};
use crate::{
    apps::AppRequest,
    connect::{ConnectProposal, ConnectRequest, Granted, SignedIn},
    consent::app::CLIENT_SECRET,
    error::{Kind, Result},
    host::Host,
    manifest::oauth2::Grant,
    secret::Secret,
    simulate::{Change, Provider, Settings},
    transport::PrivateAllowed,
};

const CLIENT_ID: &str = "demo";
/// Longer than an access token of the provider is good for.
const UNTIL_IT_RAN_OUT: Duration = Duration::from_secs(2 * 3_600);

/// Registers, signs in, calls, lets the token run out, and calls again; what the provider was asked, and what the connector saw.
pub(super) async fn show(host: &Host, connector: Vec<u8>) -> Result<Value> {
    step(
        "6",
        "A provider of OAuth 2.0 on this machine, with an API. It is simulated: its person agrees to everything at once.",
    );
    let client_secret = format!("demo-{}", Uuid::new_v4().simple());
    let provider = Provider::start(Settings::with(Change {
        approve: Some(true),
        client: Some(vec![format!("{CLIENT_ID}:{client_secret}")]),
        ..Change::default()
    })?)
    .await?;
    say(&format!("listening on {}", provider.url()));

    step("7", "You add a connector for any REST service, and tell Attaché of the app that the provider knows.");
    let proposal = host.propose_connector("default", connector).await?;
    host.approve_connector(&proposal, None, "demo")?;
    let app = host.set_app(AppRequest {
        environment: "default".into(),
        connector: proposal.manifest.name.clone(),
        client_id: Some(CLIENT_ID.into()),
        origins: vec![provider.url()],
        secrets: BTreeMap::from([(CLIENT_SECRET.into(), Secret::new(client_secret))]),
        caller: "demo".into(),
        ..AppRequest::default()
    })?;
    for origin in &app.origins {
        say(&format!("its client secret goes to  {origin}, and nowhere else"));
    }

    step("8", "You sign in, on any device. The host takes the tokens and seals them; the connector has no part in it.");
    let request = ConnectRequest {
        environment: "default".into(),
        connector: proposal.manifest.name.clone(),
        name: "api".into(),
        option: "oauth2".into(),
        parameters: BTreeMap::from([
            ("base-url".into(), format!("{}/api", provider.url())),
            ("issuer".into(), provider.url()),
        ]),
        private: PrivateAllowed::parse([provider.authority()])?,
        grant: Some(Grant::DeviceCode),
        caller: "demo".into(),
        ..ConnectRequest::default()
    };
    let proposal = host.propose_connection(request).await?;
    let granted = sign_in(host, &proposal).await?;
    let made = host.connect(&proposal, SignedIn::Elsewhere(granted)).await?;
    say(&format!("connected: {}", made.connection.account));

    step(
        "9",
        "Something calls. Then the provider's clock goes on until the token has run out, and something calls again.",
    );
    let echo = call("api", "get", json!({ "path": "/echo" }));
    let mut seen = Vec::new();
    for wait in [Duration::ZERO, UNTIL_IT_RAN_OUT] {
        provider.advance(wait);
        let output = host.call(&echo).await?;
        let reflected = output["json"]["headers"]["authorization"].as_str().unwrap_or_default().to_owned();
        if !reflected.strip_prefix("Bearer ").is_some_and(|token| !token.is_empty() && token.chars().all(|c| c == '*'))
        {
            return Err(Kind::Internal.error("What the API reflected of the token was not masked."));
        }
        say(&format!("what the connector got to see    status {}, authorization: {reflected}", output["status"]));
        seen.push(reflected);
    }
    let asked = |grant: &str| provider.log().iter().filter(|it| it["grant"] == grant).count();
    let (sign_ins, refreshes) = (asked("urn:ietf:params:oauth:grant-type:device_code"), asked("refresh_token"));
    if (sign_ins, refreshes) != (1, 1) {
        return Err(Kind::Internal.error("The provider was not asked for a token once and for a new one once."));
    }
    say("what the provider was asked      once for a token, once for a new one");
    say("The API reflects the token that it was sent, too. Nobody signed in again, and nobody noticed.");
    Ok(json!({ "sign-ins": sign_ins, "refreshes": refreshes, "connector-saw": seen }))
}

/// As a person does it whom the provider's page would ask.
async fn sign_in(host: &Host, proposal: &ConnectProposal) -> Result<Granted> {
    let mut device = host.begin_device(proposal).await?;
    say(&format!("you would go to {} and enter the code {}", device.verification_uri, device.user_code));
    let granted = host.poll_device(proposal, &mut device).await?;
    granted.ok_or_else(|| Kind::Internal.error("The simulated person has not agreed."))
}
