//! Takes what the host attached out of what the guest will see: a service that reflects its request (an echo endpoint, an
//! error page, a header) must not hand the credential back. Values of 8 bytes or more are masked at equal length, verbatim
//! and in the spellings that services commonly write: base64 (both alphabets, at every alignment, so also inside a longer
//! encoded text), hex, percent-encoding and JSON string escapes. What a service transforms otherwise is outside the
//! promise.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
};

use aho_corasick::{AhoCorasick, MatchKind};
use base64::{
    Engine,
    prelude::{BASE64_STANDARD_NO_PAD, BASE64_URL_SAFE_NO_PAD},
};
use percent_encoding::{AsciiSet, CONTROLS, NON_ALPHANUMERIC, percent_encode};
use zeroize::Zeroizing;

use crate::{secret::Secret, sync::lock};

/// Connecting with a shorter value warns.
pub const SHORTEST: usize = Secret::SHORTEST_MASKED;

const MASK: u8 = b'*';
/// RFC 3986's unreserved characters stay.
const COMPONENT: AsciiSet = NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// JavaScript's `encodeURIComponent` leaves these as well.
const AS_JAVASCRIPT: AsciiSet = COMPONENT.remove(b'!').remove(b'\'').remove(b'(').remove(b')').remove(b'*');
/// What URL paths and queries are left with when a server is lenient about it.
const LENIENT: AsciiSet = CONTROLS.add(b' ').add(b'"').add(b'#').add(b'<').add(b'>').add(b'%');

/// Masks some secrets wherever they stand.
#[derive(Default, Clone)]
pub(crate) struct Scrubber(Vec<Arc<Finder>>);

/// The finders that a connection needed before: making one takes longer than using it, and most of what is attached is the
/// same in every request.
#[derive(Default)]
pub struct Known(Mutex<VecDeque<Arc<Finder>>>);

/// Finders that are kept: more than any credential has parts, and not so many that looking takes long. Signatures, which
/// come and go, push out nothing that is still used.
const KNOWN: usize = 16;

/// Finds every spelling of some secrets in one pass.
pub(super) struct Finder {
    secrets: Vec<Secret>,
    automaton: AhoCorasick,
}

impl Finder {
    /// None where it could not be built, which is only beyond two thousand million states.
    pub(super) fn new(secrets: impl IntoIterator<Item = Secret>) -> Option<Self> {
        let secrets: Vec<Secret> = secrets.into_iter().filter(|secret| secret.len() >= SHORTEST).collect();
        let spellings: Vec<_> = secrets.iter().flat_map(spellings).collect();
        let automaton = AhoCorasick::builder()
            .match_kind(MatchKind::Standard)
            // Hosts and hexadecimal digits are written either way.
            .ascii_case_insensitive(true)
            .build(spellings.iter().map(|it| it.as_slice()))
            .ok()?;
        Some(Self { secrets, automaton })
    }

    fn is_for(&self, secret: &Secret) -> bool {
        self.secrets.iter().any(|known| known.expose() == secret.expose())
    }
}

impl Known {
    fn finder(&self, secret: Secret) -> Option<Arc<Finder>> {
        let mut kept = lock(&self.0);
        if let Some(at) = kept.iter().position(|finder| finder.is_for(&secret)) {
            let finder = kept.remove(at)?;
            kept.push_front(finder.clone());
            return Some(finder);
        }
        drop(kept);
        let finder = Arc::new(Finder::new([secret])?);
        let mut kept = lock(&self.0);
        kept.push_front(finder.clone());
        kept.truncate(KNOWN);
        Some(finder)
    }
}

impl Scrubber {
    /// Masks these values too, from now on; those shorter than [`SHORTEST`] are left out.
    pub(crate) fn add(&mut self, known: &Known, secrets: impl IntoIterator<Item = Secret>) {
        for secret in secrets.into_iter().filter(|secret| secret.len() >= SHORTEST) {
            if !self.0.iter().any(|finder| finder.is_for(&secret)) {
                self.0.extend(known.finder(secret));
            }
        }
    }

    /// Masks what this one finds, too.
    pub(super) fn add_all(&mut self, finder: &Arc<Finder>) {
        if !finder.secrets.is_empty() && !self.0.iter().any(|known| Arc::ptr_eq(known, finder)) {
            self.0.push(finder.clone());
        }
    }

    /// Whether one of the values stands there, in any spelling.
    pub(super) fn finds(&self, text: &str) -> bool {
        self.0.iter().any(|finder| finder.automaton.is_match(text))
    }

    /// Masks in place; returns how many places were masked.
    pub(crate) fn mask(&self, bytes: &mut [u8]) -> u64 {
        // Whether there is anything is found out sooner than everything that there is, and mostly there is nothing.
        let found = self.0.iter().filter(|finder| finder.automaton.is_match(&*bytes));
        let found = found.flat_map(|finder| finder.automaton.find_overlapping_iter(&*bytes));
        let mut found: Vec<(usize, usize)> = found.map(|found| (found.start(), found.end())).collect();
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
    pub(super) fn mask_text(&self, text: &mut String) -> u64 {
        if !self.finds(text) {
            return 0;
        }
        let mut bytes = std::mem::take(text).into_bytes();
        let places = self.mask(&mut bytes);
        // A mask may have replaced a part of a character where the secret was bytes.
        *text = String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned());
        places
    }

