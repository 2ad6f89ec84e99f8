//! From what a connector says to what the host works with. Everything that could break a promise is refused here, once,
//! when the connector is added; a manifest that came through is never looked at again.

use std::{collections::BTreeSet, sync::Arc};

use super::{
    Attachment, AuthOption, Login, Manifest, Oauth2, Operation, Parameter, Scheme, ValueKind,
    audience::{NameInfo, OriginTemplate, UrlTemplate},
    declared,
    jwt::Jwt,
    login,
    oauth2::{OF_APP, names_of_app},
    template::{Template, Use},
};
use crate::{
    error::{Error, Kind, Result},
    text,
};

/// Names that people type and that stand in paths of the store.
const LONGEST_NAME: usize = 64;
const LONGEST_TITLE: usize = 200;
const LONGEST_DESCRIPTION: usize = 8 << 10;
/// All texts of a manifest together: more than a thousand operations with their schemas.
const LARGEST_MANIFEST: usize = 4 << 20;
/// Names that templates of a request may use besides the connection's own.
const OF_REQUEST: [&str; 6] =
    ["request.method", "request.host", "request.path", "request.query", "request.sorted-query", "request.body"];

impl Manifest {
    /// Checks what a connector says of itself.
    ///
    /// # Errors
    /// `invalid-connector` for what cannot be understood, `denied` for what would break a promise. The sentence says
    /// where in the manifest.
    pub fn check(declared: &declared::Connector) -> Result<Self> {
        let manifest = Self::reload(declared)?;
        for operation in &manifest.operations {
            let of = |error: Error| error.context(format!("The operation `{}`", shown(&operation.id)));
            operation.input.prove().map_err(|error| of(error.context("its input")))?;
            operation.output.prove().map_err(|error| of(error.context("its output")))?;
        }
        Ok(manifest)
    }

    /// Checks what was approved before. Whether its schemas are schemas was found out then, and each is compiled when it is
    /// used; everything else is as for [`Manifest::check`].
    ///
    /// # Errors
    /// As for [`Manifest::check`].
    pub fn reload(declared: &declared::Connector) -> Result<Self> {
        let size = serde_json::to_string(declared).map_or(usize::MAX, |text| text.len());
        if size > LARGEST_MANIFEST {
            return Err(
                invalid(format!("it has {size} bytes, and may have {LARGEST_MANIFEST}")).context("The manifest")
            );
        }
        named(&declared.name).map_err(|error| error.context("The connector's name"))?;
        readable(&declared.title, &declared.description).map_err(|error| error.context("The connector"))?;
        if declared.version.is_empty()
            || declared.version.len() > LONGEST_NAME
            || !declared.version.chars().all(|c| c.is_ascii_alphanumeric() || "._+-".contains(c))
        {
            return Err(
                invalid("it is letters, digits and `.`, `_`, `+`, `-`".into()).context("The connector's version")
            );
        }
        unique(declared.auth.iter().map(|option| option.id.as_str()), "auth option")?;
        unique(declared.operations.iter().map(|operation| operation.id.as_str()), "operation")?;
        if declared.auth.is_empty() {
            return Err(invalid("The manifest has no auth option.".into())
                .hint("A service that needs none has the option `none` with nothing in it."));
        }
        if declared.operations.is_empty() {
            return Err(invalid("The manifest has no operation.".into()));
        }
        let options = declared.auth.iter().map(AuthOption::check).collect::<Result<Vec<_>>>()?;
        let operations = declared
            .operations
            .iter()
            .map(|operation| {
                check_operation(operation)
                    .map(Arc::new)
                    .map_err(|error| error.context(format!("The operation `{}`", shown(&operation.id))))
            })
            .collect::<Result<Vec<_>>>()?;
        let open_hosts = check_open_hosts(declared, &options).map_err(|error| error.context("The open hosts"))?;
        Ok(Self {
            name: declared.name.clone(),
            version: declared.version.clone(),
            title: declared.title.clone(),
            description: declared.description.clone(),
            options,
            open_hosts,
            operations,
        })
    }
}

fn check_operation(declared: &declared::Operation) -> Result<Operation> {
    named(&declared.id)?;
    readable(&declared.title, &declared.description)?;
    Operation::check(declared)
}

