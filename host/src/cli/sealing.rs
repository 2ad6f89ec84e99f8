//! Sealing what is typed to a gateway, here, where it is typed. The host is asked for the gateway's key and for the terms, and
//! believed in neither: a person compares the key's fingerprint, and what is shown and agreed to is read from the very terms that
//! the box is bound to.

use std::collections::BTreeMap;

use super::{client::Client, connect::agree, print, prompt};
use crate::{
    connect::sample_url,
    digest::Digest,
    egress::rehearse,
    error::{Kind, Result},
    gateway::{AppTerms, Meant, Terms, seal, seal_app},
    secret::Secret,
    server::api::{ConnectProposalView, NewApp, NewConnection, SealedApp, SealedSecrets, SealingView},
};

/// How somebody agrees who is not asked.
pub(super) struct Agreed {
    /// The fingerprint, as the gateway printed it.
    pub(super) key: Option<Digest>,
    /// Everything else.
    pub(super) yes: bool,
}

/// Has the proposal agreed to, and puts what was typed in a box.
pub(super) fn seal_for(
    asked: &NewConnection,
    mut proposal: ConnectProposalView,
    typed: BTreeMap<String, String>,
    agreed: &Agreed,
) -> Result<(ConnectProposalView, SealedSecrets)> {
    let Some(SealingView { gateway, key, terms }) = proposal.sealing.take() else {
        return Err(Kind::Denied.error("The host proposes a connection that goes through no gateway."));
    };
    compare(&gateway, key.fingerprint(), agreed.key)?;
    let secrets: BTreeMap<String, Secret> = typed.into_iter().map(|(name, value)| (name, Secret::new(value))).collect();
    let meant = meant(asked, &gateway, &terms, secrets.clone())?;
    show_what_is_meant(&mut proposal, &meant)?;
    agree(&proposal, Some((&gateway, key.fingerprint())), agreed.yes)?;
    let sealed = seal(&terms, secrets, &key)?;
    Ok((proposal, SealedSecrets { encapsulated: sealed.encapsulated, ciphertext: sealed.sealed }))
}

/// Seals what an app has, for the terms that the host gives.
pub(super) async fn seal_for_app(
    client: &Client,
    (connector, name): (&str, &str),
    asked: &NewApp,
    secrets: BTreeMap<String, Secret>,
    key: Option<Digest>,
) -> Result<SealedApp> {
    let view: SealingView = client.post(&["apps", connector, name, "sealing"], asked).await?;
    let terms = AppTerms::parse(&view.terms)?;
    let same = asked.gateway.as_ref() == Some(&view.gateway)
        && terms.gateway == view.gateway
        && terms.connector == connector
        && terms.app.name == name
        && asked.client_id.as_ref().is_none_or(|id| *id == terms.app.client_id)
        && asked.parameters.iter().all(|(name, value)| terms.parameters.get(name) == Some(value));
    if !same {
        return Err(Kind::Denied.error("The host proposes something else than was asked for; nothing was sealed."));
    }
    compare(&view.gateway, view.key.fingerprint(), key)?;
    // Read from the very terms that the box is bound to.
    prompt::show(&print::section("its secrets will go to", terms.origins.iter().map(ToString::to_string)));
    let sealed = seal_app(&view.terms, secrets, &view.key)?;
    Ok(SealedApp { terms: sealed.terms, encapsulated: sealed.encapsulated, ciphertext: sealed.sealed })
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
fn meant(
    asked: &NewConnection,
    gateway: &str,
    terms: &str,
    secrets: BTreeMap<String, Secret>,
) -> Result<(Meant, Vec<String>)> {
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
    Ok((terms.mean(secrets)?, terms.sign_in))
}

/// Puts in place of the host's word what the terms themselves say.
fn show_what_is_meant(proposal: &mut ConnectProposalView, meant: &(Meant, Vec<String>)) -> Result<()> {
    let (Meant { option, values, audience }, sign_in) = meant;
    proposal.origins = audience.iter().map(ToString::to_string).collect();
    proposal.placements = option.attach.iter().map(|attachment| attachment.place()).collect();
    proposal.readable = values.public().clone();
    proposal.places = Vec::new();
    proposal.sign_in.clone_from(sign_in);
    if let Some(url) = sample_url(audience).filter(|_| option.scheme.is_direct() && !option.needs_app()) {
        let rehearsed = rehearse(&option.attach, &option.jwts, values, &url)?;
        (proposal.places, proposal.short_secrets) = (rehearsed.places, rehearsed.short_secrets);
    }
    Ok(())
}
