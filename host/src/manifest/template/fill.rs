//! From a template's parts and a connection's values to what is sent.

use std::{cell::OnceCell, fmt};

use jiff::Timestamp;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};
use uuid::Uuid;
use zeroize::Zeroizing;

use super::{Expression, Part, Template, Value, function::Format};

/// RFC 3986's unreserved characters.
const UNRESERVED: AsciiSet = NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Where values come from.
pub trait Scope {
    /// The value of a name; none where it has none.
    fn value(&self, name: &str) -> Option<Value>;
}

/// Where the text lands, which decides how values in it are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Landing {
    /// As it is: a key, a user name, a value that somebody else encodes.
    Plain,
    /// A header's value: control characters are refused (RFC 9110 section 5.5).
    Header,
    /// A segment of a path, percent-encoded; `.` and `..` are refused.
    PathSegment,
    /// A part of a query, percent-encoded.
    Query,
    /// Inside a JSON string (RFC 8259).
    Json,
    /// Inside XML text or an attribute's value.
    Xml,
}

/// The time and the UUID of one request: a header and the signature over it must agree.
pub struct Moment {
    time: Timestamp,
    uuid: OnceCell<Uuid>,
}

impl Moment {
    /// This moment.
    pub fn now() -> Self {
        Self::at(Timestamp::now())
    }

    /// A moment of somebody's choosing.
    pub fn at(time: Timestamp) -> Self {
        Self { time, uuid: OnceCell::new() }
    }

    /// As IMF-fixdate (RFC 9110 section 5.6.7).
    pub fn http_date(&self) -> String {
        // The format is fixed and every timestamp has it, so this cannot fail.
        Format::Http.write(self.time).unwrap_or_default()
    }

    pub(super) fn time(&self) -> Timestamp {
        self.time
    }

    pub(super) fn uuid(&self) -> Uuid {
        *self.uuid.get_or_init(Uuid::new_v4)
    }
}

/// Why a template could not be filled. It names names, never values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FillError(String);

impl fmt::Display for FillError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for FillError {}

impl Template {
    /// Fills the first alternative whose names all have a value; none where there is no such alternative. Literal text stays
    /// as it was written, values are written as the landing asks.
    ///
    /// # Errors
    /// Where a value does not fit its function or its landing.
    pub fn fill(&self, scope: &dyn Scope, landing: Landing, moment: &Moment) -> Result<Option<Value>, FillError> {
        'alternatives: for parts in &self.alternatives {
            let mut filled = Zeroizing::new(Vec::new());
            let mut secret = false;
            for part in parts {
                match part {
                    Part::Literal(text) => filled.extend_from_slice(text.as_bytes()),
                    Part::Value(expression) => {
                        let Some(value) = expression.evaluate(scope, moment)? else { continue 'alternatives };
                        secret |= value.is_secret();
                        let written = written(value.bytes(), landing)
                            .map_err(|why| FillError(format!("the value of `{}` {why}", expression.shown())))?;
                        filled.extend_from_slice(&written);
                    }
                }
            }
            return Ok(Some(Value::of(std::mem::take(&mut *filled), secret)));
        }
        Ok(None)
    }
}

impl Expression {
    fn evaluate(&self, scope: &dyn Scope, moment: &Moment) -> Result<Option<Value>, FillError> {
        match self {
            Expression::Name(name) => Ok(scope.value(name)),
            Expression::Literal(text) => Ok(Some(Value::public(text.as_bytes()))),
            Expression::Call(function, arguments) => {
                let mut values = Vec::with_capacity(arguments.len());
                for argument in arguments {
                    let Some(value) = argument.evaluate(scope, moment)? else { return Ok(None) };
                    values.push(value);
                }
                let computed = function.apply(&values, moment);
                computed.map(Some).map_err(|why| FillError(format!("`{}` cannot be computed: {why}", self.shown())))
            }
        }
    }

    /// For messages: the name, or the names that a function is computed from.
    fn shown(&self) -> String {
        match self {
            Expression::Name(name) => name.clone(),
            Expression::Literal(_) => "…".into(),
            Expression::Call(function, arguments) => {
                let inner: Vec<String> = arguments.iter().map(Expression::shown).collect();
                let debug = format!("{function:?}");
                let name = debug.split('(').next().unwrap_or_default().to_lowercase();
                format!("{name}({})", inner.join(", "))
            }
        }
    }
}

