//! Where a redirect leads, by RFC 9110 section 15.4. Each hop is judged like a request of the guest's own.

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode, header};
use url::Url;

use crate::error::{Kind, Result};

/// The request that a redirect asks for.
#[derive(Debug)]
pub struct Next {
    /// The method; GET where the standard or practice makes it so.
    pub method: Method,
    /// Where to.
    pub url: Url,
    /// Whether the body goes along.
    pub keeps_body: bool,
}

/// What an answer asks for, if it is a redirect that is followed: 301, 302, 303, 307 and 308 with a `Location`.
///
/// # Errors
/// `denied` where it leads from https to http.
pub fn next(method: &Method, from: &Url, status: StatusCode, headers: &HeaderMap) -> Result<Option<Next>> {
    let Some(location) = headers.get(header::LOCATION).and_then(|value| std::str::from_utf8(value.as_bytes()).ok())
    else {
        return Ok(None);
    };
    let (method, keeps_body) = match status.as_u16() {
        // Clients have always made a GET of a redirected POST, and RFC 9110 allows it.
        301 | 302 if *method == Method::POST => (Method::GET, false),
        303 if *method != Method::HEAD => (Method::GET, false),
        301 | 302 | 303 | 307 | 308 => (method.clone(), true),
        _ => return Ok(None),
    };
    let Ok(mut url) = from.join(location) else {
        return Err(Kind::ServiceFailed.error("The service redirects to something that is not a URL."));
    };
    url.set_fragment(None);
    if from.scheme() == "https" && url.scheme() != "https" {
        return Err(Kind::Denied
            .error("The service redirects from https to something that is not https, which is not followed.")
            .hint("Call the final URL itself, if its origin is in the audience."));
    }
    Ok(Some(Next { method, url, keeps_body }))
}

/// Drops what described a body that does not go along.
pub fn without_body(headers: &mut HeaderMap, body: &mut Bytes) {
    *body = Bytes::new();
    for name in [
        header::CONTENT_TYPE,
        header::CONTENT_ENCODING,
        header::CONTENT_LANGUAGE,
        header::CONTENT_LOCATION,
        header::CONTENT_RANGE,
    ] {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn follow(method: Method, status: u16, location: &str) -> Result<Option<(Method, String, bool)>> {
        let from = Url::parse("https://a.example/x/y?q").unwrap();
        let headers = HeaderMap::from_iter([(header::LOCATION, location.parse().unwrap())]);
        Ok(next(&method, &from, StatusCode::from_u16(status).unwrap(), &headers)?
            .map(|next| (next.method, next.url.to_string(), next.keeps_body)))
    }

    #[test]
    fn methods_and_bodies_follow_rfc_9110() {
        for (method, status, becomes, keeps_body) in [
            (Method::POST, 301, Method::GET, false),
            (Method::POST, 302, Method::GET, false),
            (Method::PUT, 302, Method::PUT, true),
            (Method::PUT, 303, Method::GET, false),
            (Method::HEAD, 303, Method::HEAD, true),
            (Method::POST, 307, Method::POST, true),
            (Method::POST, 308, Method::POST, true),
            (Method::GET, 301, Method::GET, true),
        ] {
            let followed = follow(method.clone(), status, "../z").unwrap().unwrap();
            assert_eq!(followed, (becomes, "https://a.example/z".into(), keeps_body), "{method} {status}");
        }
        for status in [200, 300, 304, 305, 400] {
            assert_eq!(follow(Method::GET, status, "/z").unwrap(), None, "{status}");
        }
    }

    #[test]
    fn https_is_never_left() {
        for location in ["http://a.example/", "http://b.example/", "ftp://a.example/", "file:///etc/passwd"] {
            assert_eq!(follow(Method::GET, 302, location).unwrap_err().kind(), Kind::Denied, "{location}");
        }
        assert!(follow(Method::GET, 302, "//b.example/").unwrap().is_some());
    }
}
