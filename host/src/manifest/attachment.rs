//! Attachments: what the host puts on a request as it leaves, checked.

use super::{
    check::{Names, denied, invalid, shown},
    declared,
    pointer::Pointer,
    template::{JsonKind, Part, Template},
};
use crate::error::Result;

/// Something that the host puts on a request as it leaves.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "the contract documents its own fields")]
pub enum Attachment {
    Header {
        name: Template,
        value: Template,
    },
    Query {
        name: Template,
        value: Template,
    },
    /// A member of a JSON body, written as its kind asks, or a field of a form.
    Body {
        member: Pointer,
        value: Template,
        kind: JsonKind,
    },
    /// Begins with a slash and ends without one.
    Path {
        prefix: Template,
    },
    Basic {
        user: Template,
        password: Template,
    },
    ClientCertificate {
        certificate: Template,
        key: Template,
    },
    AwsSigv4(Sigv4),
    AzureSharedKey {
        account: Template,
        key: Template,
    },
    Oauth1(Oauth1),
}

/// AWS Signature Version 4.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "the contract documents its own fields")]
pub struct Sigv4 {
    pub access_key_id: Template,
    pub secret_access_key: Template,
    pub session_token: Option<Template>,
    pub service: Template,
    pub region: Template,
}

/// OAuth 1.0 (RFC 5849).
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "the contract documents its own fields")]
pub struct Oauth1 {
    pub consumer_key: Template,
    pub consumer_secret: Template,
    pub token: Option<Template>,
    pub token_secret: Option<Template>,
    pub method: Oauth1Method,
    pub realm: Option<Template>,
    pub params: Vec<(String, Template)>,
}

/// How an OAuth 1.0 request is signed (RFC 5849 section 3.4; HMAC-SHA256 is in common use beside it).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are RFC 5849's")]
pub enum Oauth1Method {
    HmacSha1,
    HmacSha256,
    /// The consumer secret is a private key in PEM.
    RsaSha1,
    /// The secrets themselves are sent.
    Plaintext,
}

impl Oauth1Method {
    const ALL: [Self; 4] = [Self::HmacSha1, Self::HmacSha256, Self::RsaSha1, Self::Plaintext];

    /// As `oauth_signature_method` has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::HmacSha1 => "HMAC-SHA1",
            Self::HmacSha256 => "HMAC-SHA256",
            Self::RsaSha1 => "RSA-SHA1",
            Self::Plaintext => "PLAINTEXT",
        }
    }
}

impl Attachment {
    /// Where it goes, for people: `header X-Api-Key`. Templates stand as they are.
    pub fn place(&self) -> String {
        match self {
            Attachment::Header { name, .. } => format!("header {name}"),
            Attachment::Query { name, .. } => format!("query {name}"),
            Attachment::Body { member, .. } => format!("body {member}"),
            Attachment::Path { prefix } => format!("path {prefix}"),
            Attachment::Basic { .. } => "header Authorization (Basic)".into(),
            Attachment::ClientCertificate { .. } => "TLS client certificate".into(),
            Attachment::AwsSigv4(Sigv4 { session_token: None, .. }) => {
                "header Authorization (AWS Signature Version 4)".into()
            }
            Attachment::AwsSigv4(_) => {
                "headers Authorization and X-Amz-Security-Token (AWS Signature Version 4)".into()
            }
            Attachment::AzureSharedKey { .. } => "header Authorization (Azure SharedKey)".into(),
            Attachment::Oauth1(Oauth1 { method: Oauth1Method::Plaintext, .. }) => {
                "header Authorization (OAuth 1.0 PLAINTEXT, which sends the secrets themselves)".into()
            }
            Attachment::Oauth1(Oauth1 { method, .. }) => format!("header Authorization (OAuth 1.0 {})", method.name()),
        }
    }

