//! Builders for what a connector declares. They use the contract's words; `wit/connector.wit` says what each means.

use schemars::{JsonSchema, generate::SchemaSettings};
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    Connector, Effect, Failure, Oauth2,
    bindings::{attache::connector::auth, exports::attache::connector::manifest as declared},
};

pub use auth::{
    AzureSharedKey, Body, Call, Capture, ClientAuth, Grant, Jwt, Kind, Login, Oauth1, Oauth2Setting,
    Origin as CaptureFrom, Scheme, Sigv4, Step,
};

/// What a connector is, without its operations.
#[derive(Debug, Clone)]
#[must_use]
pub struct Manifest {
    name: String,
    version: String,
    title: String,
    description: String,
    auth: Vec<AuthOption>,
    open_hosts: Vec<String>,
}

impl Manifest {
    /// `name` is lower-kebab-case and stays the same through all versions.
    pub fn new(name: &str, version: &str, title: &str, description: &str) -> Self {
        Self {
            name: name.into(),
            version: version.into(),
            title: title.into(),
            description: description.into(),
            auth: Vec::new(),
            open_hosts: Vec::new(),
        }
    }

    /// Adds a way to connect; a connector has one or more.
    pub fn auth(mut self, option: AuthOption) -> Self {
        self.auth.push(option);
        self
    }

    /// Adds an origin that is called without a credential.
    pub fn open_host(mut self, origin: &str) -> Self {
        self.open_hosts.push(origin.into());
        self
    }
}

/// One way to connect.
#[derive(Debug, Clone)]
#[must_use]
pub struct AuthOption(auth::AuthOption);

impl AuthOption {
    /// With the scheme `direct`: what was typed is what is sent.
    pub fn new(id: &str, title: &str) -> Self {
        Self(auth::AuthOption {
            id: id.into(),
            title: title.into(),
            parameters: Vec::new(),
            scheme: auth::Scheme::Direct,
            jwts: Vec::new(),
            attach: Vec::new(),
            audience: Vec::new(),
        })
    }

    /// Signs in at an authorization server. Unless something else is attached, `Authorization: Bearer {access_token}` is.
    pub fn oauth2(self, settings: Oauth2) -> Self {
        self.scheme(auth::Scheme::Oauth2(settings.into_settings()))
    }

    /// Sets how what was typed becomes something to send.
    pub fn scheme(mut self, scheme: Scheme) -> Self {
        self.0.scheme = scheme;
        self
    }

    /// Adds something that somebody types.
    pub fn parameter(mut self, parameter: Parameter) -> Self {
        self.0.parameters.push(parameter.0);
        self
    }

    /// Adds a signed token that the host makes.
    pub fn jwt(mut self, jwt: Jwt) -> Self {
        self.0.jwts.push(jwt);
        self
    }

    /// Adds an origin that the credential may go to.
    pub fn audience(mut self, origin: &str) -> Self {
        self.0.audience.push(origin.into());
        self
    }

    /// Attaches a header; name and value are templates.
    pub fn header(self, name: &str, value: &str) -> Self {
        self.attach(auth::Attachment::Header((name.into(), value.into())))
    }

    /// Attaches a query parameter; name and value are templates.
    pub fn query(self, name: &str, value: &str) -> Self {
        self.attach(auth::Attachment::Query((name.into(), value.into())))
    }

    /// Attaches a member of a JSON body or a form.
    pub fn body(self, pointer: &str, value: &str) -> Self {
        self.attach(auth::Attachment::Body((pointer.into(), value.into())))
    }

    /// Puts something before the path.
    pub fn path(self, template: &str) -> Self {
        self.attach(auth::Attachment::Path(template.into()))
    }

    /// Attaches a user name and a password (RFC 7617).
    pub fn basic(self, user: &str, password: &str) -> Self {
        self.attach(auth::Attachment::Basic((user.into(), password.into())))
    }

    /// Shows a certificate in the TLS handshake.
    pub fn client_certificate(self, certificate: &str, key: &str) -> Self {
        self.attach(auth::Attachment::ClientCertificate((certificate.into(), key.into())))
    }

    /// Signs for AWS.
    pub fn aws_sigv4(self, signature: Sigv4) -> Self {
        self.attach(auth::Attachment::AwsSigv4(signature))
    }

    /// Signs for Azure Storage.
    pub fn azure_shared_key(self, account: &str, key: &str) -> Self {
        self.attach(auth::Attachment::AzureSharedKey(AzureSharedKey { account: account.into(), key: key.into() }))
    }

    /// Signs by OAuth 1.0a (RFC 5849).
    pub fn oauth1(self, signature: Oauth1) -> Self {
        self.attach(auth::Attachment::Oauth1(signature))
    }

