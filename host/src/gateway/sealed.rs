//! A credential in a box: what was typed, sealed to a gateway's key (HPKE, RFC 9180) and bound to the terms that it was typed
//! for. The terms travel beside the box in clear; opened under others, it is refused as a whole. They are all that the gateway
//! goes by: where the credential is placed and to whom it goes is what was sealed, never what the host says later.

use std::collections::BTreeMap;

use base64::{Engine, prelude::BASE64_STANDARD};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::key::{OpeningKey, SealingKey};
use crate::{
    consent::{self, SealedBox},
    error::{Error, Kind, Result},
    manifest::{AuthOption, Values, audience::OriginPattern, declared},
    secret::Secret,
};

/// What a box is for, and in which form: another is another protocol's.
const INFO: &[u8] = b"attache gateway box 1";
const VERSION: u32 = 1;

/// What a box is bound to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Terms {
    version: u32,
    /// The environment's name.
    pub environment: String,
    /// The gateway's name.
    pub gateway: String,
    /// The connection's id.
    pub connection: Uuid,
    /// How often the connection was made, this time included.
    pub generation: u64,
    /// The connector's name.
    pub connector: String,
    /// The auth option word for word: where the credential is placed, with what is signed.
    pub option: declared::AuthOption,
    /// What was typed and is no secret.
    pub parameters: BTreeMap<String, String>,
    /// The origins that the credential may go to.
    pub audience: Vec<String>,
}

/// What a connection is to be, before anything is sealed for it.
pub(crate) struct Wanted<'a> {
    pub(crate) environment: &'a str,
    pub(crate) gateway: &'a str,
    pub(crate) connection: Uuid,
    pub(crate) generation: u64,
    pub(crate) connector: &'a str,
    pub(crate) option: &'a declared::AuthOption,
    pub(crate) parameters: &'a BTreeMap<String, String>,
    pub(crate) audience: &'a [OriginPattern],
}

impl From<Wanted<'_>> for Terms {
    fn from(wanted: Wanted<'_>) -> Self {
        Self {
            version: VERSION,
            environment: wanted.environment.to_owned(),
            gateway: wanted.gateway.to_owned(),
            connection: wanted.connection,
            generation: wanted.generation,
            connector: wanted.connector.to_owned(),
            option: wanted.option.clone(),
            parameters: wanted.parameters.clone(),
            audience: written(wanted.audience),
        }
    }
}

/// What terms come to with what was typed.
#[derive(Debug)]
pub(crate) struct Meant {
    pub(crate) option: AuthOption,
    pub(crate) values: Values,
    pub(crate) audience: Vec<OriginPattern>,
}

impl Terms {
    /// As it is bound: just these bytes, from whoever proposes them to whoever opens the box.
    ///
    /// # Errors
    /// `internal`.
    pub fn text(&self) -> Result<String> {
        serde_json::to_string(self).map_err(|error| Kind::Internal.error(format!("Terms cannot be written: {error}.")))
    }

    /// Reads them.
    ///
    /// # Errors
    /// `denied` where they are of another version, or none.
    pub fn parse(text: &str) -> Result<Self> {
        let terms: Self = serde_json::from_str(text).map_err(|_| unknown())?;
        if terms.version == VERSION { Ok(terms) } else { Err(unknown()) }
    }

    /// Finds out what they come to.
    ///
    /// # Errors
    /// `invalid-input` where what was typed does not fit them; `denied` where they name another audience than the auth option
    /// makes of it, or an option that signs in.
    pub(crate) fn mean(&self, secrets: BTreeMap<String, Secret>) -> Result<Meant> {
        let option = AuthOption::check(&self.option)?;
        if !option.scheme.is_direct() {
            return Err(signs_in(&option.id));
        }
        let values = Values::new(&option, self.parameters.clone(), secrets)?;
        let audience = consent::audience(&option, &values)?;
        if written(&audience) != self.audience {
            return Err(Kind::Denied.error(format!(
                "The terms say that the credential goes to {}, and their auth option says {}.",
                self.audience.join(", "),
                written(&audience).join(", ")
            )));
        }
        Ok(Meant { option, values, audience })
    }
}

/// The refusal of an auth option that trades what was typed for something else.
pub(crate) fn signs_in(option: &str) -> Error {
    Kind::Usage
        .error(format!(
            "The auth option `{option}` signs in, and through a gateway goes only what is sent as it was typed."
        ))
        .hint("Choose an auth option that sends or signs with what is typed, or connect without a gateway.")
}

fn unknown() -> Error {
    Kind::Denied
        .error("The terms of a sealed credential are not understood.")
        .hint("Run the same version of Attaché at both ends, or connect again.")
}

fn written(audience: &[OriginPattern]) -> Vec<String> {
    audience.iter().map(ToString::to_string).collect()
}

/// What is in a box.
#[derive(Serialize, Deserialize)]
struct Content {
    #[serde(with = "crate::secret::in_sealed_record")]
    secrets: BTreeMap<String, Secret>,
}

/// Seals what was typed, bound to the text of the terms.
///
/// # Errors
/// `internal`.
pub(crate) fn seal(terms: &str, secrets: BTreeMap<String, Secret>, key: &SealingKey) -> Result<SealedBox> {
    let content = serde_json::to_vec(&Content { secrets }).map(Secret::new);
    let content = content.map_err(|_| Kind::Internal.error("What was typed cannot be written."))?;
    let (encapsulated, sealed) = key.seal(INFO, terms.as_bytes(), content.expose())?;
    Ok(SealedBox {
        terms: terms.to_owned(),
        encapsulated: BASE64_STANDARD.encode(encapsulated),
        sealed: BASE64_STANDARD.encode(sealed),
    })
}

