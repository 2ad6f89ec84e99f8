//! Text before the path: `/bot{token}`.

use percent_encoding::percent_decode_str;

use super::{Attached, Existing, Filler, Landing, Template};
use crate::{
    error::{Kind, Result},
    transport::Outgoing,
};

pub(super) fn attach(
    prefix: &Template,
    filler: &Filler<'_>,
    existing: Existing,
    request: &mut Outgoing,
    attached: &mut Attached,
) -> Result<()> {
    let filled = filler.require(prefix, Landing::PathSegment, request)?;
    let text = filled.text().map_err(|_| Kind::ReconnectNeeded.error("The text before the path is not text."))?;
    // A service that redirects within itself writes the prefix into the new URL. The guest's paths are behind the prefix
    // always, whatever they begin with.
    if existing == Existing::Refuse || !begins_with(request.url.path(), text) {
        let whole = format!("{text}{}", request.url.path());
        request.url.set_path(&whole);
        if request.url.path() != whole {
            return Err(Kind::ReconnectNeeded.error(format!("`{prefix}` does not make the beginning of a path.")));
        }
    }
    attached.note(format!("path {prefix}"), filled.into_secrets());
    Ok(())
}

/// Whether a path has a prefix of whole segments, however the two are percent-encoded.
fn begins_with(path: &str, prefix: &str) -> bool {
    let decoded = |segment: &str| percent_decode_str(segment).collect::<Vec<u8>>();
    let mut segments = path.split('/');
    prefix.split('/').all(|wanted| segments.next().is_some_and(|segment| decoded(segment) == decoded(wanted)))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{attached, is_noted, request, template};
    use super::*;
    use crate::manifest::{Attachment, template::Moment};

    fn path(prefix: &str, url: &str, existing: Existing) -> Result<String> {
        let attachment = Attachment::Path { prefix: template(prefix) };
        let mut outgoing = request("GET", url, &[], b"");
        let values = [("key", "123:se/cret?"), ("tenant", "acme")];
        attached(&attachment, &values, &Moment::now(), existing, &mut outgoing).map(|_| outgoing.url.to_string())
    }

    #[test]
    fn the_text_stands_before_the_path_and_a_value_is_one_segment() {
        for (prefix, url, expected) in [
            ("/bot{key}", "https://a.example/getMe?x=1", "https://a.example/bot123%3Ase%2Fcret%3F/getMe?x=1"),
            ("/{tenant}/api", "https://a.example", "https://a.example/acme/api/"),
            ("/{tenant}/api", "https://a.example/acme/api/x", "https://a.example/acme/api/acme/api/x"),
        ] {
            assert_eq!(path(prefix, url, Existing::Refuse).unwrap(), expected);
        }
        assert_eq!(
            path("/{missing}", "https://a.example/", Existing::Refuse).unwrap_err().kind(),
            Kind::ReconnectNeeded
        );
    }

    #[test]
    fn a_redirect_that_has_the_prefix_does_not_get_it_twice() {
        for (url, expected) in [
            ("https://a.example/bot123%3Ase%2Fcret%3F/x", "https://a.example/bot123%3Ase%2Fcret%3F/x"),
            ("https://a.example/bot123:se%2fcret%3f/x", "https://a.example/bot123:se%2fcret%3f/x"),
            ("https://a.example/bot123:se/cret/x", "https://a.example/bot123%3Ase%2Fcret%3F/bot123:se/cret/x"),
            ("https://a.example/x", "https://a.example/bot123%3Ase%2Fcret%3F/x"),
        ] {
            assert_eq!(path("/bot{key}", url, Existing::Replace).unwrap(), expected);
        }
    }

    #[test]
    fn what_was_written_is_known_as_a_secret_and_the_place_shows_none() {
        let attachment = Attachment::Path { prefix: template("/bot{key}") };
        let mut outgoing = request("GET", "https://a.example/x", &[], b"");
        let values = [("key", "s3cret:token")];
        let noted = attached(&attachment, &values, &Moment::now(), Existing::Refuse, &mut outgoing).unwrap();
        assert_eq!(noted.places, ["path /bot{key}"]);
        assert!(is_noted(&noted, "s3cret:token") && is_noted(&noted, "/bots3cret%3Atoken"));
    }
}