impl AuthOption {
    /// Checks one auth option for itself, as it was checked among the others of its connector.
    ///
    /// # Errors
    /// As for [`Manifest::check`].
    pub fn check(declared: &declared::AuthOption) -> Result<Self> {
        check_option(declared).map_err(|error| error.context(format!("The auth option `{}`", shown(&declared.id))))
    }
}

fn check_option(declared: &declared::AuthOption) -> Result<AuthOption> {
    named(&declared.id)?;
    readable(&declared.title, "")?;
    unique(declared.parameters.iter().map(|parameter| parameter.name.as_str()), "parameter")?;
    let mut parameters = Vec::new();
    for parameter in &declared.parameters {
        let checked = check_parameter(parameter)
            .map_err(|error| error.context(format!("its parameter `{}`", shown(&parameter.name))))?;
        parameters.push(checked);
    }
    unique(declared.jwts.iter().map(|jwt| jwt.name.as_str()), "jwt")?;
    let of_app = match &declared.scheme {
        declared::Scheme::Oauth2(_) => names_of_app(&parameters),
        _ => Vec::new(),
    };
    let jwts = declared
        .jwts
        .iter()
        .map(|jwt| {
            // A token is made of the connection's values and the request, not of other tokens.
            check_jwt(jwt, &Names { parameters: &parameters, captures: &of_app, jwts: &[] })
                .map_err(|error| error.context(format!("its jwt `{}`", shown(&jwt.name))))
        })
        .collect::<Result<Vec<_>>>()?;
    if matches!(declared.scheme, declared::Scheme::Oauth2(_))
        && let Some(client) = parameters.iter().find(|it| it.several && OF_APP.contains(&it.name.as_str()))
    {
        return Err(invalid(format!("its parameter `{}` is the client's, which has one", client.name)));
    }
    let scheme = match &declared.scheme {
        declared::Scheme::Direct => Scheme::Direct,
        declared::Scheme::Oauth2(settings) => Scheme::Oauth2(Box::new(
            Oauth2::check(settings, &parameters, &jwts).map_err(|error| error.context("its oauth2"))?,
        )),
        declared::Scheme::Login(login) => Scheme::Login(Login::check(login, &parameters, &jwts)?),
    };
    let captures: Vec<Parameter> = scheme.captured().into_iter().chain(of_app).collect();
    let names = Names { parameters: &parameters, captures: &captures, jwts: &jwts };
    let bearer = [declared::Attachment::Header("Authorization".into(), "Bearer {access_token}".into())];
    let attach = if !scheme.is_direct() && declared.attach.is_empty() { &bearer[..] } else { &declared.attach };
    let attach = attach
        .iter()
        .map(|attachment| {
            Attachment::check(attachment, &names)
                .map_err(|error| error.context(format!("its attachment `{}`", shown(attachment.name()))))
        })
        .collect::<Result<Vec<_>>>()?;
    // What renews is for the provider alone: a service that is one too would hand out what comes of it.
    let renewing =
        |it: &Attachment| it.templates().iter().any(|it| it.names().any(|name| name == login::REFRESH_TOKEN));
    if matches!(scheme, Scheme::Oauth2(_)) && attach.iter().any(renewing) {
        return Err(denied("it attaches the refresh token, which goes to the provider's own endpoints only"));
    }
    let audience = declared
        .audience
        .iter()
        .map(|entry| names.audience(entry).map_err(|error| error.context(format!("its audience `{}`", shown(entry)))))
        .collect::<Result<Vec<_>>>()?;
    if audience.is_empty() && !attach.is_empty() {
        return Err(denied("it attaches a credential but names no audience, and an empty audience allows nothing"));
    }
    Ok(AuthOption {
        id: declared.id.clone(),
        title: declared.title.clone(),
        parameters,
        scheme,
        jwts,
        attach,
        audience,
    })
}

fn check_parameter(declared: &declared::Parameter) -> Result<Parameter> {
    proper_name(&declared.name)?;
    readable(&declared.title, "")?;
    Parameter::check(declared)
}

fn check_jwt(declared: &declared::Jwt, names: &Names<'_>) -> Result<Jwt> {
    proper_name(&declared.name)?;
    if names.info(&declared.name).is_some() {
        return Err(invalid("there is a parameter of that name".into()));
    }
    let jwt = Jwt::check(declared, names.secret(&declared.key)?, &|name| names.kind(name))?;
    jwt.templates().try_for_each(|template| names.allow(template))?;
    Ok(jwt)
}