/// Opens a box: the terms, and what they come to.
///
/// # Errors
/// `reconnect-needed` where it was sealed to another key or under other terms; as for [`Terms::mean`].
pub(super) fn open(sealed: &SealedBox, key: &OpeningKey) -> Result<(Terms, Meant)> {
    let decoded = |text: &str| BASE64_STANDARD.decode(text).ok();
    let opened = decoded(&sealed.encapsulated)
        .zip(decoded(&sealed.sealed))
        .and_then(|(encapsulated, content)| key.open(INFO, sealed.terms.as_bytes(), &encapsulated, &content))
        .ok_or_else(|| {
            Kind::ReconnectNeeded
                .error("The gateway cannot open the credential: it was sealed to another key, or under other terms.")
                .hint("`attache connection reconnect NAME` seals it anew.")
        })?;
    let Content { secrets } = serde_json::from_slice(&opened).map_err(|_| unknown())?;
    let terms = Terms::parse(&sealed.terms)?;
    let meant = terms.mean(secrets)?;
    Ok((terms, meant))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn option() -> declared::AuthOption {
        declared::AuthOption {
            id: "key".into(),
            title: "A key".into(),
            parameters: [("base", declared::ValueKind::Url), ("key", declared::ValueKind::Secret)]
                .map(|(name, kind)| declared::Parameter {
                    name: name.into(),
                    title: name.into(),
                    kind,
                    settings: Vec::new(),
                })
                .to_vec(),
            scheme: declared::Scheme::Direct,
            jwts: Vec::new(),
            attach: vec![declared::Attachment::Header("X-Key".into(), "{key}".into())],
            audience: vec!["{base}".into()],
        }
    }

    fn terms() -> Terms {
        Terms {
            version: VERSION,
            environment: "default".into(),
            gateway: "plant".into(),
            connection: Uuid::nil(),
            generation: 1,
            connector: "echo".into(),
            option: option(),
            parameters: [("base".to_owned(), "https://a.example/x".to_owned())].into(),
            audience: vec!["https://a.example".into()],
        }
    }

    fn secrets() -> BTreeMap<String, Secret> {
        [("key".to_owned(), Secret::new("hunter2-hunter2"))].into()
    }

    fn sealed(terms: &Terms, key: &OpeningKey) -> SealedBox {
        seal(&terms.text().unwrap(), secrets(), key.public()).unwrap()
    }

    #[test]
    fn a_box_opens_to_what_was_typed_and_what_it_is_for() {
        let key = OpeningKey::generate().unwrap();
        let (opened, meant) = open(&sealed(&terms(), &key), &key).unwrap();
        assert_eq!(opened, terms());
        assert_eq!(meant.values.secret()["key"].expose(), b"hunter2-hunter2");
        assert_eq!(written(&meant.audience), ["https://a.example"]);
        assert!(!serde_json::to_string(&sealed(&terms(), &key)).unwrap().contains("hunter2"));
    }

    #[test]
    fn nobody_changes_a_word_of_the_terms() {
        let key = OpeningKey::generate().unwrap();
        let changes: [fn(&mut Terms); 8] = [
            |it| it.environment = "other".into(),
            |it| it.gateway = "other".into(),
            |it| it.connection = Uuid::max(),
            |it| it.generation = 2,
            |it| it.connector = "other".into(),
            |it| it.option.attach = vec![declared::Attachment::Query("key".into(), "{key}".into())],
            |it| it.parameters = [("base".to_owned(), "https://evil.example".to_owned())].into(),
            |it| it.audience = vec!["https://evil.example".into()],
        ];
        for change in changes {
            let mut other = terms();
            change(&mut other);
            let aimed = SealedBox { terms: other.text().unwrap(), ..sealed(&terms(), &key) };
            let error = open(&aimed, &key).unwrap_err();
            assert_eq!(error.kind(), Kind::ReconnectNeeded, "{other:?}");
        }
        let spaced = SealedBox { terms: format!("{} ", terms().text().unwrap()), ..sealed(&terms(), &key) };
        assert!(open(&spaced, &key).is_err(), "not even in how they are written");
    }

    #[test]
    fn terms_that_contradict_themselves_are_refused_though_they_were_sealed() {
        let key = OpeningKey::generate().unwrap();
        let wider = Terms { audience: vec!["https://a.example".into(), "https://evil.example".into()], ..terms() };
        assert_eq!(open(&sealed(&wider, &key), &key).unwrap_err().kind(), Kind::Denied);
        let mut reading = terms();
        reading.option.attach = vec![declared::Attachment::Other("elsewhere".into(), "{key}".into())];
        assert!(open(&sealed(&reading, &key), &key).is_err());
        let newer = Terms { version: 2, ..terms() };
        assert!(open(&sealed(&newer, &key), &key).unwrap_err().message().contains("not understood"));
    }

    #[test]
    fn what_is_not_a_box_is_not_opened() {
        let key = OpeningKey::generate().unwrap();
        let good = sealed(&terms(), &key);
        for encapsulated in ["", "AAAA", "?", good.sealed.as_str()] {
            assert!(
                open(&SealedBox { encapsulated: encapsulated.into(), ..good.clone() }, &key).is_err(),
                "{encapsulated}"
            );
        }
        assert!(open(&good, &OpeningKey::generate().unwrap()).is_err(), "another gateway's");
    }
}