fn written(value: &[u8], landing: Landing) -> Result<Zeroizing<Vec<u8>>, &'static str> {
    let text = || std::str::from_utf8(value).map_err(|_| "is not text");
    Ok(Zeroizing::new(match landing {
        Landing::Plain => value.to_vec(),
        Landing::Header if value.iter().any(|byte| byte.is_ascii_control()) => {
            return Err("holds a line break or another control character");
        }
        Landing::Header => text()?.as_bytes().to_vec(),
        // URL parsers take `%2e%2e` for `..` too, so encoding would not keep it from climbing.
        Landing::PathSegment if matches!(value, b"." | b"..") => return Err("is a dot segment"),
        Landing::PathSegment | Landing::Query => percent_encode(value, &UNRESERVED).to_string().into_bytes(),
        Landing::Json => {
            let quoted = serde_json::Value::from(text()?).to_string();
            quoted.as_bytes()[1..quoted.len() - 1].to_vec()
        }
        Landing::Xml => xml_escaped(text()?)?.into_bytes(),
    }))
}

/// XML 1.0 section 2.4; characters outside section 2.2's `Char` cannot be written at all.
fn xml_escaped(text: &str) -> Result<String, &'static str> {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&apos;"),
            '\t' | '\n' | '\r' => escaped.push_str(&format!("&#{};", c as u32)),
            '\u{0}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => return Err("holds a character that XML cannot"),
            other => escaped.push(other),
        }
    }
    Ok(escaped)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    struct Given(BTreeMap<String, (Vec<u8>, bool)>);

    impl Scope for Given {
        fn value(&self, name: &str) -> Option<Value> {
            self.0.get(name).map(|(bytes, secret)| Value::of(bytes.clone(), *secret))
        }
    }

    fn given(values: &[(&str, &[u8])]) -> Given {
        Given(values.iter().map(|(name, value)| ((*name).to_owned(), (value.to_vec(), *name == "key"))).collect())
    }

    fn fill(template: &str, landing: Landing, values: &[(&str, &[u8])]) -> Result<Option<String>, String> {
        let moment = Moment::at("2026-11-24T02:03:04.567Z".parse().unwrap());
        let filled = Template::parse(template).unwrap().fill(&given(values), landing, &moment);
        filled
            .map_err(|error| error.to_string())
            .map(|value| value.map(|value| String::from_utf8_lossy(value.bytes()).into_owned()))
    }

    fn plain(template: &str, values: &[(&str, &[u8])]) -> String {
        fill(template, Landing::Plain, values).unwrap().unwrap()
    }

    #[test]
    fn the_first_alternative_whose_names_all_have_values_is_taken() {
        let template = "{a}-{b} || {b} || none";
        assert_eq!(plain(template, &[("a", b"1"), ("b", b"2")]), "1-2");
        assert_eq!(plain(template, &[("b", b"2")]), "2");
        assert_eq!(plain(template, &[("a", b"1")]), "none");
        assert_eq!(fill("{a} || {hex(b)}", Landing::Plain, &[]), Ok(None));
        assert_eq!(plain("{{{a}}} || x", &[("a", b"1")]), "{1}");
    }

    #[test]
    fn functions_give_what_their_standards_say() {
        // RFC 4648 section 10, FIPS 180-4 and RFC 3174, RFC 2202 and RFC 4231 test case 2.
        let hmac: &[(&str, &[u8])] = &[("key", b"Jefe"), ("d", b"what do ya want for nothing?")];
        for (template, values, expected) in [
            ("{base64(a)}", &[("a", b"fooba".as_slice())][..], "Zm9vYmE="),
            ("{base64(a, \":\", b)}", &[("a", b"u"), ("b", b"p")], "dTpw"),
            ("{unbase64(a)}", &[("a", b"Zm9vYg")], "foob"),
            ("{unbase64(a)}", &[("a", b"Zm9vYg==")], "foob"),
            ("{hex(unbase64(a))}", &[("a", b"-_8=")], "fbff"),
            ("{unhex(a)}", &[("a", b"666f6F")], "foo"),
            ("{hex(hash(sha1, a))}", &[("a", b"abc")], "a9993e364706816aba3e25717850c26c9cd0d89d"),
            (
                "{hex(hash(sha256, a))}",
                &[("a", b"abc")],
                "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
            ),
            ("{hex(sign(hmac-sha1, key, d))}", hmac, "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79"),
            (
                "{hex(sign(hmac-sha256, key, d))}",
                hmac,
                "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
            ),
            ("{now(unix)}", &[], "1795485784"),
            ("{now(unix, 60)}", &[], "1795485844"),
            ("{now(unix-ms)}", &[], "1795485784567"),
            ("{now(http)}", &[], "Tue, 24 Nov 2026 02:03:04 GMT"),
            ("{now(\"%Y%m%dT%H%M%SZ\")}", &[], "20261124T020304Z"),
        ] {
            assert_eq!(plain(template, values), expected, "{template}");
        }
    }

    #[test]
    fn ed25519_signs_as_rfc_8032_has_it() {
        // Section 7.1, test 2.
        let seed = hex::decode("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb").unwrap();
        let expected = "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00";
        assert_eq!(plain("{hex(sign(ed25519, key, \"r\"))}", &[("key", &seed)]), expected);
        assert!(
            fill("{hex(sign(ed25519, key, \"r\"))}", Landing::Plain, &[("key", b"short")])
                .unwrap_err()
                .contains("Ed25519")
        );
    }

    #[test]
    fn a_fingerprint_is_the_hash_of_the_public_half() {
        // RFC 8410 section 10.3's private key; the digest is that of its public key's SubjectPublicKeyInfo (section 10.1).
        let pem = b"-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n-----END PRIVATE KEY-----\n";
        let spki = "302a300506032b657003210019bf44096984cdfe8541bac167dc3b96c85086aa30b6b6cb0c5c38ad703166e1";
        let expected = hex::encode(digest_of(&hex::decode(spki).unwrap()));
        assert_eq!(plain("{hex(fingerprint(sha256, key))}", &[("key", pem)]), expected);
        assert!(fill("{hex(fingerprint(sha256, key))}", Landing::Plain, &[("key", b"x")]).is_err());
    }

    fn digest_of(bytes: &[u8]) -> Vec<u8> {
        aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes).as_ref().to_vec()
    }

    #[test]
    fn one_request_has_one_uuid_and_one_time() {
        let moment = Moment::now();
        let template = Template::parse("{uuid()}{now(unix-ms)}").unwrap();
        let once = || template.fill(&given(&[]), Landing::Plain, &moment).unwrap().unwrap().bytes().to_vec();
        assert_eq!(once(), once());
    }

    #[test]
    fn what_is_computed_from_a_secret_is_one() {
        for (template, secret) in [("{key}", true), ("{hex(hash(sha256, key))}", true), ("{a}", false), ("x", false)] {
            let filled = Template::parse(template).unwrap().fill(
                &given(&[("key", b"k"), ("a", b"a")]),
                Landing::Plain,
                &Moment::now(),
            );
            assert_eq!(filled.unwrap().unwrap().is_secret(), secret, "{template}");
        }
    }

    #[test]
    fn an_error_names_the_name_and_never_the_value() {
        let error = fill("Bearer {key}", Landing::Header, &[("key", b"canary\r\nHost: evil")]).unwrap_err();
        assert_eq!(error, "the value of `key` holds a line break or another control character");
        let error = fill("{unbase64(key)}", Landing::Plain, &[("key", b"can@ry")]).unwrap_err();
        assert_eq!(error, "`unbase64(key)` cannot be computed: it is not base64");
    }

    proptest! {
        #[test]
        fn no_value_breaks_out_of_json(value in ".{0,60}") {
            let text = fill("{\"a\": \"{v}\"}".replace("{\"a\"", "{{\"a\"").replace("\"}", "\"}}").as_str(), Landing::Json, &[("v", value.as_bytes())]).unwrap().unwrap();
            let parsed: serde_json::Value = serde_json::from_str(&text).unwrap();
            prop_assert_eq!(parsed, serde_json::json!({ "a": value }));
        }

        #[test]
        fn no_value_breaks_out_of_a_path_or_query(value in ".{0,60}") {
            let Ok(Some(path)) = fill("/a/{v}/b", Landing::PathSegment, &[("v", value.as_bytes())]) else { return Ok(()) };
            let query = fill("x={v}", Landing::Query, &[("v", value.as_bytes())]).unwrap().unwrap();
            let url = url::Url::parse(&format!("https://h{path}?{query}")).unwrap();
            prop_assert_eq!(url.host_str(), Some("h"));
            prop_assert_eq!(url.path_segments().unwrap().count(), 3);
            prop_assert_eq!(url.query_pairs().collect::<Vec<_>>(), vec![("x".into(), value.into())]);
        }

        #[test]
        fn no_value_breaks_out_of_xml(value in "[^\u{0}-\u{8}\u{b}\u{c}\u{e}-\u{1f}\u{fffe}\u{ffff}]{0,60}") {
            let text = fill("<a b='{v}'>{v}</a>", Landing::Xml, &[("v", value.as_bytes())]).unwrap().unwrap();
            prop_assert_eq!(text.matches('<').count(), 2);
            prop_assert_eq!(text.matches('\'').count(), 2);
        }

        #[test]
        fn no_value_breaks_out_of_a_header(value in prop::collection::vec(any::<u8>(), 0..40)) {
            if let Ok(Some(text)) = fill("Bearer {v}", Landing::Header, &[("v", &value)]) {
                prop_assert!(http::HeaderValue::from_bytes(text.as_bytes()).is_ok());
            }
        }
    }
}