fn check_open_hosts(declared: &declared::Connector, options: &[AuthOption]) -> Result<Vec<OriginTemplate>> {
    // A name in an open host has to mean the same whichever option was chosen, so it must stand in all of them.
    let mut checked = Vec::new();
    for entry in &declared.open_hosts {
        let context = |error: Error| error.context(format!("`{}`", shown(entry)));
        for option in options {
            Names { parameters: &option.parameters, captures: &[], jwts: &[] }.origin(entry).map_err(context)?;
        }
        let first = options.first().map_or(&[][..], |option| &option.parameters);
        checked.push(Names { parameters: first, captures: &[], jwts: &[] }.origin(entry).map_err(context)?);
    }
    Ok(checked)
}

fn parse(text: &str) -> Result<Template> {
    Template::parse(text).map_err(|error| invalid(format!("`{}` is no template: {error}", shown(text))))
}

/// The names that templates of one auth option may use.
pub(super) struct Names<'a> {
    pub(super) parameters: &'a [Parameter],
    /// What the steps of a sign-in have captured by then.
    pub(super) captures: &'a [Parameter],
    pub(super) jwts: &'a [Jwt],
}

impl Names<'_> {
    /// A template that may use secrets.
    pub(super) fn any(&self, text: &str) -> Result<Template> {
        let template = parse(text)?;
        self.allow(&template)?;
        Ok(template)
    }

    /// Whether a template's names exist, and may be used as it uses them.
    pub(super) fn allow(&self, template: &Template) -> Result<()> {
        self.allow_several(template)?;
        match template.names().find(|name| self.value_of(name).is_some_and(|value| value.several)) {
            None => Ok(()),
            Some(name) => Err(invalid(format!(
                "`{}` uses `{}`, which may have several values and so stands in an audience only",
                shown(&template.to_string()),
                shown(name)
            ))),
        }
    }

    /// The same where a name may have several values.
    fn allow_several(&self, template: &Template) -> Result<()> {
        let text = template.to_string();
        for name in template.names() {
            if !OF_REQUEST.contains(&name) && self.info(name).is_none() {
                return Err(invalid(format!("`{}` uses `{}`, which is no parameter of it", shown(&text), shown(name))));
            }
        }
        // Whoever can read a key can sign for the account.
        if let Some((name, _)) = template.uses().find(|(name, used)| *used == Use::Key && !self.is_secret(name)) {
            return Err(denied(&format!(
                "`{}` signs with `{}`, which the connector can read; give it the kind `secret`",
                shown(&text),
                shown(name)
            )));
        }
        Ok(())
    }

    /// A template that may not use secrets: it names where something goes.
    pub(super) fn public(&self, text: &str) -> Result<Template> {
        let template = self.any(text)?;
        if let Some(name) = template.names().find(|name| self.is_secret(name)) {
            return Err(denied(&format!("a secret (`{}`) cannot stand in a name that is shown", shown(name))));
        }
        Ok(template)
    }

    /// A template of nothing but secrets: a password or a key.
    pub(super) fn secret(&self, text: &str) -> Result<Template> {
        let template = self.any(text)?;
        if let Some(name) = template.names().find(|name| !self.is_secret(name)) {
            return Err(denied(&format!(
                "a password or key may use only secrets, and `{}` is one that the connector can read; give it the kind `secret`",
                shown(name)
            )));
        }
        Ok(template)
    }

    /// An entry of an audience; it stands for one origin for each value of a name that has several.
    fn audience(&self, text: &str) -> Result<OriginTemplate> {
        let template = parse(text)?;
        self.allow_several(&template)?;
        self.origin_of(&template)
    }

    fn origin(&self, text: &str) -> Result<OriginTemplate> {
        self.origin_of(&self.any(text)?)
    }

    fn origin_of(&self, template: &Template) -> Result<OriginTemplate> {
        if let Some(name) = template.names().find(|name| self.is_secret(name) && self.group_of(name).is_none()) {
            return Err(denied(&format!("a secret (`{}`) cannot stand in a host", shown(name))));
        }
        template.names().try_for_each(|name| self.refuse_unbounded_capture(name))?;
        OriginTemplate::parse(template, &|name| self.info(name))
            .map_err(|error| invalid(format!("`{}` is no origin: {error}", shown(&template.to_string()))))
    }

    /// A URL. Its host is chosen as an audience's is; its path and query may use anything.
    pub(super) fn url(&self, text: &str) -> Result<UrlTemplate> {
        let template = self.any(text)?;
        let parsed = UrlTemplate::parse(&template, &|name| self.info(name))
            .map_err(|error| invalid(format!("`{}` is no URL: {error}", shown(text))))?;
        for name in parsed.host_names() {
            self.refuse_unbounded_capture(name)?;
        }
        Ok(parsed)
    }

    /// What a service answers chooses where a credential goes only within what the connector said it looks like.
    fn refuse_unbounded_capture(&self, name: &str) -> Result<()> {
        match self.captures.iter().find(|capture| capture.name == name) {
            Some(capture) if capture.pattern.is_none() => {
                Err(denied(&format!("the captured value `{}` stands in a host, so it needs a `pattern`", shown(name))))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn has_secret(&self, template: &Template) -> bool {
        template.names().any(|name| self.is_secret(name))
    }

    /// The kind of a name, where it has one that is declared.
    pub(super) fn kind(&self, name: &str) -> Option<ValueKind> {
        self.info(name).map(|info| info.kind)
    }

    fn is_secret(&self, name: &str) -> bool {
        if self.is_jwt(name) {
            return true;
        }
        self.group_of(name).or_else(|| self.value_of(name)).is_some_and(Parameter::is_secret)
    }

    fn is_jwt(&self, name: &str) -> bool {
        self.jwts.iter().any(|jwt| jwt.name == name)
    }

    fn group_of(&self, name: &str) -> Option<&Parameter> {
        self.values().find(|value| value.groups().any(|group| group == name))
    }

    fn value_of(&self, name: &str) -> Option<&Parameter> {
        self.values().find(|value| value.name == name)
    }

    fn values(&self) -> impl Iterator<Item = &Parameter> {
        self.parameters.iter().chain(self.captures)
    }

    fn info(&self, name: &str) -> Option<NameInfo> {
        if self.is_jwt(name) {
            return Some(NameInfo { kind: ValueKind::Secret, bounded: false, is_pattern_group: false, several: false });
        }
        if self.group_of(name).is_some() {
            return Some(NameInfo { kind: ValueKind::Label, bounded: true, is_pattern_group: true, several: false });
        }
        let value = self.value_of(name)?;
        let bounded = value.pattern.is_some() || !value.choices.is_empty();
        Some(NameInfo { kind: value.kind, bounded, is_pattern_group: false, several: value.several })
    }
}

/// A name in templates. The grammar's names may have dots too, but one's own would look like a group of a pattern.
fn proper_name(name: &str) -> Result<()> {
    let mut characters = name.chars();
    let first = characters.next().is_some_and(|c| c.is_ascii_alphabetic());
    if !first || name.len() > LONGEST_NAME || !characters.all(|c| c.is_ascii_alphanumeric() || "_-".contains(c)) {
        return Err(invalid("its name is a letter, then letters, digits, `_` and `-`".into()));
    }
    Ok(())
}

/// Lower-kebab-case: what may stand in a command, a URL and a path of the store.
fn named(name: &str) -> Result<()> {
    let good = !name.is_empty()
        && name.len() <= LONGEST_NAME
        && name
            .split('-')
            .all(|word| !word.is_empty() && word.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit()))
        && name.starts_with(|c: char| c.is_ascii_lowercase());
    if good {
        return Ok(());
    }
    Err(invalid(format!("`{}` is not lower-kebab-case of at most {LONGEST_NAME} characters", shown(name))))
}

fn readable(title: &str, description: &str) -> Result<()> {
    if title.trim().is_empty() || title.len() > LONGEST_TITLE {
        return Err(invalid(format!("its title is empty or longer than {LONGEST_TITLE} bytes")));
    }
    if description.len() > LONGEST_DESCRIPTION {
        return Err(invalid(format!("its description is longer than {LONGEST_DESCRIPTION} bytes")));
    }
    Ok(())
}

fn unique<'a>(names: impl Iterator<Item = &'a str>, what: &str) -> Result<()> {
    let mut seen = BTreeSet::new();
    for name in names {
        if !seen.insert(name) {
            return Err(invalid(format!("The {what} `{}` is declared twice.", shown(name))));
        }
    }
    Ok(())
}

