//! `attache:connector@0.1.0`.

use wasmtime::component::InstancePre;

use super::super::{GuestRequest, SendError, instance::Guest};
use crate::manifest::declared;

wasmtime::component::bindgen!({
    path: "../wit",
    world: "connector",
    imports: { default: async | trappable },
    exports: { default: async },
});

use attache::connector::{auth, http, log};
use exports::attache::connector::{manifest, operations};

pub(in super::super) use operations::{Failure, Guest as Operations};

/// A component linked to the host, and where its exports are.
#[derive(Clone)]
pub(in super::super) struct Linked {
    pub(in super::super) instance: InstancePre<Guest>,
    /// Checking the types of `describe` takes as long as running a small operation, so that only who describes loads it.
    pub(in super::super) manifest: manifest::GuestIndices,
    pub(in super::super) operations: operations::GuestIndices,
}

impl Linked {
    /// Finds the exports; their types are checked when they are loaded.
    pub(in super::super) fn new(instance: InstancePre<Guest>) -> wasmtime::Result<Self> {
        let manifest = manifest::GuestIndices::new(&instance)?;
        let operations = operations::GuestIndices::new(&instance)?;
        Ok(Self { instance, manifest, operations })
    }
}

impl attache::connector::types::Host for Guest {}
impl auth::Host for Guest {}

impl attache::connector::connection::Host for Guest {
    async fn parameter(&mut self, name: String) -> wasmtime::Result<Option<String>> {
        self.count_host_call()?;
        Ok(self.way_out()?.parameter(&name))
    }

    async fn audience(&mut self) -> wasmtime::Result<Vec<String>> {
        self.count_host_call()?;
        Ok(self.way_out()?.audience())
    }

    async fn auth_option(&mut self) -> wasmtime::Result<String> {
        self.count_host_call()?;
        Ok(self.way_out()?.auth_option())
    }

    async fn scopes(&mut self) -> wasmtime::Result<Vec<String>> {
        self.count_host_call()?;
        Ok(self.way_out()?.scopes())
    }
}

impl http::Host for Guest {
    async fn send(&mut self, request: http::Request) -> wasmtime::Result<Result<http::Response, http::Error>> {
        let request = GuestRequest {
            method: request.method,
            url: request.url,
            headers: request.headers,
            body: request.body,
            attach: matches!(request.credential, http::Credential::Attach),
        };
        Ok(match self.send(request).await? {
            Ok(response) => {
                Ok(http::Response { status: response.status, headers: response.headers, body: response.body })
            }
            Err(error) => Err(match error {
                SendError::Denied(why) => http::Error::Denied(why),
                SendError::NeedsReconnect(why) => http::Error::NeedsReconnect(why),
                SendError::Timeout(why) => http::Error::Timeout(why),
                SendError::TooLarge(why) => http::Error::TooLarge(why),
                SendError::Unreachable(why) => http::Error::Unreachable(why),
                SendError::InvalidRequest(why) => http::Error::InvalidRequest(why),
            }),
        })
    }
}

impl log::Host for Guest {
    async fn write(&mut self, level: log::Level, message: String) -> wasmtime::Result<()> {
        self.count_host_call()?;
        self.log(
            match level {
                log::Level::Debug => tracing::Level::DEBUG,
                log::Level::Info => tracing::Level::INFO,
                log::Level::Warn => tracing::Level::WARN,
                log::Level::Error => tracing::Level::ERROR,
            },
            &message,
        );
        Ok(())
    }
}

impl From<manifest::Connector> for declared::Connector {
    fn from(it: manifest::Connector) -> Self {
        Self {
            name: it.name,
            version: it.version,
            title: it.title,
            description: it.description,
            auth: all(it.auth),
            open_hosts: it.open_hosts,
            operations: all(it.operations),
        }
    }
}

impl From<manifest::Operation> for declared::Operation {
    fn from(it: manifest::Operation) -> Self {
        Self {
            id: it.id,
            title: it.title,
            description: it.description,
            effect: match it.effect {
                manifest::Effect::Read => declared::Effect::Read,
                manifest::Effect::Write => declared::Effect::Write,
                manifest::Effect::Destructive => declared::Effect::Destructive,
            },
            input: it.input,
            output: it.output,
            scopes: it.scopes,
        }
    }
}

