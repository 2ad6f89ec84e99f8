//! Requests through the host, which is the only way out. The credential is put on by the host, unless
//! [`Request::without_credential`] says that it is not wanted.

use serde::{Serialize, de::DeserializeOwned};

use crate::{Failure, Url, bindings::attache::connector::http, date};

/// How much of a service's own words goes into a failure.
const WORDS: usize = 500;

/// A request that is being built.
#[derive(Debug, Clone)]
#[must_use = "a request does nothing until it is sent"]
pub struct Request {
    method: String,
    url: Url,
    query: Vec<(String, String)>,
    headers: Vec<(String, String)>,
    body: Option<Vec<u8>>,
    attach: bool,
}

/// What the service answered, without what the host had attached.
#[derive(Debug, Clone)]
pub struct Response {
    /// RFC 9110 status code.
    pub status: u16,
    /// In order; names may repeat.
    pub headers: Vec<(String, String)>,
    /// The content, decoded.
    pub body: Vec<u8>,
}

/// A GET request.
pub fn get(url: impl Into<Url>) -> Request {
    request("GET", url)
}

/// A POST request.
pub fn post(url: impl Into<Url>) -> Request {
    request("POST", url)
}

/// A PUT request.
pub fn put(url: impl Into<Url>) -> Request {
    request("PUT", url)
}

/// A PATCH request.
pub fn patch(url: impl Into<Url>) -> Request {
    request("PATCH", url)
}

/// A DELETE request.
pub fn delete(url: impl Into<Url>) -> Request {
    request("DELETE", url)
}

/// A request with any method.
pub fn request(method: impl Into<String>, url: impl Into<Url>) -> Request {
    Request { method: method.into(), url: url.into(), query: Vec::new(), headers: Vec::new(), body: None, attach: true }
}

impl Request {
    /// Adds a query parameter.
    pub fn query(mut self, name: &str, value: impl ToString) -> Self {
        self.query.push((name.to_owned(), value.to_string()));
        self
    }

    /// Adds a header. The host refuses those that are its own: `Host`, `Authorization`, what frames the message.
    pub fn header(mut self, name: &str, value: impl ToString) -> Self {
        self.headers.push((name.to_owned(), value.to_string()));
        self
    }

    /// Sends JSON.
    pub fn json(self, body: &impl Serialize) -> Self {
        // A struct that cannot be JSON is a defect of the connector, and becomes a trap.
        let body = serde_json::to_vec(body).expect("the body can be written as JSON");
        self.header("Content-Type", "application/json").bytes(body)
    }

    /// Sends bytes as they are.
    pub fn bytes(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = Some(body.into());
        self
    }

    /// Sends it without the credential: for open hosts.
    pub fn without_credential(mut self) -> Self {
        self.attach = false;
        self
    }

    /// Sends it.
    ///
    /// # Errors
    /// What the host refused or could not deliver; any answer of the service is a [`Response`].
    pub fn send(self) -> Result<Response, Failure> {
        let response = http::send(&http::Request {
            method: self.method,
            url: self.url.with_query(&self.query),
            headers: self.headers,
            body: self.body,
            credential: if self.attach { http::Credential::Attach } else { http::Credential::Omit },
        })?;
        Ok(Response { status: response.status, headers: response.headers, body: response.body })
    }
}

impl Response {
    /// The first header of that name, in any spelling.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// The content as text; what is not UTF-8 is replaced.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The content as JSON.
    ///
    /// # Errors
    /// [`Failure::Upstream`] where it is not what the type asks for.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        serde_json::from_slice(&self.body).map_err(|error| {
            Failure::Upstream((self.status, format!("the answer is not the JSON that was expected ({error})")))
        })
    }

    /// The seconds to wait that the service asks for: `Retry-After`, else the moment in this header, in seconds since 1970, by
    /// the service's own clock. A connector has no other.
    pub fn wait(&self, reset_header: &str) -> Option<u32> {
        let number = |name: &str| self.header(name)?.trim().parse::<i64>().ok();
        let until = || number(reset_header)?.checked_sub(date::seconds(self.header("Date")?)?);
        number("Retry-After").or_else(until).map(|seconds| u32::try_from(seconds.max(0)).unwrap_or(u32::MAX))
    }

    /// Demands a status of 2xx.
    ///
    /// # Errors
    /// 401 and 403 are [`Failure::Unauthorized`], 404 is [`Failure::NotFound`], 429 is [`Failure::RateLimited`], everything else
    /// [`Failure::Upstream`], with the service's own words.
    pub fn ok(self) -> Result<Self, Failure> {
        let words = self.text();
        self.ok_or_words(|_| words)
    }

    /// As [`Response::ok`], where the service's words stand somewhere in its answer.
    ///
    /// # Errors
    /// As for [`Response::ok`].
    pub fn ok_or_words(self, words: impl FnOnce(&Self) -> String) -> Result<Self, Failure> {
        if (200..300).contains(&self.status) {
            return Ok(self);
        }
        let words: String = words(&self).chars().take(WORDS).collect();
        Err(match self.status {
            401 | 403 => Failure::Unauthorized(words),
            404 => Failure::NotFound(words),
            429 => Failure::RateLimited(self.header("Retry-After").and_then(|seconds| seconds.parse().ok())),
            status => Failure::Upstream((status, words)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(status: u16, headers: &[(&str, &str)]) -> Response {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Response { status, headers, body: b"words".to_vec() }
    }

    #[test]
    fn how_long_to_wait_is_told_by_the_services_own_clock() {
        let date = ("Date", "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(response(429, &[date, ("X-Reset", "784111837")]).wait("x-reset"), Some(60));
        assert_eq!(response(429, &[date, ("X-Reset", "784111777")]).wait("x-reset"), Some(0));
        assert_eq!(response(429, &[date, ("X-Reset", "1"), ("Retry-After", "7")]).wait("x-reset"), Some(7));
        for unknown in [&[][..], &[date], &[("X-Reset", "784111837")], &[("Date", "today"), ("X-Reset", "1")]] {
            assert_eq!(response(429, unknown).wait("x-reset"), None);
        }
    }

    #[test]
    fn a_status_becomes_what_a_caller_can_act_on() {
        assert!(response(204, &[]).ok().is_ok());
        assert!(matches!(response(401, &[]).ok(), Err(Failure::Unauthorized(words)) if words == "words"));
        assert!(matches!(response(404, &[]).ok(), Err(Failure::NotFound(_))));
        assert!(matches!(response(429, &[("retry-after", "7")]).ok(), Err(Failure::RateLimited(Some(7)))));
        assert!(matches!(response(429, &[("retry-after", "soon")]).ok(), Err(Failure::RateLimited(None))));
        assert!(matches!(response(500, &[]).ok(), Err(Failure::Upstream((500, _)))));
    }
}
