//! Where real providers differ from the standard, each with a name, and which of them a provider has together.

use std::collections::BTreeSet;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::error::{Kind, Result};

/// A difference from the standard that some real provider has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Quirk {
    /// Commas between scopes (Slack, Linear, Strava)
    ScopeComma,
    /// A plus between scopes (Pennylane, Workable)
    ScopePlus,
    /// Only scopes that begin with the provider's own URL (Dataverse)
    ScopeOfOrigin,
    /// Clients authenticate by a Basic header only (X, Notion, PayPal)
    ClientBasic,
    /// Clients authenticate in the body only (LinkedIn)
    ClientPost,
    /// The client secret is the user name of a Basic header, with no password (Stripe App)
    ClientSecretAsUser,
    /// Clients authenticate by a signed assertion only (Okta)
    ClientAssertion,
    /// Clients authenticate by a certificate in the TLS handshake only (ADP)
    ClientCertificate,
    /// Certificates are asked for at another port only, which metadata names as `mtls_endpoint_aliases`
    MtlsElsewhere,
    /// Access tokens are good only with the certificate that they were asked for with (RFC 8705, 3)
    CertificateBound,
    /// Token requests are JSON (Notion, Clover, Braintree)
    TokenJson,
    /// Token requests are in the query (Transporeon)
    TokenQuery,
    /// Token requests are XML, an element for each parameter (Sage Intacct); a connector makes them by `login` steps
    TokenXml,
    /// Token requests are GET (DocuWare, Leapsome); a connector makes them by `login` steps
    TokenGet,
    /// The client is `client_key` (TikTok)
    ClientKey,
    /// The code comes back as `spapi_oauth_code` (Amazon Selling Partner)
    SpapiOauthCode,
    /// The redirect URI is `redirect_url` (Printful)
    RedirectUrl,
    /// Token answers say where the API is: `instance_url` (Salesforce)
    InstanceUrl,
    /// Token answers say where the API is: `api_domain` (Pipedrive, Zoho)
    ApiDomain,
    /// The callback says which company: `realmId` (QuickBooks)
    RealmId,
    /// The callback says where tokens are asked for: `accounts-server` (Zoho)
    AccountsServer,
    /// The access token is `authed_user.access_token` (Slack)
    AuthedUser,
    /// Token answers are under `data` (TikTok)
    UnderData,
    /// Token answers have `ok`, and errors are 200 with `ok: false` (Slack)
    OkFalse,
    /// Errors of the token endpoint are 200 (GitHub)
    #[value(name = "error-in-200")]
    #[serde(rename = "error-in-200")]
    ErrorIn200,
    /// Token answers are form-encoded unless `Accept` asks for JSON (GitHub)
    FormAnswer,
    /// `expires_in` is a string (older Azure AD)
    ExpiresString,
    /// `expires_in` is missing (Salesforce, Jobber, Workday)
    ExpiresMissing,
    /// `expires_in` is negative (nobody on purpose)
    ExpiresNegative,
    /// `expires_in` is larger than 64 bits hold (nobody on purpose)
    ExpiresHuge,
    /// The lifetime is in milliseconds, as `expires_in_ms` (Fiserv)
    ExpiresMilliseconds,
    /// Tokens do not expire, and there is no refresh token (Notion, Intercom, Monday)
    NeverExpires,
    /// Tokens are refreshed at another URL, `/refresh` (Figma, Clover)
    RefreshElsewhere,
    /// A refresh gives no new refresh token, and the old one stays good (Google)
    RefreshKept,
    /// A refresh has to name scopes (Entra)
    RefreshScopeDemanded,
    /// A refresh must not name scopes (Railway)
    RefreshScopeRefused,
    /// No refresh token; the access token itself is exchanged by `fb_exchange_token` (Facebook, Instagram, Threads)
    ExchangeAccessToken,
    /// A refresh token only for `access_type=offline` with `prompt=consent` (Google)
    AccessTypeOffline,
    /// A refresh token only for `token_access_type=offline` (Dropbox)
    TokenAccessType,
    /// A refresh token only for `duration=permanent` (Reddit)
    DurationPermanent,
    /// A refresh token only for the scope `offline_access` (Microsoft, Xero, Atlassian)
    OfflineAccess,
    /// A refresh token only for the scope `offline.access` (X)
    OfflineDotAccess,
    /// PKCE is unknown: a challenge is ignored and a verifier refused (LinkedIn, Figma, Slack)
    NoPkce,
    /// The API's rate limit says until when, by `X-RateLimit-Reset`, in place of `Retry-After` (GitHub)
    RateLimitReset,
    /// The API's rate limit is 403 (GitHub, Google Calendar)
    #[value(name = "rate-limit-403")]
    #[serde(rename = "rate-limit-403")]
    RateLimit403,
    /// The API's rate limit is 400 (Linear)
    #[value(name = "rate-limit-400")]
    #[serde(rename = "rate-limit-400")]
    RateLimit400,
}

