//! What a service says of a token that it does not take (RFC 6750, 3).

use http::{HeaderMap, StatusCode, header::WWW_AUTHENTICATE};

use crate::text;

/// Scopes that a service asks for are some words.
const LONGEST_SCOPE: usize = 300;

/// What is the matter with the token.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is taken, or something else is the matter.
    Taken,
    /// It is no good, or no longer.
    Invalid,
    /// It is good, and not for this; the scopes that would be, where the service says.
    Insufficient(Option<String>),
}

/// Reads an answer to a request that carried a bearer token. A 401 that names no scheme at all speaks of the only credential
/// that was there; one that names others only does not.
pub(super) fn judge(status: StatusCode, headers: &HeaderMap) -> Verdict {
    if !matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
        return Verdict::Taken;
    }
    let values = headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok());
    let challenges: Vec<_> = values.filter_map(|value| http_auth::parse_challenges(value).ok()).flatten().collect();
    let bearer = challenges.iter().find(|challenge| challenge.scheme.eq_ignore_ascii_case("bearer"));
    let parameter = |name: &str| {
        let (_, value) = bearer?.params.iter().find(|(known, _)| known.eq_ignore_ascii_case(name))?;
        Some(value.to_unescaped())
    };
    if parameter("error").as_deref() == Some("insufficient_scope") {
        let scope = parameter("scope").map(|scope| text::foreign(&scope, LONGEST_SCOPE));
        return Verdict::Insufficient(scope.filter(|scope| !scope.is_empty()));
    }
    let about_the_token = bearer.is_some() || challenges.is_empty();
    if status == StatusCode::UNAUTHORIZED && about_the_token { Verdict::Invalid } else { Verdict::Taken }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn judged(status: u16, challenges: &[&str]) -> Verdict {
        let mut headers = HeaderMap::new();
        for challenge in challenges {
            headers.append(WWW_AUTHENTICATE, HeaderValue::from_str(challenge).unwrap());
        }
        judge(StatusCode::from_u16(status).unwrap(), &headers)
    }

    #[test]
    fn a_bearer_challenge_speaks_of_the_token() {
        assert_eq!(judged(401, &[]), Verdict::Invalid);
        assert_eq!(judged(401, &["Bearer"]), Verdict::Invalid);
        assert_eq!(judged(401, &[r#"bearer realm="a, Basic b", error="invalid_token""#]), Verdict::Invalid);
        assert_eq!(judged(401, &[r#"Basic realm="x", Bearer error="invalid_token""#]), Verdict::Invalid);
        assert_eq!(judged(401, &["Basic realm=\"x\"", "Bearer"]), Verdict::Invalid);
        assert_eq!(judged(401, &["Basic realm=\"Bearer\""]), Verdict::Taken, "of another credential");
        assert_eq!(judged(403, &["Bearer"]), Verdict::Taken, "the person may not, and nothing renews that");
        assert_eq!(judged(200, &["Bearer error=\"invalid_token\""]), Verdict::Taken);
        assert_eq!(judged(401, &["\"=,"]), Verdict::Invalid, "what cannot be read says nothing");
    }

    #[test]
    fn too_little_scope_is_told_apart() {
        let asked = Some("a b".to_owned());
        let challenge = r#"Bearer error="insufficient_scope", scope="a b""#;
        assert_eq!(judged(403, &[challenge]), Verdict::Insufficient(asked.clone()));
        assert_eq!(judged(401, &[challenge]), Verdict::Insufficient(asked));
        assert_eq!(judged(403, &["Bearer error=insufficient_scope"]), Verdict::Insufficient(None));
    }
}
