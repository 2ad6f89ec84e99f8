//! GitHub, signed in by a code that is typed on any device, or in a browser. The token is the host's; the connector never has it.

mod service;

use attache_sdk::{Grant, Oauth2, page, prelude::*};

use service::{base, repository, send};

/// What one answer lists unless told; the service allows 100.
const PAGE: u8 = 30;

struct Github;

impl Connector for Github {
    fn describe() -> Manifest {
        Manifest::new("github", env!("CARGO_PKG_VERSION"), "GitHub", "Repositories and issues of an account.").auth(
            AuthOption::new("oauth2", "Sign in to GitHub")
                .oauth2(
                    Oauth2::at(
                        "https://github.com/login/oauth/authorize",
                        "https://github.com/login/oauth/access_token",
                    )
                    .device_authorization_url("https://github.com/login/device/code")
                    // An app needs no secret to sign somebody in on another device.
                    .grants(&[Grant::DeviceCode, Grant::AuthorizationCode])
                    .scope("read:user", "Who the account belongs to")
                    .scope("repo", "Repositories and issues, private ones too")
                    .scope_separator(","),
                )
                .audience("https://api.github.com"),
        )
    }

    fn operations() -> Vec<Operation> {
        vec![
            Operation::read("get-user", "Get the user", "Whose account it is.", get_user),
            Operation::read(
                "list-repositories",
                "List repositories",
                "Repositories that the account can reach, the ones that changed last first.",
                list_repositories,
            ),
            Operation::read(
                "list-issues",
                "List issues",
                "A repository's issues and pull requests, the newest first.",
                list_issues,
            )
            .scopes(&["repo"]),
            Operation::write("create-issue", "Create an issue", "Opens an issue in a repository.", create_issue)
                .scopes(&["repo"]),
        ]
    }

    fn check() -> Result<String, Failure> {
        get_user(Nothing {}).map(|user| user.login)
    }
}

/// Nothing is asked.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Nothing {}

/// Which page of the repositories.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct RepositoryListing {
    /// How many on a page; 30 unless given.
    #[schemars(range(min = 1, max = 100))]
    page_size: Option<u8>,
    /// Another page: what an earlier answer gave as `next`.
    next: Option<String>,
}

/// Which issues of a repository.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct IssueListing {
    /// Whose repository it is: a user or an organization.
    owner: String,
    /// The repository's name.
    repository: String,
    /// Open ones unless given.
    state: Option<State>,
    /// How many on a page; 30 unless given.
    #[schemars(range(min = 1, max = 100))]
    page_size: Option<u8>,
    /// Another page: what an earlier answer gave as `next`.
    next: Option<String>,
}

/// Which issues are meant.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum State {
    Open,
    Closed,
    All,
}

impl State {
    fn name(&self) -> &'static str {
        match self {
            State::Open => "open",
            State::Closed => "closed",
            State::All => "all",
        }
    }
}

/// A new issue.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct NewIssue {
    /// Whose repository it is: a user or an organization.
    owner: String,
    /// The repository's name.
    repository: String,
    /// What it is about, in a line.
    title: String,
    /// The rest, in Markdown.
    body: Option<String>,
    /// Names of labels.
    #[serde(default)]
    labels: Vec<String>,
}

/// A user.
#[derive(Serialize, Deserialize, JsonSchema)]
struct User {
    /// What people write after the `@`.
    login: String,
    id: u64,
    name: Option<String>,
}

/// Repositories, a page of them.
#[derive(Serialize, JsonSchema)]
struct Repositories {
    repositories: Vec<Repository>,
    /// What asks for the next page, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// A repository.
#[derive(Serialize, Deserialize, JsonSchema)]
struct Repository {
    /// Owner and name: `octocat/hello-world`.
    #[serde(rename(serialize = "full-name"))]
    full_name: String,
    description: Option<String>,
    private: bool,
    #[serde(rename(serialize = "default-branch"))]
    default_branch: String,
    /// Where people look at it.
    #[serde(rename(serialize = "url"))]
    html_url: String,
}

/// Issues, a page of them.
#[derive(Serialize, JsonSchema)]
struct Issues {
    issues: Vec<Issue>,
    /// What asks for the next page, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// An issue or a pull request.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
struct Issue {
    number: u64,
    title: String,
    /// `open` or `closed`.
    state: String,
    body: Option<String>,
    /// Who opened it.
    author: Option<String>,
    labels: Vec<String>,
    /// RFC 3339.
    created: String,
    pull_request: bool,
    /// Where people look at it.
    url: String,
}

fn get_user(_: Nothing) -> Result<User, Failure> {
    send(http::get(base().segment("user")))?.json()
}

fn list_repositories(input: RepositoryListing) -> Result<Repositories, Failure> {
    let request = match &input.next {
        Some(next) => http::get(page::resume(&base(), next, |path| path == "user/repos")?),
        None => http::get(base().segment("user").segment("repos"))
            .query("sort", "updated")
            .query("per_page", input.page_size.unwrap_or(PAGE)),
    };
    let answer = send(request)?;
    let next = page::next_link(&answer).map(|link| page::keep(&base(), link)).transpose()?;
    Ok(Repositories { repositories: answer.json()?, next })
}

fn list_issues(input: IssueListing) -> Result<Issues, Failure> {
    let url = repository(&input.owner, &input.repository)?.segment("issues");
    let request = match &input.next {
        Some(next) => http::get(page::resume(&base(), next, service::is_issues)?),
        None => http::get(url)
            .query("state", input.state.unwrap_or(State::Open).name())
            .query("per_page", input.page_size.unwrap_or(PAGE)),
    };
    let answer = send(request)?;
    let next = page::next_link(&answer).map(|link| page::keep(&base(), link)).transpose()?;
    let issues: Vec<service::Issue> = answer.json()?;
    Ok(Issues { issues: issues.into_iter().map(Issue::from).collect(), next })
}

fn create_issue(input: NewIssue) -> Result<Issue, Failure> {
    let issue = service::NewIssue { title: &input.title, body: input.body.as_deref(), labels: &input.labels };
    let url = repository(&input.owner, &input.repository)?.segment("issues");
    let made: service::Issue = send(http::post(url).json(&issue))?.json()?;
    Ok(made.into())
}

impl From<service::Issue> for Issue {
    fn from(issue: service::Issue) -> Self {
        Self {
            number: issue.number,
            title: issue.title,
            state: issue.state,
            body: issue.body,
            author: issue.user.map(|user| user.login),
            labels: issue.labels.into_iter().map(service::Label::name).collect(),
            created: issue.created_at,
            pull_request: issue.pull_request.is_some(),
            url: issue.html_url,
        }
    }
}

attache_sdk::export!(Github);