/// A real provider, as far as its differences are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs, reason = "they are names of providers")]
pub enum Preset {
    Google,
    Slack,
    Github,
    X,
    Facebook,
    Entra,
    Amazon,
    Tiktok,
    Notion,
    Salesforce,
    Quickbooks,
}

impl Quirk {
    /// Its name on the command line and in settings.
    pub fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    /// What it decides, where another quirk decides the same otherwise.
    fn decides(self) -> Option<&'static str> {
        Some(match self {
            Self::ScopeComma | Self::ScopePlus => "what stands between scopes",
            Self::ClientBasic
            | Self::ClientPost
            | Self::ClientSecretAsUser
            | Self::ClientAssertion
            | Self::ClientCertificate => "how clients authenticate",
            Self::TokenJson | Self::TokenQuery | Self::TokenXml | Self::TokenGet => "how a token request is written",
            Self::AuthedUser | Self::UnderData => "where the token is",
            Self::ExpiresString
            | Self::ExpiresMissing
            | Self::ExpiresNegative
            | Self::ExpiresHuge
            | Self::ExpiresMilliseconds
            | Self::NeverExpires => "how expiry is told",
            Self::AccessTypeOffline
            | Self::TokenAccessType
            | Self::DurationPermanent
            | Self::OfflineAccess
            | Self::OfflineDotAccess => "what a refresh token is given for",
            Self::RefreshScopeDemanded | Self::RefreshScopeRefused => "whether a refresh names scopes",
            Self::RateLimit400 | Self::RateLimit403 => "the status of the rate limit",
            _ => return None,
        })
    }

    /// Whether only a provider that speaks TLS can have it.
    pub(super) fn needs_tls(self) -> bool {
        matches!(self, Self::ClientCertificate | Self::MtlsElsewhere | Self::CertificateBound)
    }

    /// Refuses quirks that no provider can have together.
    ///
    /// # Errors
    /// `usage` that names two which decide the same.
    pub(super) fn agree(quirks: &BTreeSet<Self>) -> Result<()> {
        for one in quirks {
            let other =
                quirks.iter().find(|other| *other > one && one.decides().is_some_and(|it| other.decides() == Some(it)));
            if let (Some(other), Some(what)) = (other, one.decides()) {
                return Err(Kind::Usage.error(format!("`{}` and `{}` both say {what}.", one.name(), other.name())));
            }
        }
        Ok(())
    }
}

impl Preset {
    /// Its differences.
    pub fn quirks(self) -> &'static [Quirk] {
        match self {
            Self::Google => &[Quirk::AccessTypeOffline, Quirk::RefreshKept, Quirk::RateLimit403],
            Self::Slack => &[Quirk::ScopeComma, Quirk::AuthedUser, Quirk::OkFalse, Quirk::NoPkce],
            Self::Github => &[Quirk::RateLimit403, Quirk::RateLimitReset, Quirk::ErrorIn200, Quirk::FormAnswer],
            Self::X => &[Quirk::ClientBasic, Quirk::OfflineDotAccess],
            Self::Facebook => &[Quirk::ExchangeAccessToken],
            Self::Entra => &[Quirk::OfflineAccess, Quirk::RefreshScopeDemanded],
            Self::Amazon => &[Quirk::SpapiOauthCode],
            Self::Tiktok => &[Quirk::ClientKey, Quirk::UnderData],
            Self::Notion => &[Quirk::ClientBasic, Quirk::TokenJson, Quirk::NeverExpires],
            Self::Salesforce => &[Quirk::ExpiresMissing, Quirk::InstanceUrl],
            Self::Quickbooks => &[Quirk::RealmId],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_quirk_says_what_it_does_in_one_line() {
        for quirk in Quirk::value_variants() {
            let value = quirk.to_possible_value().unwrap();
            let help = value.get_help().unwrap_or_else(|| panic!("{quirk:?}")).to_string();
            assert!(help.len() < 120 && !help.contains('\n'), "{help}");
            let named: Quirk = serde_json::from_value(quirk.name().into()).unwrap();
            assert_eq!(named, *quirk, "one name on the command line and in settings");
        }
    }

    #[test]
    fn no_preset_contradicts_itself() {
        for preset in Preset::value_variants() {
            Quirk::agree(&preset.quirks().iter().copied().collect()).unwrap();
        }
        let both = BTreeSet::from([Quirk::ScopeComma, Quirk::ScopePlus]);
        assert!(Quirk::agree(&both).unwrap_err().message().contains("`scope-comma` and `scope-plus` both say"));
    }
}
