//! The device authorization endpoint (RFC 8628), the page where a person types a device's code, and the device's asking.

use std::{collections::HashMap, time::Duration};

use askama::Template;
use axum::http::{Method, StatusCode};
use serde_json::json;

use super::{
    State,
    answer::{Refusal, Reply},
    asked::{Asked, Format, Params},
    authorize::offline,
    grants::{Granted, Issued, Terms, digest, seconds},
    random,
    token::{grantable, resources},
};
use crate::digest::Digest;

/// Twenty letters that are not mistaken for each other and spell nothing (RFC 8628, 6.1).
const LETTERS: &[u8; 20] = b"BCDFGHJKLMNPQRSTVWXZ";
/// What `slow_down` adds to the interval, for good (RFC 8628, 3.5).
const SLOWER: Duration = Duration::from_secs(5);

/// A device that waits for a person.
#[derive(Debug)]
struct Device {
    granted: Granted,
    /// As it is typed, without the hyphen.
    user_code: String,
    expires: Duration,
    interval: Duration,
    last_asked: Option<Duration>,
    /// What the person said.
    decision: Option<bool>,
}

/// Every device that waits, by its code.
#[derive(Debug, Default)]
pub(super) struct Devices(HashMap<Digest, Device>);

#[derive(Template)]
#[template(path = "simulated-device.html")]
struct Page<'a> {
    said: Option<&'a str>,
    user_code: &'a str,
    client: Option<&'a str>,
    scope: &'a [String],
}

/// Gives a device its codes (RFC 8628, 3.2).
pub(super) fn begin(state: &mut State, asked: &Asked) -> Reply {
    match wanted(state, asked) {
        Ok(granted) => give_codes(state, granted),
        Err(refusal) => Reply::refusal(&refusal),
    }
}

fn wanted(state: &mut State, asked: &Asked) -> Result<Granted, Refusal> {
    if asked.method != Method::POST || asked.format != Format::Form {
        return Err(Refusal::invalid_request("A device asks by a form, by POST."));
    }
    let params = &asked.fields;
    let client = state.clients.authenticate(&state.settings, &state.base, asked, params)?;
    let scope = params.one("scope")?;
    Ok(Granted {
        client,
        account: state.settings.account.clone(),
        scope: grantable(&state.settings, &state.base, scope)?,
        resource: resources(params)?,
        offline: offline(&state.settings, params, scope)?,
    })
}

fn give_codes(state: &mut State, granted: Granted) -> Reply {
    let (code, user_code) = (random("device"), user_code());
    let client = granted.client.clone();
    let interval = state.settings.device_interval;
    let device = Device {
        granted,
        user_code: user_code.replace('-', ""),
        expires: state.clock.now() + seconds(state.settings.device_lifetime),
        interval: seconds(interval),
        last_asked: None,
        decision: state.settings.decision,
    };
    state.devices.0.insert(digest(&code), device);
    let page = format!("{}/device", state.base);
    Reply::json(
        StatusCode::OK,
        &json!({
            "device_code": code,
            "user_code": user_code,
            "verification_uri": page,
            "verification_uri_complete": format!("{page}?user_code={user_code}"),
            "expires_in": state.settings.device_lifetime,
            "interval": interval,
        }),
    )
    .client(&client)
    .gives("device_code", &code)
    .gives("user_code", &user_code)
}

/// Answers the device (RFC 8628, 3.5).
pub(super) fn redeem(state: &mut State, client: &str, params: &Params) -> Result<Issued, Refusal> {
    let key = digest(params.need("device_code")?);
    let now = state.clock.now();
    let device = state.devices.0.get_mut(&key).filter(|device| device.granted.client == client);
    let device = device.ok_or_else(|| Refusal::invalid_grant("There is no such device code of this client."))?;
    if now >= device.expires {
        return Err(Refusal::new("expired_token", "The device code has expired."));
    }
    let last_asked = device.last_asked.replace(now);
    match device.decision {
        None if last_asked.is_some_and(|last| now < last + device.interval) => {
            device.interval += SLOWER;
            Err(Refusal::new("slow_down", "The device asks too often."))
        }
        None => Err(Refusal::new("authorization_pending", "The person has not decided yet.")),
        Some(yes) => {
            let granted = device.granted.clone();
            // Either way it is used up.
            state.devices.0.remove(&key);
            if !yes {
                return Err(Refusal::new("access_denied", "The person said no."));
            }
            let terms = Terms { settings: &state.settings, clock: &state.clock };
            Ok(state.grants.issue(&terms, granted))
        }
    }
}

/// The page, and what a person sent with it.
pub(super) fn page(state: &mut State, asked: &Asked) -> Reply {
    if asked.method == Method::GET {
        return show(state, asked.query.one("user_code").ok().flatten().unwrap_or_default());
    }
    match decide(state, &asked.fields) {
        Ok(yes) => {
            let said = if yes { "Approved. You can go back to your device." } else { "Denied." };
            said_page(StatusCode::OK, said)
        }
        Err(refusal) => Reply { outcome: refusal.code.into(), ..said_page(refusal.status, &refusal.description) },
    }
}

fn show(state: &State, user_code: &str) -> Reply {
    let typed = as_typed(user_code);
    let device = state.devices.0.values().find(|device| device.user_code == typed);
    let page = Page {
        said: None,
        user_code,
        client: device.map(|device| device.granted.client.as_str()),
        scope: device.map(|device| device.granted.scope.as_slice()).unwrap_or_default(),
    };
    Reply::html(StatusCode::OK, &page)
}

fn said_page(status: StatusCode, said: &str) -> Reply {
    Reply::html(status, &Page { said: Some(said), user_code: "", client: None, scope: &[] })
}

fn decide(state: &mut State, params: &Params) -> Result<bool, Refusal> {
    let typed = as_typed(params.need("user_code")?);
    let yes = params.decision()?;
    let now = state.clock.now();
    let mut waiting = state.devices.0.values_mut();
    let device = waiting.find(|it| it.user_code == typed && it.decision.is_none() && now < it.expires);
    let device = device.ok_or_else(|| Refusal::invalid_request("No device waits with that code."))?;
    device.decision = Some(yes);
    Ok(yes)
}

/// Case and what is between the letters do not matter (RFC 8628, 6.1).
fn as_typed(text: &str) -> String {
    text.chars().filter(char::is_ascii_alphabetic).map(|letter| letter.to_ascii_uppercase()).collect()
}

fn user_code() -> String {
    let letters: String = random_letters(8);
    format!("{}-{}", &letters[..4], &letters[4..])
}

fn random_letters(count: usize) -> String {
    let bytes = Digest::of(random("user-code").as_bytes());
    bytes.as_bytes().iter().take(count).map(|byte| char::from(LETTERS[usize::from(*byte) % LETTERS.len()])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_code_is_read_however_it_is_typed() {
        let code = user_code();
        assert_eq!(code.len(), 9);
        assert_eq!(as_typed(&code.to_lowercase().replace('-', " ")), code.replace('-', ""));
    }
}
