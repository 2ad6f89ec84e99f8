//! What the tests of attachments share.

use std::collections::BTreeMap;

use http::{HeaderMap, HeaderName, Method};
use url::Url;

use super::{Attached, Existing, attach};
use crate::{
    error::Result,
    manifest::{
        Attachment,
        template::{Moment, Scope, Template, Value},
    },
    transport::Outgoing,
};

/// Values by name; all but a few names are secret.
struct Given(BTreeMap<String, Value>);

impl Scope for Given {
    fn value(&self, name: &str) -> Option<Value> {
        self.0.get(name).cloned()
    }
}

/// Names of values that are not secret.
const PUBLIC: [&str; 6] = ["tenant", "port", "service", "region", "id", "user"];

pub(super) fn request(method: &str, url: &str, headers: &[(&str, &str)], body: &[u8]) -> Outgoing {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
    }
    Outgoing::new(Method::from_bytes(method.as_bytes()).unwrap(), Url::parse(url).unwrap(), map, body.to_vec().into())
}

pub(super) fn attached(
    attachment: &Attachment,
    values: &[(&str, &str)],
    moment: &Moment,
    existing: Existing,
    request: &mut Outgoing,
) -> Result<Attached> {
    attached_all(std::slice::from_ref(attachment), values, moment, existing, request)
}

pub(super) fn attached_all(
    attachments: &[Attachment],
    values: &[(&str, &str)],
    moment: &Moment,
    existing: Existing,
    request: &mut Outgoing,
) -> Result<Attached> {
    let value = |name: &str, value: &str| {
        if PUBLIC.contains(&name) { Value::public(value) } else { Value::secret(value) }
    };
    let given = Given(values.iter().map(|(name, text)| ((*name).to_owned(), value(name, text))).collect());
    attach(attachments, &[], &given, moment, existing, request)
}

pub(super) fn template(text: &str) -> Template {
    Template::parse(text).unwrap()
}

/// Whether a value is among those that are taken out of answers.
pub(super) fn is_noted(attached: &Attached, value: &str) -> bool {
    attached.values.iter().any(|secret| secret.expose() == value.as_bytes())
}
