//! Requests to the service, its errors, and its JSON.

use attache_sdk::{
    Failure, Url, connection,
    http::{Request, Response},
};
use serde::{Deserialize, Serialize, de::IgnoredAny};

/// The version of the service that is spoken.
const VERSION: &str = "2022-11-28";

/// What every URL begins with.
pub(crate) fn base() -> Url {
    Url::new(connection::audience())
}

/// A repository's URL.
pub(crate) fn repository(owner: &str, name: &str) -> Result<Url, Failure> {
    if [owner, name].iter().any(|part| part.is_empty() || Url::is_dots(part)) {
        return Err(Failure::InvalidInput("`owner` and `repository` are names".into()));
    }
    Ok(base().segment("repos").segment(owner).segment(name))
}

/// Whether a path is a repository's issues. The service's own links name the repository by its number.
pub(crate) fn is_issues(path: &str) -> bool {
    let segments: Vec<&str> = path.split('/').collect();
    matches!(segments.as_slice(), ["repositories", _, "issues"] | ["repos", _, _, "issues"])
}

/// Sends a request and demands success.
pub(crate) fn send(request: Request) -> Result<Response, Failure> {
    let answer =
        request.header("Accept", "application/vnd.github+json").header("X-GitHub-Api-Version", VERSION).send()?;
    // What is too much is refused with 403 as well, told from what is forbidden by its headers, or by the word of those
    // limits that have no headers.
    let limited = matches!(answer.status, 403 | 429)
        && (answer.status == 429
            || answer.header("X-RateLimit-Remaining") == Some("0")
            || answer.header("Retry-After").is_some()
            || words(&answer).contains("rate limit"));
    if limited {
        let spent = answer.header("X-RateLimit-Remaining") == Some("0");
        return Err(Failure::RateLimited(answer.wait(if spent { "X-RateLimit-Reset" } else { "" })));
    }
    if answer.status == 422 {
        return Err(Failure::InvalidInput(words(&answer)));
    }
    answer.ok_or_words(words)
}

#[derive(Deserialize)]
struct Error {
    message: String,
    #[serde(default)]
    errors: Vec<Detail>,
}

/// What is wrong with a field, or a sentence.
#[derive(Deserialize)]
#[serde(untagged)]
enum Detail {
    Field { field: Option<String>, code: String, message: Option<String> },
    Sentence(String),
}

/// The service's own words for a failure.
fn words(answer: &Response) -> String {
    let Ok(error) = answer.json::<Error>() else { return answer.text() };
    let details = error.errors.into_iter().map(|detail| match detail {
        Detail::Sentence(words) | Detail::Field { message: Some(words), .. } => words,
        Detail::Field { field, code, message: None } => format!("{} {code}", field.unwrap_or_default()),
    });
    [error.message].into_iter().chain(details).collect::<Vec<_>>().join("; ")
}

#[derive(Deserialize)]
pub(crate) struct Issue {
    pub(crate) number: u64,
    pub(crate) title: String,
    pub(crate) state: String,
    pub(crate) body: Option<String>,
    pub(crate) user: Option<Login>,
    #[serde(default)]
    pub(crate) labels: Vec<Label>,
    pub(crate) created_at: String,
    pub(crate) pull_request: Option<IgnoredAny>,
    pub(crate) html_url: String,
}

#[derive(Deserialize)]
pub(crate) struct Login {
    pub(crate) login: String,
}

/// A label is an object, and in old repositories its name alone.
#[derive(Deserialize)]
#[serde(untagged)]
pub(crate) enum Label {
    Whole { name: Option<String> },
    Name(String),
}

impl Label {
    pub(crate) fn name(self) -> String {
        match self {
            Label::Whole { name } => name.unwrap_or_default(),
            Label::Name(name) => name,
        }
    }
}

#[derive(Serialize)]
pub(crate) struct NewIssue<'a> {
    pub(crate) title: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) body: Option<&'a str>,
    pub(crate) labels: &'a [String],
}