impl From<auth::AuthOption> for declared::AuthOption {
    fn from(it: auth::AuthOption) -> Self {
        Self {
            id: it.id,
            title: it.title,
            parameters: all(it.parameters),
            scheme: it.scheme.into(),
            jwts: all(it.jwts),
            attach: all(it.attach),
            audience: it.audience,
        }
    }
}

impl From<auth::Kind> for declared::ValueKind {
    fn from(it: auth::Kind) -> Self {
        match it {
            auth::Kind::Text => Self::Text,
            auth::Kind::Secret => Self::Secret,
            auth::Kind::Label => Self::Label,
            auth::Kind::Host => Self::Host,
            auth::Kind::Url => Self::Url,
            auth::Kind::Integer => Self::Integer,
            auth::Kind::Boolean => Self::Boolean,
        }
    }
}

impl From<auth::Parameter> for declared::Parameter {
    fn from(it: auth::Parameter) -> Self {
        Self { name: it.name, title: it.title, kind: it.kind.into(), settings: all(it.settings) }
    }
}

impl From<auth::ParameterSetting> for declared::ParameterSetting {
    fn from(it: auth::ParameterSetting) -> Self {
        match it {
            auth::ParameterSetting::Description(text) => Self::Description(text),
            auth::ParameterSetting::Default(text) => Self::Default(text),
            auth::ParameterSetting::Choices(values) => Self::Choices(values),
            auth::ParameterSetting::Pattern(pattern) => Self::Pattern(pattern),
            auth::ParameterSetting::Optional => Self::Optional,
            auth::ParameterSetting::OfApp => Self::OfApp,
            auth::ParameterSetting::Several => Self::Several,
        }
    }
}

impl From<auth::Attachment> for declared::Attachment {
    fn from(it: auth::Attachment) -> Self {
        match it {
            auth::Attachment::Header((name, value)) => Self::Header(name, value),
            auth::Attachment::Query((name, value)) => Self::Query(name, value),
            auth::Attachment::Body((name, value)) => Self::Body(name, value),
            auth::Attachment::Path(path) => Self::Path(path),
            auth::Attachment::Basic((user, password)) => Self::Basic(user, password),
            auth::Attachment::ClientCertificate((certificate, key)) => Self::ClientCertificate(certificate, key),
            auth::Attachment::AwsSigv4(it) => Self::AwsSigv4(declared::Sigv4 {
                access_key_id: it.access_key_id,
                secret_access_key: it.secret_access_key,
                session_token: it.session_token,
                service: it.service,
                region: it.region,
            }),
            auth::Attachment::AzureSharedKey(it) => Self::AzureSharedKey { account: it.account, key: it.key },
            auth::Attachment::Oauth1(it) => Self::Oauth1(declared::Oauth1 {
                consumer_key: it.consumer_key,
                consumer_secret: it.consumer_secret,
                token: it.token,
                token_secret: it.token_secret,
                method: it.method,
                realm: it.realm,
                params: it.params,
            }),
            auth::Attachment::Other((name, json)) => Self::Other(name, json),
        }
    }
}

impl From<auth::Jwt> for declared::Jwt {
    fn from(it: auth::Jwt) -> Self {
        Self {
            name: it.name,
            algorithm: it.algorithm,
            key: it.key,
            header: it.header,
            claims: it.claims,
            lifetime_seconds: it.lifetime_seconds,
        }
    }
}

impl From<auth::Scheme> for declared::Scheme {
    fn from(it: auth::Scheme) -> Self {
        match it {
            auth::Scheme::Direct => Self::Direct,
            auth::Scheme::Oauth2(settings) => Self::Oauth2(all(settings)),
            auth::Scheme::Login(login) => Self::Login(declared::Login {
                steps: all(login.steps),
                refresh: all(login.refresh),
                lifetime_seconds: login.lifetime_seconds,
            }),
        }
    }
}