    fn attach(mut self, attachment: auth::Attachment) -> Self {
        self.0.attach.push(attachment);
        self
    }
}

impl Call {
    /// A request of a sign-in; its URL is a template, as everything that is put into it.
    pub fn new(method: &str, url: &str) -> Self {
        Self { method: method.into(), url: url.into(), attach: Vec::new(), body: Body::Empty, capture: Vec::new() }
    }

    /// Attaches a query parameter.
    #[must_use]
    pub fn query(mut self, name: &str, value: &str) -> Self {
        self.attach.push(auth::Attachment::Query((name.into(), value.into())));
        self
    }

    /// Sends a form.
    #[must_use]
    pub fn form(mut self, fields: &[(&str, &str)]) -> Self {
        self.body = Body::Form(fields.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect());
        self
    }

    /// Keeps a value of the answer, found by a JSON Pointer; the connector can read it unless it is of kind `secret`.
    #[must_use]
    pub fn capture(mut self, name: &str, pointer: &str, kind: Kind) -> Self {
        self.capture.push(Capture { name: name.into(), at: CaptureFrom::Answer(pointer.into()), kind, pattern: None });
        self
    }
}

impl From<Call> for Step {
    fn from(call: Call) -> Self {
        Step::Call(call)
    }
}

/// Something that somebody types when connecting.
#[derive(Debug, Clone)]
#[must_use]
pub struct Parameter(auth::Parameter);

impl Parameter {
    /// Sealed in the store; the connector never sees it.
    pub fn secret(name: &str, title: &str) -> Self {
        Self::of(name, title, auth::Kind::Secret)
    }

    /// Anything printable; the connector can read it, as all that follow.
    pub fn text(name: &str, title: &str) -> Self {
        Self::of(name, title, auth::Kind::Text)
    }

    /// A label of a host name, or a part of one.
    pub fn label(name: &str, title: &str) -> Self {
        Self::of(name, title, auth::Kind::Label)
    }

    /// One or more whole labels of a host name.
    pub fn host(name: &str, title: &str) -> Self {
        Self::of(name, title, auth::Kind::Host)
    }

    /// The beginning of a URL.
    pub fn url(name: &str, title: &str) -> Self {
        Self::of(name, title, auth::Kind::Url)
    }

    /// A whole number.
    pub fn integer(name: &str, title: &str) -> Self {
        Self::of(name, title, auth::Kind::Integer)
    }

    /// `true` or `false`.
    pub fn boolean(name: &str, title: &str) -> Self {
        Self::of(name, title, auth::Kind::Boolean)
    }

    /// Says more about it.
    pub fn description(self, text: &str) -> Self {
        self.set(auth::ParameterSetting::Description(text.into()))
    }

    /// Used where nothing is typed.
    pub fn default(self, value: &str) -> Self {
        self.set(auth::ParameterSetting::Default(value.into()))
    }

    /// The only values there are.
    pub fn choices(self, values: &[&str]) -> Self {
        self.set(auth::ParameterSetting::Choices(values.iter().map(|value| (*value).to_owned()).collect()))
    }

    /// What it must look like: a regular expression for all of it. Its named groups are names of their own.
    pub fn pattern(self, pattern: &str) -> Self {
        self.set(auth::ParameterSetting::Pattern(pattern.into()))
    }

    /// May be left out.
    pub fn optional(self) -> Self {
        self.set(auth::ParameterSetting::Optional)
    }

    /// Belongs to the operator's app; the person is not asked.
    pub fn of_app(self) -> Self {
        self.set(auth::ParameterSetting::OfApp)
    }

    /// More than one value, for an entry of the audience that stands for one origin each. Read, it has one on each line.
    pub fn several(self) -> Self {
        self.set(auth::ParameterSetting::Several)
    }

    fn of(name: &str, title: &str, kind: auth::Kind) -> Self {
        Self(auth::Parameter { name: name.into(), title: title.into(), kind, settings: Vec::new() })
    }

    fn set(mut self, setting: auth::ParameterSetting) -> Self {
        self.0.settings.push(setting);
        self
    }
}

/// From an operation's input to its output, both as JSON text.
type Run = Box<dyn Fn(&str) -> Result<String, Failure>>;

/// Something that the connector does: what it says of itself, and the function that does it.
#[must_use]
pub struct Operation {
    id: &'static str,
    title: &'static str,
    description: &'static str,
    effect: Effect,
    scopes: Vec<String>,
    // Schemas are made only when the connector is described, not on every call.
    input: fn() -> String,
    output: fn() -> String,
    run: Run,
}

