//! Lists that come in pages: from a service's link to its next page to a text that a caller hands back for it, and from that
//! to a URL again. Neither a service nor a caller leads anywhere else with it.

use crate::{Failure, Url, http::Response};

/// The link with `rel="next"` among an answer's `Link` headers (RFC 8288).
pub fn next_link(answer: &Response) -> Option<&str> {
    let headers = answer.headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case("link"));
    headers.flat_map(|(_, value)| value.split(',')).find_map(|link| {
        let (url, parameters) = link.trim().strip_prefix('<')?.split_once('>')?;
        let mut parameters = parameters.split(';').filter_map(|parameter| parameter.split_once('='));
        let is_next =
            |names: &str| names.trim().trim_matches('"').split(' ').any(|name| name.eq_ignore_ascii_case("next"));
        parameters.any(|(name, value)| name.trim().eq_ignore_ascii_case("rel") && is_next(value)).then_some(url)
    })
}

/// What a caller is given for a link to the next page: what stands behind the base. A link may be relative to it.
///
/// # Errors
/// [`Failure::Upstream`] where the page lies somewhere else.
pub fn keep(base: &Url, link: &str) -> Result<String, Failure> {
    let behind = link.strip_prefix(&base.to_string()).map(|behind| behind.strip_prefix('/').unwrap_or(behind));
    let behind = behind.unwrap_or(link);
    match is_behind(behind) {
        true => Ok(behind.to_owned()),
        false => Err(Failure::Upstream((200, "the service's next page lies outside of what is called".into()))),
    }
}

/// The URL of a page that a caller hands back. `fits` says whether its path, without the base, is one of this list.
///
/// # Errors
/// [`Failure::InvalidInput`] where it is no page of this list.
pub fn resume(base: &Url, next: &str, fits: impl Fn(&str) -> bool) -> Result<Url, Failure> {
    let path = next.split('?').next().unwrap_or_default();
    match is_behind(next) && fits(path) {
        true => Ok(Url::from(format!("{base}/{next}"))),
        false => Err(Failure::InvalidInput("`next` is not what an earlier page of this list gave".into())),
    }
}

/// Whether a text that is put behind a base and a slash stays there.
fn is_behind(text: &str) -> bool {
    let path = text.split('?').next().unwrap_or_default();
    !path.starts_with('/')
        && !path.contains(':')
        && !path.split('/').any(Url::is_dots)
        && !text.chars().any(|c| c.is_control() || c.is_whitespace() || matches!(c, '\\' | '#'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn linked(link: &str) -> Response {
        Response { status: 200, headers: vec![("Link".into(), link.into())], body: Vec::new() }
    }

    #[test]
    fn the_next_link_is_found_among_others() {
        let both = linked(r#"<https://a.example/x?page=1>; rel="prev", <https://a.example/x?page=3>; rel="next""#);
        assert_eq!(next_link(&both), Some("https://a.example/x?page=3"));
        assert_eq!(
            next_link(&linked(r#"<https://a.example/y>; title="z"; rel="last next""#)),
            Some("https://a.example/y")
        );
        for none in ["", r#"<https://a.example/x>; rel="last""#, "nonsense", r#"<https://a.example/x>; title="next""#] {
            assert_eq!(next_link(&linked(none)), None, "{none}");
        }
    }

    #[test]
    fn a_page_is_below_the_base_both_ways() {
        let base = Url::new("https://a.example/api");
        let kept = keep(&base, "https://a.example/api/things?$skip=2").unwrap();
        assert_eq!(kept, "things?$skip=2");
        assert_eq!(keep(&base, "things?$skip=2").unwrap(), kept);
        assert_eq!(
            resume(&base, &kept, |path| path == "things").unwrap().to_string(),
            "https://a.example/api/things?$skip=2"
        );
        for elsewhere in
            ["https://b.example/api/things", "https://a.example/other", "//b.example/", "/x", "../x", "a/%2e./x"]
        {
            assert!(matches!(keep(&base, elsewhere), Err(Failure::Upstream(_))), "{elsewhere}");
            assert!(matches!(resume(&base, elsewhere, |_| true), Err(Failure::InvalidInput(_))), "{elsewhere}");
        }
        assert!(resume(&base, "others?$skip=2", |path| path == "things").is_err());
    }
}