impl From<auth::Step> for declared::Step {
    fn from(it: auth::Step) -> Self {
        match it {
            auth::Step::Call(call) => Self::Call {
                method: call.method,
                url: call.url,
                attach: all(call.attach),
                body: match call.body {
                    auth::Body::Empty => declared::Body::Empty,
                    auth::Body::Form(form) => declared::Body::Form(form),
                    auth::Body::Json(json) => declared::Body::Json(json),
                    auth::Body::Xml(xml) => declared::Body::Xml(xml),
                },
                capture: all(call.capture),
            },
            auth::Step::Visit(visit) => Self::Visit { url: visit.url, capture: all(visit.capture) },
        }
    }
}

impl From<auth::Capture> for declared::Capture {
    fn from(it: auth::Capture) -> Self {
        Self {
            name: it.name,
            at: match it.at {
                auth::Origin::Answer(pointer) => declared::CaptureFrom::Answer(pointer),
                auth::Origin::Header(name) => declared::CaptureFrom::Header(name),
                auth::Origin::Cookies => declared::CaptureFrom::Cookies,
                auth::Origin::Callback(name) => declared::CaptureFrom::Callback(name),
            },
            kind: it.kind.into(),
            pattern: it.pattern,
        }
    }
}

impl From<auth::Oauth2Setting> for declared::Oauth2Setting {
    fn from(it: auth::Oauth2Setting) -> Self {
        use auth::Oauth2Setting as Its;
        match it {
            Its::Issuer(url) => Self::Issuer(url),
            Its::AuthorizationUrl(url) => Self::AuthorizationUrl(url),
            Its::TokenUrl(url) => Self::TokenUrl(url),
            Its::RefreshUrl(url) => Self::RefreshUrl(url),
            Its::DeviceAuthorizationUrl(url) => Self::DeviceAuthorizationUrl(url),
            Its::RevocationUrl(url) => Self::RevocationUrl(url),
            Its::RegistrationUrl(url) => Self::RegistrationUrl(url),
            Its::Grants(grants) => Self::Grants(
                grants
                    .into_iter()
                    .map(|grant| match grant {
                        auth::Grant::AuthorizationCode => declared::Grant::AuthorizationCode,
                        auth::Grant::DeviceCode => declared::Grant::DeviceCode,
                        auth::Grant::ClientCredentials => declared::Grant::ClientCredentials,
                    })
                    .collect(),
            ),
            Its::ClientAuth(way) => Self::ClientAuth(match way {
                auth::ClientAuth::Post => declared::ClientAuth::Post,
                auth::ClientAuth::Basic => declared::ClientAuth::Basic,
                auth::ClientAuth::None => declared::ClientAuth::None,
            }),
            Its::Pkce(on) => Self::Pkce(on),
            Its::Scopes(scopes) => Self::Scopes(
                scopes
                    .into_iter()
                    .map(|it| declared::Scope { name: it.name, description: it.description, required: it.required })
                    .collect(),
            ),
            Its::ScopeSeparator(separator) => Self::ScopeSeparator(separator),
            Its::AuthorizationParams(params) => Self::AuthorizationParams(params),
            Its::TokenParams(params) => Self::TokenParams(params),
            Its::RefreshParams(params) => Self::RefreshParams(params),
            Its::TokenFormat(format) => Self::TokenFormat(match format {
                auth::TokenFormat::Form => declared::TokenFormat::Form,
                auth::TokenFormat::Json => declared::TokenFormat::Json,
                auth::TokenFormat::Query => declared::TokenFormat::Query,
            }),
            Its::TokenAttach(attach) => Self::TokenAttach(all(attach)),
            Its::Capture(capture) => Self::Capture(all(capture)),
            Its::AfterToken(steps) => Self::AfterToken(all(steps)),
            Its::Refresh(steps) => Self::Refresh(all(steps)),
            Its::LifetimeSeconds(seconds) => Self::LifetimeSeconds(seconds),
            Its::Other((name, json)) => Self::Other(name, json),
        }
    }
}

fn all<A, B: From<A>>(items: Vec<A>) -> Vec<B> {
    items.into_iter().map(B::from).collect()
}
