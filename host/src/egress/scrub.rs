//! Takes what the host attached out of what the guest will see: a service that reflects its request (an echo endpoint, an
//! error page, a header) must not hand the credential back. Values of 8 bytes or more are masked at equal length, verbatim
//! and in the spellings that services commonly write: base64 (both alphabets, at every alignment, so also inside a longer
//! encoded text), hex, percent-encoding and JSON string escapes. What a service transforms otherwise is outside the
//! promise.

use aho_corasick::{AhoCorasick, MatchKind};
use base64::{
    Engine,
    prelude::{BASE64_STANDARD_NO_PAD, BASE64_URL_SAFE_NO_PAD},
};
use percent_encoding::{AsciiSet, CONTROLS, NON_ALPHANUMERIC, percent_encode};
use zeroize::Zeroizing;

use crate::secret::Secret;

/// Shorter values would mask ordinary text; connecting with one warns.
pub const SHORTEST: usize = 8;

const MASK: u8 = b'*';
/// RFC 3986's unreserved characters stay.
const COMPONENT: AsciiSet = NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// JavaScript's `encodeURIComponent` leaves these as well.
const AS_JAVASCRIPT: AsciiSet = COMPONENT.remove(b'!').remove(b'\'').remove(b'(').remove(b')').remove(b'*');
/// What URL paths and queries are left with when a server is lenient about it.
const LENIENT: AsciiSet = CONTROLS.add(b' ').add(b'"').add(b'#').add(b'<').add(b'>').add(b'%');

/// Finds every spelling of some secrets in one pass.
pub struct Scrubber(Option<AhoCorasick>);

impl Scrubber {
    /// For these values; those shorter than [`SHORTEST`] are left out.
    pub fn new<'a>(secrets: impl IntoIterator<Item = &'a Secret>) -> Self {
        let spellings: Vec<Zeroizing<Vec<u8>>> =
            secrets.into_iter().filter(|secret| secret.len() >= SHORTEST).flat_map(spellings).collect();
        if spellings.is_empty() {
            return Self(None);
        }
        // Building fails only beyond two thousand million states, far over what a request's headers can hold.
        Self(
            AhoCorasick::builder().match_kind(MatchKind::Standard).build(spellings.iter().map(|it| it.as_slice())).ok(),
        )
    }

    /// Masks in place; returns how many places were masked.
    pub fn mask(&self, bytes: &mut [u8]) -> u64 {
        let Some(automaton) = &self.0 else { return 0 };
        let mut found: Vec<(usize, usize)> =
            automaton.find_overlapping_iter(&*bytes).map(|found| (found.start(), found.end())).collect();
        found.sort_unstable();
        let mut places = 0;
        let mut masked_to = 0;
        for (start, end) in found {
            if start >= masked_to {
                places += 1;
            }
            if end > masked_to {
                bytes[start.max(masked_to)..end].fill(MASK);
                masked_to = end;
            }
        }
        places
    }

    /// As [`Scrubber::mask`], for text.
    pub fn mask_text(&self, text: &mut String) -> u64 {
        let mut bytes = std::mem::take(text).into_bytes();
        let places = self.mask(&mut bytes);
        // A mask may have replaced a part of a character where the secret was bytes.
        *text = String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned());
        places
    }
}

fn spellings(secret: &Secret) -> Vec<Zeroizing<Vec<u8>>> {
    let bytes = secret.expose();
    let mut all = vec![bytes.to_vec(), hex::encode(bytes).into_bytes(), hex::encode_upper(bytes).into_bytes()];
    for offset in 0..3 {
        all.push(base64_within(bytes, offset, &BASE64_STANDARD_NO_PAD));
        all.push(base64_within(bytes, offset, &BASE64_URL_SAFE_NO_PAD));
    }
    let form: String = url::form_urlencoded::byte_serialize(bytes).collect();
    let encoded = [&COMPONENT, &AS_JAVASCRIPT, &LENIENT].map(|set| percent_encode(bytes, set).to_string());
    for upper in encoded.into_iter().chain([form]) {
        all.push(lower_escapes(&upper).into_bytes());
        all.push(upper.replace("%20", "+").into_bytes());
        all.push(upper.into_bytes());
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        all.push(json_escaped(text, false).into_bytes());
        all.push(json_escaped(text, true).into_bytes());
        all.push(json_escaped(text, false).replace('/', "\\/").into_bytes());
    }
    all.sort_unstable();
    all.dedup();
    all.into_iter().filter(|spelling| spelling.len() >= SHORTEST).map(Zeroizing::new).collect()
}

