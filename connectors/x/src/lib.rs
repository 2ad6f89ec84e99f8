//! X (Twitter), by its API v2, for the account of whoever signs in. Its refresh tokens are good for one use; the host sees to
//! that.

use attache_sdk::{
    ClientAuth, Oauth2,
    http::{Request, Response},
    prelude::*,
};

/// What one answer lists unless told; the service allows 5 to 100.
const PAGE: u8 = 10;

struct X;

impl Connector for X {
    fn describe() -> Manifest {
        Manifest::new("x", env!("CARGO_PKG_VERSION"), "X", "Posts of an account on X, formerly Twitter.").auth(
            AuthOption::new("oauth2", "Sign in with X")
                .oauth2(
                    Oauth2::at("https://x.com/i/oauth2/authorize", "https://api.x.com/2/oauth2/token")
                        .revocation_url("https://api.x.com/2/oauth2/revoke")
                        .client_auth(ClientAuth::Basic)
                        .scope("users.read", "Whose account it is")
                        .scope("tweet.read", "Read posts")
                        .scope("offline.access", "Stay signed in")
                        .optional_scope("tweet.write", "Publish and delete posts"),
                )
                .audience("https://api.x.com"),
        )
    }

    fn operations() -> Vec<Operation> {
        vec![
            Operation::read("get-me", "Get the account", "Whose account it is.", get_me),
            Operation::read(
                "recent-posts",
                "List recent posts",
                "The account's own posts, the newest first.",
                recent_posts,
            ),
            Operation::write("create-post", "Publish a post", "Publishes a post, for everybody to see.", create_post)
                .scopes(&["tweet.write"]),
            Operation::destructive(
                "delete-post",
                "Delete a post",
                "Deletes one of the account's own posts.",
                delete_post,
            )
            .scopes(&["tweet.write"]),
        ]
    }

    fn check() -> Result<String, Failure> {
        get_me(Nothing {}).map(|me| me.username)
    }
}

/// Nothing is asked.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Nothing {}

/// Which page of the posts.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Listing {
    /// How many on a page; 10 unless given.
    #[schemars(range(min = 5, max = 100))]
    page_size: Option<u8>,
    /// Another page: what an earlier answer gave as `next`.
    next: Option<String>,
}

/// A new post.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct NewPost {
    /// What it says.
    text: String,
    /// The ID of the post that it answers.
    in_reply_to: Option<String>,
}

/// A post.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Post {
    /// Its ID, which is digits.
    id: String,
}

/// An account.
#[derive(Serialize, Deserialize, JsonSchema)]
struct Account {
    id: String,
    /// What people write after the `@`.
    username: String,
    name: String,
}

/// A post that was published.
#[derive(Serialize, Deserialize, JsonSchema)]
struct Published {
    id: String,
    text: String,
    /// RFC 3339, where the service says when.
    #[serde(rename(serialize = "created"), skip_serializing_if = "Option::is_none")]
    created_at: Option<String>,
}

/// Posts, a page of them.
#[derive(Serialize, JsonSchema)]
struct Posts {
    posts: Vec<Published>,
    /// What asks for the next page, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// It is done.
#[derive(Serialize, JsonSchema)]
struct Done {
    done: bool,
}

/// What every good answer has its content in.
#[derive(Deserialize)]
struct Data<T> {
    data: T,
}

/// An answer of several; where there are none, it has no content at all.
#[derive(Deserialize)]
struct List {
    #[serde(default)]
    data: Vec<Published>,
    meta: Meta,
}

#[derive(Deserialize)]
struct Meta {
    next_token: Option<String>,
}

#[derive(Deserialize)]
struct Deleted {
    deleted: bool,
}

#[derive(Serialize)]
struct Text<'a> {
    text: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reply: Option<Reply<'a>>,
}

#[derive(Serialize)]
struct Reply<'a> {
    in_reply_to_tweet_id: &'a str,
}

fn get_me(_: Nothing) -> Result<Account, Failure> {
    let me: Data<Account> = send(http::get(base().segment("users").segment("me")))?.json()?;
    Ok(me.data)
}

fn recent_posts(input: Listing) -> Result<Posts, Failure> {
    let me = get_me(Nothing {})?;
    let mut request = http::get(base().segment("users").segment(me.id).segment("tweets"))
        .query("max_results", input.page_size.unwrap_or(PAGE))
        .query("tweet.fields", "created_at");
    if let Some(next) = &input.next {
        request = request.query("pagination_token", next);
    }
    let list: List = send(request)?.json()?;
    Ok(Posts { posts: list.data, next: list.meta.next_token })
}

fn create_post(input: NewPost) -> Result<Published, Failure> {
    let reply = input.in_reply_to.as_deref().map(|id| Reply { in_reply_to_tweet_id: id });
    let post = Text { text: &input.text, reply };
    let made: Data<Published> = send(http::post(base().segment("tweets")).json(&post))?.json()?;
    Ok(made.data)
}

fn delete_post(input: Post) -> Result<Done, Failure> {
    if input.id.is_empty() || !input.id.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Failure::InvalidInput("a post's ID is digits".into()));
    }
    let gone: Data<Deleted> = send(http::delete(base().segment("tweets").segment(&input.id)))?.json()?;
    match gone.data.deleted {
        true => Ok(Done { done: true }),
        false => Err(Failure::NotFound("there is no such post of this account".into())),
    }
}

fn base() -> Url {
    Url::new(connection::audience()).segment("2")
}

/// Sends a request and demands success.
fn send(request: Request) -> Result<Response, Failure> {
    let answer = request.send()?;
    match answer.status {
        400 => Err(Failure::InvalidInput(words(&answer))),
        // The account may not do that (a second post of the same words, say), and signing in again changes nothing.
        403 => Err(Failure::Upstream((403, words(&answer)))),
        429 => Err(Failure::RateLimited(answer.wait("x-rate-limit-reset"))),
        _ => answer.ok_or_words(words),
    }
}

/// A problem (RFC 9457), with what is wrong with single parameters.
#[derive(Deserialize)]
struct Problem {
    title: String,
    detail: Option<String>,
    #[serde(default)]
    errors: Vec<Detail>,
}

#[derive(Deserialize)]
struct Detail {
    message: Option<String>,
}

/// The service's own words for a failure.
fn words(answer: &Response) -> String {
    let Ok(problem) = answer.json::<Problem>() else { return answer.text() };
    let details = problem.errors.into_iter().filter_map(|error| error.message);
    let all: Vec<String> = [problem.title].into_iter().chain(problem.detail).chain(details).collect();
    all.join(": ")
}

attache_sdk::export!(X);