pub(super) fn shown(name: &str) -> String {
    text::foreign(name, 100)
}

pub(super) fn invalid(why: String) -> Error {
    Kind::InvalidConnector.error(why)
}

pub(super) fn denied(why: &str) -> Error {
    Kind::Denied.error(why)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::{
        declared::{Attachment as Its, Oauth2Setting, ParameterSetting, Scheme as How},
        testing,
    };

    /// A connector whose parameter `hosts` has several values.
    fn of_several(change: impl FnOnce(&mut declared::Connector)) -> Result<Manifest> {
        let mut connector = testing::connector(declared::AuthOption {
            id: "key".into(),
            title: "Key".into(),
            parameters: vec![
                testing::parameter("hosts", ValueKind::Label, &[ParameterSetting::Several]),
                testing::parameter("key", ValueKind::Secret, &[]),
            ],
            scheme: How::Direct,
            jwts: Vec::new(),
            attach: vec![Its::Header("X-Key".into(), "{key}".into())],
            audience: vec!["https://{hosts}.example.com".into()],
        });
        change(&mut connector);
        Manifest::check(&connector)
    }

    #[test]
    fn a_parameter_with_several_values_stands_in_an_audience_and_nowhere_else() {
        assert!(of_several(|_| {}).is_ok());
        let of_hosts = || "{hosts}".to_owned();
        let jwt = declared::Jwt {
            name: "token".into(),
            algorithm: "HS256".into(),
            key: "{key}".into(),
            header: "{}".into(),
            claims: r#"{"aud": "{hosts}"}"#.into(),
            lifetime_seconds: 60,
        };
        let step = |url: &str, body| declared::Step::Call {
            method: "POST".into(),
            url: url.into(),
            attach: Vec::new(),
            body,
            capture: Vec::new(),
        };
        let login =
            |step| How::Login(declared::Login { steps: vec![step], refresh: Vec::new(), lifetime_seconds: None });
        type Change = Box<dyn FnOnce(&mut declared::AuthOption)>;
        let attach = |it: Its| -> Change { Box::new(move |option| option.attach.push(it)) };
        let scheme = |it: How| -> Change { Box::new(move |option| option.scheme = it) };
        let changes: Vec<Change> = vec![
            attach(Its::Header("X-Hosts".into(), of_hosts())),
            attach(Its::Header("X-{hosts}".into(), "x".into())),
            attach(Its::Header("X-Hosts".into(), "{hex(hosts)}".into())),
            attach(Its::Header("X-Hosts".into(), "{key} || {hosts}".into())),
            attach(Its::Query("hosts".into(), of_hosts())),
            attach(Its::Body("/hosts".into(), of_hosts())),
            attach(Its::Path("/{hosts}".into())),
            attach(Its::Basic(of_hosts(), "{key}".into())),
            Box::new(move |option| option.jwts.push(jwt)),
            scheme(login(step("https://{hosts}.example.com", declared::Body::Empty))),
            scheme(login(step("https://a.example.com/{hosts}", declared::Body::Empty))),
            scheme(login(step("https://a.example.com", declared::Body::Form(vec![("h".into(), of_hosts())])))),
            scheme(login(step("https://a.example.com", declared::Body::Json(r#"["{hosts}"]"#.into())))),
            scheme(How::Oauth2(vec![Oauth2Setting::Issuer("https://{hosts}.example.com".into())])),
        ];
        for (index, change) in changes.into_iter().enumerate() {
            let error = of_several(|connector| change(&mut connector.auth[0])).unwrap_err();
            assert!(error.message().contains("several values"), "{index}: {error}");
        }
        let error =
            of_several(|connector| connector.open_hosts.push("https://{hosts}.example.com".into())).unwrap_err();
        assert!(error.message().contains("several values"), "{error}");
        let error = of_several(|connector| {
            connector.auth[0].parameters[0].name = "client_id".into();
            connector.auth[0].audience = vec!["https://a.example.com".into()];
            connector.auth[0].scheme = How::Oauth2(vec![Oauth2Setting::Issuer("https://a.example.com".into())]);
        })
        .unwrap_err();
        assert!(error.message().contains("`client_id` is the client's, which has one"), "{error}");
    }
}