    /// Every template of it.
    pub fn templates(&self) -> Vec<&Template> {
        match self {
            Attachment::Header { name, value } | Attachment::Query { name, value } => vec![name, value],
            Attachment::Body { value, .. } => vec![value],
            Attachment::Path { prefix } => vec![prefix],
            Attachment::Basic { user, password } => vec![user, password],
            Attachment::ClientCertificate { certificate, key } => vec![certificate, key],
            Attachment::AzureSharedKey { account, key } => vec![account, key],
            Attachment::AwsSigv4(it) => {
                let all = [&it.access_key_id, &it.secret_access_key, &it.service, &it.region];
                all.into_iter().chain(&it.session_token).collect()
            }
            Attachment::Oauth1(it) => {
                let more = [&it.token, &it.token_secret, &it.realm].into_iter().flatten();
                let params = it.params.iter().map(|(_, value)| value);
                [&it.consumer_key, &it.consumer_secret].into_iter().chain(more).chain(params).collect()
            }
        }
    }

    /// The place and what is put there, so that a different template in the same place is seen.
    pub fn describe(&self) -> String {
        let place = self.place();
        match self {
            Attachment::Header { value, .. } | Attachment::Query { value, .. } | Attachment::Body { value, .. } => {
                format!("{place}: {value}")
            }
            Attachment::Path { .. } => place,
            Attachment::Basic { user, password } => format!("{place}: {user} and {password}"),
            Attachment::ClientCertificate { certificate, key } => format!("{place}: {certificate}, with {key}"),
            Attachment::AzureSharedKey { account, key } => format!("{place}: {account}, signed with {key}"),
            Attachment::AwsSigv4(it) => {
                let token = it.session_token.iter().map(|token| format!(", with {token}")).collect::<String>();
                let Sigv4 { access_key_id, secret_access_key, service, region, .. } = it;
                format!("{place}: {access_key_id}{token}, signed with {secret_access_key} for {service} in {region}")
            }
            Attachment::Oauth1(it) => {
                let mut text = format!("{place}: {}", it.consumer_key);
                let named = [("token", &it.token), ("realm", &it.realm)];
                for (name, template) in named.iter().filter_map(|(name, it)| Some((name, it.as_ref()?))) {
                    text.push_str(&format!(", {name} {template}"));
                }
                it.params.iter().for_each(|(name, value)| text.push_str(&format!(", {name} {value}")));
                text.push_str(&format!(", signed with {}", it.consumer_secret));
                it.token_secret.iter().for_each(|secret| text.push_str(&format!(" and {secret}")));
                text
            }
        }
    }

    pub(super) fn check(declared: &declared::Attachment, names: &Names<'_>) -> Result<Self> {
        Ok(match declared {
            declared::Attachment::Header(name, value) => {
                let (name, value) = (names.public(name)?, names.any(value)?);
                let carries_a_password = matches!(
                    name.to_string().to_ascii_lowercase().as_str(),
                    "authorization" | "proxy-authorization" | "cookie"
                );
                if carries_a_password && value.names().next().is_some() && !names.has_secret(&value) {
                    return Err(denied(
                        "a credential made only of values that the connector can read is none; give the parameter the kind `secret`",
                    ));
                }
                Attachment::Header { name, value }
            }
            declared::Attachment::Query(name, value) => {
                Attachment::Query { name: names.public(name)?, value: names.any(value)? }
            }
            declared::Attachment::Body(pointer, value) => {
                let member = Pointer::parse(pointer).map_err(|why| invalid(why.into()))?;
                if member.tokens().is_empty() {
                    return Err(invalid("the whole body cannot be a credential; name a member of it: `/name`".into()));
                }
                let value = names.any(value)?;
                let kind = JsonKind::of(&value, &|name| names.kind(name));
                Attachment::Body { member, value, kind }
            }
            declared::Attachment::Path(prefix) => {
                let prefix = names.any(prefix)?;
                check_prefix(&prefix)?;
                Attachment::Path { prefix }
            }
            declared::Attachment::Basic(user, password) => {
                Attachment::Basic { user: names.any(user)?, password: names.secret(password)? }
            }
            declared::Attachment::AwsSigv4(it) => Attachment::AwsSigv4(Sigv4 {
                access_key_id: names.any(&it.access_key_id)?,
                secret_access_key: names.secret(&it.secret_access_key)?,
                session_token: it.session_token.as_ref().map(|token| names.any(token)).transpose()?,
                service: names.public(&it.service)?,
                region: names.public(&it.region)?,
            }),
            declared::Attachment::AzureSharedKey { account, key } => {
                Attachment::AzureSharedKey { account: names.any(account)?, key: names.secret(key)? }
            }
            declared::Attachment::Oauth1(it) => Attachment::Oauth1(Oauth1::check(it, names)?),
            declared::Attachment::Other(..) => {
                return Err(invalid("the host does not know it".into())
                    .hint("A newer Attaché may; the contract's version is 0.1.0."));
            }
            declared::Attachment::ClientCertificate(certificate, key) => {
                Attachment::ClientCertificate { certificate: names.any(certificate)?, key: names.secret(key)? }
            }
        })
    }
}

