//! What a browser brings back from a page that it was sent to.

use std::collections::BTreeMap;

use url::{Url, form_urlencoded};

use crate::{
    error::{Error, Kind, Result},
    text,
};

/// A callback is a handful of short parameters.
pub(super) const LONGEST_QUERY: usize = 16 << 10;
const MOST_PARAMETERS: usize = 64;
const LONGEST_WORDS: usize = 300;

/// How a browser came back: nothing of it was checked yet.
#[derive(Debug, Clone, Default)]
pub struct CameBack {
    /// What stands in the path below the redirect URI, where something does.
    pub below: Option<String>,
    /// The query, without the question mark.
    pub query: String,
}

impl CameBack {
    /// As it is for whoever is sent back to `below` the path where everybody is, or to that very path; none where they came
    /// back to another's. Where a provider does not name itself in its answers, that is what tells two apart (RFC 9700, 4.4.2).
    pub(crate) fn at(&self, below: Option<&str>) -> Option<Self> {
        match below {
            None => Some(self.clone()),
            Some(_) if self.below.as_deref() == below => Some(Self { below: None, query: self.query.clone() }),
            Some(_) => None,
        }
    }

    /// Whatever in it may be a state: what is not told apart here is, by the trip whose state it is.
    pub(crate) fn texts(&self) -> Vec<String> {
        let values = self.parameters().unwrap_or_default().into_values();
        self.below.iter().cloned().chain(values).collect()
    }

    /// Each parameter once (RFC 6749, 3.1).
    ///
    /// # Errors
    /// `denied` for more than any service sends, and for a parameter that is there twice.
    pub(super) fn parameters(&self) -> Result<BTreeMap<String, String>> {
        if self.query.len() > LONGEST_QUERY {
            return Err(denied("it is longer than any provider's"));
        }
        let mut parameters = BTreeMap::new();
        for (name, value) in form_urlencoded::parse(self.query.as_bytes()) {
            if parameters.len() >= MOST_PARAMETERS {
                return Err(denied("it has more parameters than any provider's"));
            }
            if parameters.insert(name.clone().into_owned(), value.into_owned()).is_some() {
                return Err(denied(&format!("it has the parameter `{}` twice", text::foreign(&name, 60))));
            }
        }
        Ok(parameters)
    }
}

/// What of `url` stands below `base`: one part of its path, where they are alike in everything else.
pub(crate) fn part_below(base: &Url, url: &Url) -> Option<String> {
    let part = url.path().strip_prefix(base.path().trim_end_matches('/'))?.strip_prefix('/')?;
    let is_plain = part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte));
    let mut there = base.clone();
    there.set_path(url.path());
    (there == *url && !part.is_empty() && is_plain).then(|| part.to_owned())
}

/// RFC 6749, 4.1.2.1; others write it the same way.
pub(super) fn said_no(error: &str, words: Option<&String>) -> Error {
    let code = text::foreign(error, 60);
    let says = words.map(|words| text::says(words, LONGEST_WORDS)).unwrap_or_default();
    match error {
        "access_denied" => Kind::ConsentNeeded
            .error(format!("The provider was told not to grant access (`{code}`).{says}"))
            .hint("Connect again and agree there, or ask whoever administers the account."),
        _ => Kind::ConsentNeeded
            .error(format!("The provider did not sign anybody in (`{code}`).{says}"))
            .hint("Connect again; if it stays so, check the app's redirect URI and scopes at the provider."),
    }
}

/// What came back to the address of another app.
pub(crate) fn misled() -> Error {
    denied("it came to another address than this sign-in was to come back to, so it may be another provider's")
}

pub(super) fn denied(why: &str) -> Error {
    Kind::Denied
        .error(format!("What came back from the provider is not used: {why}."))
        .hint("Begin the sign-in again, in one browser.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_below_an_address_is_one_part_of_a_path() {
        let base = Url::parse("https://attache.example.com/here/callback").unwrap();
        let below = |url: &str| part_below(&base, &Url::parse(url).unwrap());
        assert_eq!(below("https://attache.example.com/here/callback/acme-1").as_deref(), Some("acme-1"));
        for url in [
            "https://attache.example.com/here/callback",
            "https://attache.example.com/here/callback/",
            "https://attache.example.com/here/callback/a/b",
            "https://attache.example.com/here/callback/a%2Fb",
            "https://attache.example.com/here/callbacks/a",
            "https://attache.example.com/callback/a",
            "https://elsewhere.example.com/here/callback/a",
            "http://attache.example.com/here/callback/a",
            "https://attache.example.com:8443/here/callback/a",
        ] {
            assert_eq!(below(url), None, "{url}");
        }
    }
}
