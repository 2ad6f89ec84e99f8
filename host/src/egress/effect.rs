//! What an operation may do at the service, held against what its requests say. A caller who allows only what is declared `read`
//! relies on that word, and it is the connector's author who wrote it.

use http::{HeaderMap, Method};

use crate::{
    error::{Error, Kind, Result},
    manifest::Effect,
};

/// Methods that by their definition change or take away (RFC 9110 section 9.3, RFC 5789). A POST may be a question.
const CHANGING: [&str; 3] = ["PUT", "PATCH", "DELETE"];

/// Headers with which services take a POST for another method.
const OVERRIDING: [&str; 3] = ["x-http-method", "x-http-method-override", "x-method-override"];

/// Checks a request of the guest's.
///
/// # Errors
/// `denied` where an operation that is declared `read` would change something.
pub(super) fn permit(effect: Effect, method: &Method, headers: &HeaderMap) -> Result<()> {
    if effect != Effect::Read {
        return Ok(());
    }
    if let Some(method) = changing(method.as_str()) {
        return Err(refused(&format!("so the method {method} is refused")));
    }
    for name in OVERRIDING {
        let overridden =
            headers.get_all(name).iter().find_map(|value| changing(&String::from_utf8_lossy(value.as_bytes())));
        if let Some(method) = overridden {
            return Err(refused(&format!("so the header `{name}` may not make {method} of another method")));
        }
    }
    Ok(())
}

/// Methods are case-sensitive (RFC 9110 section 9.1), which not every service knows.
fn changing(method: &str) -> Option<&'static str> {
    CHANGING.into_iter().find(|changing| changing.eq_ignore_ascii_case(method.trim()))
}

fn refused(why: &str) -> Error {
    Kind::Denied
        .error(format!("The operation is declared `read`, {why}."))
        .hint("Its connector must declare it `write` or `destructive`, which is then approved anew.")
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn asks(effect: Effect, method: &str, headers: &[(&'static str, &str)]) -> Result<()> {
        let headers = headers
            .iter()
            .map(|(name, value)| (http::HeaderName::from_static(name), HeaderValue::from_str(value).unwrap()));
        permit(effect, &Method::from_bytes(method.as_bytes()).unwrap(), &headers.collect())
    }

    #[test]
    fn what_is_declared_read_neither_changes_nor_takes_away() {
        for method in ["PUT", "PATCH", "DELETE", "delete", "Put"] {
            let error = asks(Effect::Read, method, &[]).unwrap_err();
            assert_eq!(error.kind(), Kind::Denied, "{method}");
            for name in OVERRIDING {
                let error = asks(Effect::Read, "POST", &[(name, method)]).unwrap_err();
                assert!(error.message().contains(name), "{}", error.message());
            }
            asks(Effect::Write, method, &[]).unwrap();
            asks(Effect::Destructive, "POST", &[("x-http-method", method)]).unwrap();
        }
    }

    #[test]
    fn what_is_declared_read_asks_in_every_way_there_is() {
        for method in ["GET", "HEAD", "OPTIONS", "POST", "QUERY", "PROPFIND", "PUTT"] {
            asks(Effect::Read, method, &[("x-http-method-override", "GET")]).unwrap();
        }
    }

    #[test]
    fn a_second_header_is_looked_at_too() {
        let headers = [("x-http-method", "GET"), ("x-http-method", " delete ")];
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(name, HeaderValue::from_static(value));
        }
        assert!(permit(Effect::Read, &Method::POST, &map).is_err());
    }
}
