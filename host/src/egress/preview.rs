//! What a dry run shows instead of sending.

use http::Method;
use url::Url;

use super::{
    Destination,
    scrub::{Known, Scrubber},
};
use crate::{credential::Attached, transport::Outgoing};

const MASK: &str = "********";

/// A request that was made ready and not sent.
#[derive(Debug, Clone)]
pub struct Preview {
    /// The method.
    pub method: Method,
    /// The URL, with attached values masked.
    pub url: String,
    /// What the connector wrote, and what is attached with its value masked, in order.
    pub headers: Vec<(String, String)>,
    /// Bytes of the body.
    pub body_bytes: usize,
    /// Where credentials were put.
    pub attached: Vec<String>,
    /// What the origin is to the connection.
    pub destination: Destination,
}

impl Preview {
    /// `asked` is the URL before anything was attached.
    pub(super) fn of(outgoing: &Outgoing, asked: &Url, attached: &Attached, destination: Destination) -> Self {
        let mut scrubber = Scrubber::default();
        scrubber.add(&Known::default(), attached.values.iter().cloned());
        let mut url = outgoing.url.clone();
        // By its place: a value too short to be scrubbed is hidden too.
        if attached.places.iter().any(|place| place.starts_with("path ")) {
            url.set_path(&format!("/{MASK}{}", asked.path()));
        }
        let mut url = scrubber.masked(url.into());
        mask_query(&mut url, attached);
        let headers = outgoing
            .headers
            .iter()
            .map(|(name, value)| {
                let value = if value.is_sensitive() {
                    MASK.into()
                } else {
                    String::from_utf8_lossy(value.as_bytes()).into_owned()
                };
                (name.to_string(), value)
            })
            .collect();
        Self {
            method: outgoing.method.clone(),
            url,
            headers,
            body_bytes: outgoing.body.len(),
            attached: attached.places.clone(),
            destination,
        }
    }
}

/// Masks attached query parameters by name: a value too short to be scrubbed is hidden too.
fn mask_query(url: &mut String, attached: &Attached) {
    let Ok(mut parsed) = Url::parse(url) else { return };
    let names: Vec<&str> = attached.places.iter().filter_map(|place| place.strip_prefix("query ")).collect();
    if names.is_empty() {
        return;
    }
    let pairs: Vec<(String, String)> = parsed
        .query_pairs()
        .map(|(name, value)| {
            let value = if names.contains(&name.as_ref()) { MASK.into() } else { value.into_owned() };
            (name.into_owned(), value)
        })
        .collect();
    parsed.query_pairs_mut().clear().extend_pairs(pairs);
    *url = parsed.into();
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::HeaderMap;

    use super::*;
    use crate::secret::Secret;

    #[test]
    fn a_dry_run_hides_what_stands_before_the_path_however_short_it_is() {
        let asked = Url::parse("https://a.example/getMe").unwrap();
        let mut outgoing = Outgoing::new(Method::GET, asked.clone(), HeaderMap::new(), Bytes::new());
        outgoing.url.set_path("/botpin/getMe");
        let attached = Attached { places: vec!["path /bot{pin}".into()], values: vec![Secret::new("pin")] };
        let preview = Preview::of(&outgoing, &asked, &attached, Destination::Audience);
        assert_eq!(preview.url, "https://a.example/********/getMe");
    }
}