impl Oauth1 {
    fn check(declared: &declared::Oauth1, names: &Names<'_>) -> Result<Self> {
        let method =
            Oauth1Method::ALL.into_iter().find(|method| method.name() == declared.method).ok_or_else(|| {
                let known = Oauth1Method::ALL.map(Oauth1Method::name).join(", ");
                invalid(format!("there is no method `{}` ({known})", shown(&declared.method)))
            })?;
        let mut params: Vec<(String, Template)> = Vec::new();
        for (name, value) in &declared.params {
            if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || "_-.".contains(c)) {
                return Err(invalid(format!(
                    "`{}` is no name of a parameter: letters, digits, `_`, `-` and `.`",
                    shown(name)
                )));
            }
            if OF_PROTOCOL.contains(&name.as_str()) || params.iter().any(|(other, _)| other == name) {
                return Err(invalid(format!("the parameter `{}` is there already", shown(name))));
            }
            params.push((name.clone(), names.any(value)?));
        }
        Ok(Self {
            consumer_key: names.any(&declared.consumer_key)?,
            consumer_secret: names.secret(&declared.consumer_secret)?,
            token: declared.token.as_ref().map(|token| names.any(token)).transpose()?,
            token_secret: declared.token_secret.as_ref().map(|secret| names.secret(secret)).transpose()?,
            method,
            realm: declared.realm.as_ref().map(|realm| names.public(realm)).transpose()?,
            params,
        })
    }
}

/// What the host writes itself (RFC 5849 section 3.1).
const OF_PROTOCOL: [&str; 8] = [
    "oauth_consumer_key",
    "oauth_token",
    "oauth_signature_method",
    "oauth_timestamp",
    "oauth_nonce",
    "oauth_version",
    "oauth_signature",
    "realm",
];

/// What an author writes before a path is the beginning of one: whole segments, and nothing that ends a path.
fn check_prefix(prefix: &Template) -> Result<()> {
    let wrong = |why: &str| Err(invalid(format!("`{}` {why}", shown(&prefix.to_string()))));
    for parts in &prefix.alternatives {
        let literal = |part: Option<&Part>| match part {
            Some(Part::Literal(text)) => text.clone(),
            _ => String::new(),
        };
        if !literal(parts.first()).starts_with('/') || literal(parts.last()).ends_with('/') {
            return wrong("does not begin with a slash and end without one, as what stands before a path must");
        }
        // RFC 3986's pchar and the slash: nothing that a URL parser would rewrite, or take for the path's end.
        let is_of_path = |c: char| c.is_ascii_alphanumeric() || "-._~!$&'()*+,;=:@%/".contains(c);
        if parts.iter().any(|part| matches!(part, Part::Literal(text) if !text.chars().all(is_of_path))) {
            return wrong("has a character that does not stand in a path (RFC 3986 section 3.3)");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