/// The characters of the base64 text of `prefix + bytes + anything` that depend on `bytes` alone, where the prefix has
/// `offset` bytes modulo 3.
fn base64_within(bytes: &[u8], offset: usize, engine: &impl Engine) -> Vec<u8> {
    let mut padded = Zeroizing::new(vec![0; offset]);
    padded.extend_from_slice(bytes);
    let encoded = engine.encode(&*padded).into_bytes();
    // Characters that hold bits of the prefix, or of what follows.
    let head = [0, 2, 3][offset];
    let tail = usize::from(!padded.len().is_multiple_of(3));
    encoded[head.min(encoded.len())..encoded.len().saturating_sub(tail).max(head.min(encoded.len()))].to_vec()
}

fn lower_escapes(encoded: &str) -> String {
    let mut lower = String::with_capacity(encoded.len());
    let mut rest = encoded;
    while let Some(at) = rest.find('%') {
        let end = (at + 3).min(rest.len());
        lower.push_str(&rest[..at]);
        lower.push_str(&rest[at..end].to_ascii_lowercase());
        rest = &rest[end..];
    }
    lower.push_str(rest);
    lower
}

/// As it stands inside a JSON string (RFC 8259), with other than ASCII characters as they are or as `\u` escapes.
fn json_escaped(text: &str, ascii: bool) -> String {
    let quoted = serde_json::Value::from(text).to_string();
    let inner = &quoted[1..quoted.len() - 1];
    if !ascii {
        return inner.to_owned();
    }
    let mut units = [0; 2];
    inner
        .chars()
        .flat_map(|c| {
            if c.is_ascii() {
                vec![c.to_string()]
            } else {
                c.encode_utf16(&mut units).iter().map(|unit| format!("\\u{unit:04x}")).collect()
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE};
    use proptest::prelude::*;

    use super::*;

    fn masked(secret: &str, text: &str) -> (String, u64) {
        let mut text = text.to_owned();
        let places = Scrubber::new([&Secret::new(secret)]).mask_text(&mut text);
        (text, places)
    }

    #[test]
    fn a_reflected_value_is_masked_at_equal_length() {
        assert_eq!(masked("hunter2hunter2", "a hunter2hunter2 b"), ("a ************** b".into(), 1));
        assert_eq!(masked("hunter2hunter2", "nothing here"), ("nothing here".into(), 0));
    }

    #[test]
    fn overlapping_spellings_count_once() {
        assert_eq!(masked("aaaaaaaa", "aaaaaaaaaa"), ("**********".into(), 1));
    }

    #[test]
    fn short_values_are_left_alone() {
        assert_eq!(masked("secret7", "secret7"), ("secret7".into(), 0));
    }

    proptest! {
        #[test]
        fn no_common_spelling_survives(
            secret in "[ -~äöüß€😀]{12,40}",
            before in "[a-z ]{0,5}",
            after in "[a-z ]{0,5}",
        ) {
            let joined = format!("{before}{secret}{after}");
            let spellings = [
                secret.clone(),
                hex::encode(&secret),
                hex::encode_upper(&secret),
                BASE64_STANDARD.encode(&joined),
                BASE64_URL_SAFE.encode(&joined),
                percent_encode(secret.as_bytes(), &COMPONENT).to_string(),
                lower_escapes(&percent_encode(secret.as_bytes(), &COMPONENT).to_string()),
                url::form_urlencoded::byte_serialize(secret.as_bytes()).collect::<String>(),
                serde_json::to_string(&joined).unwrap(),
            ];
            for spelling in spellings {
                let (text, places) = masked(&secret, &format!("<{spelling}>"));
                prop_assert!(places >= 1, "{spelling}");
                prop_assert_eq!(text.len(), spelling.len() + 2);
                prop_assert!(text.contains('*'));
                prop_assert!(!text.contains(&secret));
            }
        }
    }
}