impl Operation {
    /// One that changes nothing at the service.
    pub fn read<I: DeserializeOwned + JsonSchema + 'static, O: Serialize + JsonSchema + 'static>(
        id: &'static str,
        title: &'static str,
        description: &'static str,
        run: fn(I) -> Result<O, Failure>,
    ) -> Self {
        Self::of(id, title, description, Effect::Read, run)
    }

    /// One that adds or changes something.
    pub fn write<I: DeserializeOwned + JsonSchema + 'static, O: Serialize + JsonSchema + 'static>(
        id: &'static str,
        title: &'static str,
        description: &'static str,
        run: fn(I) -> Result<O, Failure>,
    ) -> Self {
        Self::of(id, title, description, Effect::Write, run)
    }

    /// One that takes something away, or does what cannot be undone.
    pub fn destructive<I: DeserializeOwned + JsonSchema + 'static, O: Serialize + JsonSchema + 'static>(
        id: &'static str,
        title: &'static str,
        description: &'static str,
        run: fn(I) -> Result<O, Failure>,
    ) -> Self {
        Self::of(id, title, description, Effect::Destructive, run)
    }

    /// Scopes that this operation needs.
    pub fn scopes(mut self, scopes: &[&str]) -> Self {
        self.scopes = scopes.iter().map(|scope| (*scope).to_owned()).collect();
        self
    }

    fn of<I: DeserializeOwned + JsonSchema + 'static, O: Serialize + JsonSchema + 'static>(
        id: &'static str,
        title: &'static str,
        description: &'static str,
        effect: Effect,
        run: fn(I) -> Result<O, Failure>,
    ) -> Self {
        let run = move |input: &str| {
            let input = serde_json::from_str(input).map_err(|error| Failure::InvalidInput(error.to_string()))?;
            serde_json::to_string(&run(input)?)
                .map_err(|error| Failure::Other(format!("the answer cannot be written as JSON: {error}")))
        };
        Self {
            id,
            title,
            description,
            effect,
            scopes: Vec::new(),
            input: schema::<I>,
            output: output_schema::<O>,
            run: Box::new(run),
        }
    }
}

fn schema<T: JsonSchema>() -> String {
    SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<T>().to_value().to_string()
}

/// What is written may be more than what must be read: a member with a default is always there.
fn output_schema<T: JsonSchema>() -> String {
    SchemaSettings::draft2020_12().for_serialize().into_generator().into_root_schema_for::<T>().to_value().to_string()
}

#[doc(hidden)]
pub fn describe<C: Connector>() -> declared::Connector {
    let manifest = C::describe();
    declared::Connector {
        name: manifest.name,
        version: manifest.version,
        title: manifest.title,
        description: manifest.description,
        auth: manifest.auth.into_iter().map(|option| option.0).collect(),
        open_hosts: manifest.open_hosts,
        operations: C::operations()
            .into_iter()
            .map(|operation| declared::Operation {
                id: operation.id.into(),
                title: operation.title.into(),
                description: operation.description.into(),
                effect: operation.effect,
                input: (operation.input)(),
                output: (operation.output)(),
                scopes: operation.scopes,
            })
            .collect(),
    }
}

#[doc(hidden)]
pub fn invoke<C: Connector>(id: &str, input: &str) -> Result<String, Failure> {
    // The host asks only for what was declared.
    let operation = C::operations().into_iter().find(|operation| operation.id == id);
    let operation = operation.ok_or_else(|| Failure::NotFound(format!("there is no operation {id}")))?;
    (operation.run)(input)
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    struct Greeter;

    #[derive(Deserialize, JsonSchema)]
    struct Name {
        name: String,
    }

    impl Connector for Greeter {
        fn describe() -> Manifest {
            Manifest::new("greeter", "1.0.0", "Greeter", "")
                .auth(AuthOption::new("none", "None").audience("https://a.example"))
                .open_host("https://b.example")
        }

        fn operations() -> Vec<Operation> {
            vec![Operation::read("greet", "Greet", "", |input: Name| Ok(format!("hello {}", input.name)))]
        }

        fn check() -> Result<String, Failure> {
            Ok("tester".into())
        }
    }

    #[test]
    fn one_table_describes_and_runs_operations() {
        let described = describe::<Greeter>();
        assert_eq!(described.operations[0].id, "greet");
        let input: serde_json::Value = serde_json::from_str(&described.operations[0].input).unwrap();
        assert_eq!(input["required"], serde_json::json!(["name"]));
        assert_eq!(invoke::<Greeter>("greet", r#"{"name": "jo"}"#).unwrap(), "\"hello jo\"");
        assert!(matches!(invoke::<Greeter>("greet", "{}"), Err(Failure::InvalidInput(_))));
        assert!(matches!(invoke::<Greeter>("other", "{}"), Err(Failure::NotFound(_))));
    }
}
