//! Sealing what is typed to a gateway, here, where it is typed. The host is asked for the gateway's key and for the terms, and
//! believed in neither: a person compares the key's fingerprint, and what is shown and agreed to is read from the very terms that
//! the box is bound to.

use std::collections::BTreeMap;

use super::{client::Client, connect::agree, prompt};
use crate::{
    connect::sample_url,
    digest::Digest,
    egress::rehearse,
    error::{Kind, Result},
    gateway::{Meant, Terms, seal},
    secret::Secret,
    server::api::{Agree, ConnectProposalView, MadeView, NewConnection, SealedSecrets, SealingView},
};

/// How somebody agrees who is not asked.
pub(super) struct Agreed {
    /// The fingerprint, as the gateway printed it.
    pub(super) key: Option<Digest>,
    /// Everything else.
    pub(super) yes: bool,
}

/// Has the proposal agreed to, and keeps the connection with what was typed in a box.
pub(super) async fn connect(
    client: &Client,
    asked: &NewConnection,
    mut proposal: ConnectProposalView,
    typed: BTreeMap<String, String>,
    agreed: &Agreed,
) -> Result<MadeView> {
    let Some(SealingView { gateway, key, terms }) = proposal.sealing.take() else {
        return Err(Kind::Denied.error("The host proposes a connection that goes through no gateway."));
    };
    compare(&gateway, key.fingerprint(), agreed.key)?;
    let secrets: BTreeMap<String, Secret> = typed.into_iter().map(|(name, value)| (name, Secret::new(value))).collect();
    let meant = meant(asked, &gateway, &terms, secrets.clone())?;
    show_what_is_meant(&mut proposal, &meant)?;
    agree(&proposal, Some((&gateway, key.fingerprint())), agreed.yes)?;
    let sealed = seal(&terms, secrets, &key)?;
    let sealed = SealedSecrets { encapsulated: sealed.encapsulated, ciphertext: sealed.sealed };
    client.post(&["connections"], &Agree { proposal: proposal.proposal, sealed: Some(sealed) }).await
}

/// Whether the host gave the gateway's own key, which nobody but whoever saw the gateway join can say.
fn compare(gateway: &str, shown: Digest, expected: Option<Digest>) -> Result<()> {
    let other = |why: String| {
        Kind::Denied.error(why).hint(
            "Nothing was sealed. Compare with what `attache gateway join` printed on the gateway's own machine; if it differs, \
             somebody else's gateway has that name.",
        )
    };
    match expected {
        Some(expected) if expected == shown => Ok(()),
        Some(_) => Err(other(format!("The host says that the key of the gateway `{gateway}` is {shown}, which is another."))),
        None if !prompt::has_person() => Err(Kind::ConsentNeeded
            .error(format!("Somebody must say that {shown} is the fingerprint of the gateway `{gateway}`."))
            .hint("Without a terminal, `--gateway-key FINGERPRINT` says what `attache gateway join` printed; `--yes` does not.")),
        None => {
            prompt::show(&format!(
                "What you type is sealed to the gateway `{gateway}`, whose key has the fingerprint\n    {shown}\n"
            ));
            match prompt::confirm("Is that what `attache gateway join` printed on its machine?")? {
                true => Ok(()),
                false => Err(other(format!("The key of the gateway `{gateway}` was not confirmed."))),
            }
        }
    }
}

/// What the terms come to, which must be what was asked for.
fn meant(asked: &NewConnection, gateway: &str, terms: &str, secrets: BTreeMap<String, Secret>) -> Result<Meant> {
    let terms = Terms::parse(terms)?;
    let kept = asked.again;
    let same = terms.gateway == gateway
        && terms.connector == asked.connector
        && asked.auth_option.as_ref().is_none_or(|option| *option == terms.option.id)
        && asked.parameters.iter().all(|(name, value)| terms.parameters.get(name) == Some(value));
    // What was not typed is a default, or what was typed before.
    let added = terms.parameters.keys().filter(|name| !asked.parameters.contains_key(*name));
    let known = |name: &String| kept || terms.option.parameters.iter().any(|it| it.name == *name);
    if !same || !added.into_iter().all(known) {
        return Err(Kind::Denied.error("The host proposes something else than was asked for; nothing was sealed."));
    }
    terms.mean(secrets)
}

/// Puts in place of the host's word what the terms themselves say.
fn show_what_is_meant(proposal: &mut ConnectProposalView, meant: &Meant) -> Result<()> {
    let Meant { option, values, audience } = meant;
    proposal.origins = audience.iter().map(ToString::to_string).collect();
    proposal.placements = option.attach.iter().map(|attachment| attachment.place()).collect();
    proposal.readable = values.public().clone();
    proposal.places = Vec::new();
    if let Some(url) = sample_url(audience) {
        let rehearsed = rehearse(&option.attach, &option.jwts, values, &url)?;
        (proposal.places, proposal.short_secrets) = (rehearsed.places, rehearsed.short_secrets);
    }
    Ok(())
}
