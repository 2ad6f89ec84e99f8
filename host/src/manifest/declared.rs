//! What a connector said of itself, word for word: the newest contract's records as plain data. Nothing here is checked
//! or trusted; [`super::Manifest::check`] makes something usable of it. The shapes are those of `wit/connector.wit`.

use serde::{Deserialize, Serialize};

/// Pairs of a name and a template, in order.
pub type Templates = Vec<(String, String)>;

/// `manifest.connector`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the contract documents its own fields")]
pub struct Connector {
    pub name: String,
    pub version: String,
    pub title: String,
    pub description: String,
    pub auth: Vec<AuthOption>,
    pub open_hosts: Vec<String>,
    pub operations: Vec<Operation>,
}

/// `manifest.operation`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the contract documents its own fields")]
pub struct Operation {
    pub id: String,
    pub title: String,
    pub description: String,
    pub effect: Effect,
    pub input: String,
    pub output: String,
    pub scopes: Vec<String>,
}

/// `manifest.effect`: what calling an operation does at the service.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, clap::ValueEnum, utoipa::ToSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Effect {
    /// Changes nothing.
    Read,
    /// Adds or changes.
    Write,
    /// Takes away, or does what cannot be undone.
    Destructive,
}

impl Effect {
    /// As it is written in the contract.
    pub fn name(self) -> &'static str {
        match self {
            Effect::Read => "read",
            Effect::Write => "write",
            Effect::Destructive => "destructive",
        }
    }
}

/// `auth.auth-option`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the contract documents its own fields")]
pub struct AuthOption {
    pub id: String,
    pub title: String,
    pub parameters: Vec<Parameter>,
    pub scheme: Scheme,
    pub jwts: Vec<Jwt>,
    pub attach: Vec<Attachment>,
    pub audience: Vec<String>,
}

/// `auth.kind`: what kind of text a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ValueKind {
    /// Anything printable.
    Text,
    /// Sealed in the store; the connector never sees it.
    Secret,
    /// One label of a host name, or a part of one.
    Label,
    /// One or more whole labels.
    Host,
    /// The beginning of an `http` or `https` URL.
    Url,
    /// A whole number.
    Integer,
    /// `true` or `false`.
    Boolean,
}

impl ValueKind {
    /// As it is written in the contract.
    pub fn name(self) -> &'static str {
        match self {
            ValueKind::Text => "text",
            ValueKind::Secret => "secret",
            ValueKind::Label => "label",
            ValueKind::Host => "host",
            ValueKind::Url => "url",
            ValueKind::Integer => "integer",
            ValueKind::Boolean => "boolean",
        }
    }
}

/// `auth.parameter`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the contract documents its own fields")]
pub struct Parameter {
    pub name: String,
    pub title: String,
    pub kind: ValueKind,
    pub settings: Vec<ParameterSetting>,
}

/// `auth.parameter-setting`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs, reason = "the contract documents its own cases")]
pub enum ParameterSetting {
    Description(String),
    Default(String),
    Choices(Vec<String>),
    Pattern(String),
    Optional,
    OfApp,
    Several,
}

/// `auth.attachment`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs, reason = "the contract documents its own cases")]
pub enum Attachment {
    Header(String, String),
    Query(String, String),
    Body(String, String),
    Path(String),
    Basic(String, String),
    ClientCertificate(String, String),
    AwsSigv4(Sigv4),
    AzureSharedKey { account: String, key: String },
    Oauth1(Oauth1),
    Other(String, String),
}

impl Attachment {
    /// As it is written in the contract.
    pub fn name(&self) -> &str {
        match self {
            Attachment::Header(..) => "header",
            Attachment::Query(..) => "query",
            Attachment::Body(..) => "body",
            Attachment::Path(..) => "path",
            Attachment::Basic(..) => "basic",
            Attachment::ClientCertificate(..) => "client-certificate",
            Attachment::AwsSigv4(..) => "aws-sigv4",
            Attachment::AzureSharedKey { .. } => "azure-shared-key",
            Attachment::Oauth1(..) => "oauth1",
            Attachment::Other(name, _) => name,
        }
    }
}

/// `auth.sigv4`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the contract documents its own fields")]
pub struct Sigv4 {
    pub access_key_id: String,
    pub secret_access_key: String,
    pub session_token: Option<String>,
    pub service: String,
    pub region: String,
}

/// `auth.oauth1`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the contract documents its own fields")]
pub struct Oauth1 {
    pub consumer_key: String,
    pub consumer_secret: String,
    pub token: Option<String>,
    pub token_secret: Option<String>,
    pub method: String,
    pub realm: Option<String>,
    pub params: Templates,
}

/// `auth.jwt`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the contract documents its own fields")]
pub struct Jwt {
    pub name: String,
    pub algorithm: String,
    pub key: String,
    pub header: String,
    pub claims: String,
    pub lifetime_seconds: u32,
}

/// `auth.scheme`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs, reason = "the contract documents its own cases")]
pub enum Scheme {
    Direct,
    Oauth2(Vec<Oauth2Setting>),
    Login(Login),
}

/// `auth.login`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the contract documents its own fields")]
pub struct Login {
    pub steps: Vec<Step>,
    pub refresh: Vec<Step>,
    pub lifetime_seconds: Option<u32>,
}

/// `auth.step`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs, reason = "the contract documents its own cases")]
pub enum Step {
    Call { method: String, url: String, attach: Vec<Attachment>, body: Body, capture: Vec<Capture> },
    Visit { url: String, capture: Vec<Capture> },
}

/// `auth.body`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs, reason = "the contract documents its own cases")]
pub enum Body {
    Empty,
    Form(Templates),
    Json(String),
    Xml(String),
}

/// `auth.capture`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the contract documents its own fields")]
pub struct Capture {
    pub name: String,
    pub at: CaptureFrom,
    pub kind: ValueKind,
    pub pattern: Option<String>,
}

/// `auth.origin`: where a captured value is found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs, reason = "the contract documents its own cases")]
pub enum CaptureFrom {
    Answer(String),
    Header(String),
    Cookies,
    Callback(String),
}

/// `auth.grant`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs, reason = "the contract documents its own cases")]
pub enum Grant {
    AuthorizationCode,
    DeviceCode,
    ClientCredentials,
}

/// `auth.client-auth`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs, reason = "the contract documents its own cases")]
pub enum ClientAuth {
    Post,
    Basic,
    None,
}

/// `auth.token-format`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs, reason = "the contract documents its own cases")]
pub enum TokenFormat {
    Form,
    Json,
    Query,
}

/// `auth.scope`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the contract documents its own fields")]
pub struct Scope {
    pub name: String,
    pub description: Option<String>,
    pub required: bool,
}

/// `auth.oauth2-setting`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs, reason = "the contract documents its own cases")]
pub enum Oauth2Setting {
    Issuer(String),
    AuthorizationUrl(String),
    TokenUrl(String),
    RefreshUrl(String),
    DeviceAuthorizationUrl(String),
    RevocationUrl(String),
    RegistrationUrl(String),
    Grants(Vec<Grant>),
    ClientAuth(ClientAuth),
    Pkce(bool),
    Scopes(Vec<Scope>),
    ScopeSeparator(String),
    AuthorizationParams(Templates),
    TokenParams(Templates),
    RefreshParams(Templates),
    TokenFormat(TokenFormat),
    TokenAttach(Vec<Attachment>),
    Capture(Vec<Capture>),
    AfterToken(Vec<Step>),
    Refresh(Vec<Step>),
    LifetimeSeconds(u32),
    Other(String, String),
}