    /// The text, masked.
    pub(crate) fn masked(&self, mut text: String) -> String {
        self.mask_text(&mut text);
        text
    }
}

/// Whether one of these secrets stands in a text, in any spelling that is masked.
pub fn stands_in<'a>(secrets: impl IntoIterator<Item = &'a Secret>, text: &str) -> bool {
    let mut scrubber = Scrubber::default();
    scrubber.add(&Known::default(), secrets.into_iter().cloned());
    scrubber.finds(text)
}

fn spellings(secret: &Secret) -> Vec<Zeroizing<Vec<u8>>> {
    let bytes = secret.expose();
    let mut all = vec![bytes.to_vec(), hex::encode(bytes).into_bytes()];
    for offset in 0..3 {
        all.push(base64_within(bytes, offset, &BASE64_STANDARD_NO_PAD));
        all.push(base64_within(bytes, offset, &BASE64_URL_SAFE_NO_PAD));
    }
    let form: String = url::form_urlencoded::byte_serialize(bytes).collect();
    let encoded = [&COMPONENT, &AS_JAVASCRIPT, &LENIENT].map(|set| percent_encode(bytes, set).to_string());
    for text in encoded.into_iter().chain([form]) {
        all.push(text.replace("%20", "+").into_bytes());
        all.push(text.into_bytes());
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
        let mut scrubber = Scrubber::default();
        scrubber.add(&Known::default(), [Secret::new(secret)]);
        let places = scrubber.mask_text(&mut text);
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

    #[test]
    fn a_host_name_has_the_value_in_lower_case() {
        assert_eq!(masked("Hunter2-Hunter2", "hunter2-hunter2.evil.example").0, "***************.evil.example");
    }

    #[test]
    fn what_is_used_stays_known_while_signatures_come_and_go() {
        let known = Known::default();
        let (key, mut finders) = (Secret::new("a-key-that-stays"), Vec::new());
        for signature in 0..100 {
            let mut scrubber = Scrubber::default();
            scrubber.add(&known, [key.clone(), Secret::new(format!("signature-{signature}"))]);
            finders.push(scrubber.0[0].clone());
            assert!(scrubber.finds(&format!("signature-{signature}")));
        }
        assert!(finders.iter().all(|finder| Arc::ptr_eq(finder, &finders[0])));
        assert!(lock(&known.0).len() <= KNOWN);
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
                percent_encode(secret.as_bytes(), &COMPONENT).to_string().to_lowercase(),
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

        #[test]
        fn what_is_not_the_secret_comes_through_byte_for_byte(
            // Digits are the same in either case, and no text beside it has any.
            secret in "[0-9/+?~äß😀]{11,39}7",
            beside in prop::collection::vec("[A-Z \\n\\-:;<>{}]{1,30}", 1..6),
            spelled in prop::collection::vec(0_usize..SPELLED, 6),
        ) {
            let (mut text, mut expected, mut unmasked) = (Vec::new(), Vec::new(), 0);
            for (index, plain) in beside.iter().enumerate() {
                if index > 0 {
                    let Spelled { before, inner, after } = spell(spelled[index], &secret);
                    text.extend([before.as_slice(), &inner, &after].concat());
                    expected.extend([before.as_slice(), &vec![MASK; inner.len()], &after].concat());
                    unmasked += before.len() + after.len();
                }
                text.extend(plain.as_bytes());
                expected.extend(plain.as_bytes());
                unmasked += plain.len();
            }
            let mut scrubber = Scrubber::default();
            scrubber.add(&Known::default(), [Secret::new(secret.as_str())]);
            prop_assert_eq!(scrubber.mask(&mut text), beside.len() as u64 - 1);
            prop_assert_eq!(String::from_utf8_lossy(&text), String::from_utf8_lossy(&expected));
            prop_assert_eq!(text.iter().filter(|byte| **byte != MASK).count(), unmasked);
        }
    }

    /// The secret as a service writes it, and what of that is not made of the secret alone.
    struct Spelled {
        before: Vec<u8>,
        inner: Vec<u8>,
        after: Vec<u8>,
    }

    /// How many ways [`spell`] has.
    const SPELLED: usize = 11;

    fn spell(way: usize, secret: &str) -> Spelled {
        let whole = |text: String| Spelled { before: vec![], inner: text.into_bytes(), after: vec![] };
        match way {
            0 => whole(secret.to_owned()),
            1 => whole(hex::encode(secret)),
            2 => whole(hex::encode_upper(secret)),
            3 => whole(percent_encode(secret.as_bytes(), &COMPONENT).to_string()),
            4 => whole(url::form_urlencoded::byte_serialize(secret.as_bytes()).collect()),
            _ => {
                // Six bits a character: those of the first and the last may be somebody else's.
                let before = ["", "(", "()"][(way - 5) / 2];
                let whole = format!("{before}{secret})");
                let text =
                    if way.is_multiple_of(2) { BASE64_STANDARD.encode(&whole) } else { BASE64_URL_SAFE.encode(&whole) };
                let text = text.into_bytes();
                let (first, end) = ((before.len() * 8).div_ceil(6), (before.len() + secret.len()) * 8 / 6);
                Spelled {
                    before: text[..first].to_vec(),
                    inner: text[first..end].to_vec(),
                    after: text[end..].to_vec(),
                }
            }
        }
    }
}
