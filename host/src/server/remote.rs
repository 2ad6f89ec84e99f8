//! From where somebody comes who is not known yet.

use std::net::IpAddr;

use http::HeaderMap;

/// An address that requests come from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Remote(pub(super) IpAddr);

impl Remote {
    /// Of a request of that peer. Behind a proxy it is what the proxy says, which nobody else is believed.
    pub(super) fn of(headers: &HeaderMap, peer: IpAddr, behind_proxy: bool) -> Self {
        let forwarded = if behind_proxy { forwarded_for(headers) } else { None };
        forwarded.unwrap_or(Self(peer))
    }
}

/// The last address in `X-Forwarded-For`: what stands before it came with the request, and may say anything.
fn forwarded_for(headers: &HeaderMap) -> Option<Remote> {
    let last = headers.get_all("x-forwarded-for").iter().next_back()?.to_str().ok()?;
    last.rsplit(',').next()?.trim().parse().ok().map(Remote)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn of_what_was_forwarded_only_the_last_is_the_proxys_word() {
        let said = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append("x-forwarded-for", HeaderValue::from_static(value));
            }
            forwarded_for(&headers).map(|remote| remote.0.to_string())
        };
        assert_eq!(said(&["192.0.2.1, 198.51.100.7"]), Some("198.51.100.7".into()));
        assert_eq!(said(&["192.0.2.1", "2001:db8::7"]), Some("2001:db8::7".into()));
        assert_eq!((said(&[]), said(&["192.0.2.1, unknown"])), (None, None));
    }
}
