//! Facebook, by its Graph API. There are no refresh tokens: the host exchanges what the sign-in gave for a token that is good
//! for sixty days, and that for another one later. With each request it proves that it knows the app's secret.

mod graph;

use attache_sdk::{Call, CaptureFrom, Kind, Oauth2, prelude::*};

use graph::{base, send};

/// The version of the Graph API that is spoken.
const GRAPH: &str = "https://graph.facebook.com/v24.0";
const DIALOG: &str = "https://www.facebook.com/v24.0/dialog/oauth";
/// Good for as long as the service says that such tokens are, where an answer does not say.
const SIXTY_DAYS: u32 = 60 * 24 * 60 * 60;
/// The auth option of a page.
const PAGE_OPTION: &str = "page";
/// What one answer lists unless told.
const PAGE: u8 = 25;

struct Facebook;

impl Connector for Facebook {
    fn describe() -> Manifest {
        Manifest::new(
            "facebook",
            env!("CARGO_PKG_VERSION"),
            "Facebook",
            "A person's account and pages, or what a page publishes.",
        )
        .auth(
            AuthOption::new("user", "Sign in with Facebook")
                .oauth2(
                    signing_in()
                        .scope("pages_show_list", "Which pages the account manages")
                        .after_token(vec![long_lived().into()])
                        .refresh(vec![long_lived().into()]),
                )
                .query("access_token", "{access_token}")
                .query("appsecret_proof", "{hex(sign(hmac-sha256, client_secret, access_token))}")
                .audience("https://graph.facebook.com"),
        )
        .auth(
            AuthOption::new(PAGE_OPTION, "Sign in with Facebook, to publish as a page")
                .parameter(
                    Parameter::text("page-id", "Page ID")
                        .description("As `list-pages` gives it.")
                        .pattern("[0-9]{1,30}"),
                )
                .oauth2(
                    signing_in()
                        .scope("pages_show_list", "Which pages the account manages")
                        .scope("pages_read_engagement", "What the page published")
                        .scope("pages_manage_posts", "Publish as the page")
                        .after_token(vec![long_lived().into(), of_page().into()])
                        .refresh(vec![long_lived().into(), of_page().into()]),
                )
                .query("access_token", "{page_token}")
                .query("appsecret_proof", "{hex(sign(hmac-sha256, client_secret, page_token))}")
                .audience("https://graph.facebook.com"),
        )
    }

    fn operations() -> Vec<Operation> {
        vec![
            Operation::read("get-me", "Get the account", "Whose account, or which page, it is.", get_me),
            Operation::read("list-pages", "List pages", "The pages that the account manages.", list_pages)
                .scopes(&["pages_show_list"]),
            Operation::write(
                "create-page-post",
                "Publish as the page",
                "Publishes a post as the page that was connected, for everybody to see.",
                create_page_post,
            )
            .scopes(&["pages_manage_posts"]),
        ]
    }

    fn check() -> Result<String, Failure> {
        get_me(Nothing {}).map(|me| me.name)
    }
}

/// Facebook binds codes to a verifier only where it signs people in by OpenID Connect, which it calls a test.
fn signing_in() -> Oauth2 {
    Oauth2::at(DIALOG, &format!("{GRAPH}/oauth/access_token"))
        .without_pkce()
        .scope_separator(",")
        // A person may untick what is asked for, and the token answer says nothing of it.
        .authorization_param("return_scopes", "true")
        .capture("granted_scopes", CaptureFrom::Callback("granted_scopes".into()), Kind::Text)
        .lifetime_seconds(SIXTY_DAYS)
        .scope("public_profile", "Whose account it is")
}

/// Exchanges a token, which may be a long-lived one itself, for one that is good for sixty days.
fn long_lived() -> Call {
    Call::new("POST", &format!("{GRAPH}/oauth/access_token"))
        .form(&[
            ("grant_type", "fb_exchange_token"),
            ("client_id", "{client_id}"),
            ("client_secret", "{client_secret}"),
            ("fb_exchange_token", "{access_token}"),
        ])
        .capture("access_token", "/access_token", Kind::Secret)
        .capture("expires_in", "/expires_in", Kind::Text)
}

/// Asks for the page's own token, which is what publishes as the page.
fn of_page() -> Call {
    Call::new("GET", &format!("{GRAPH}/{{page-id}}?fields=access_token"))
        .query("access_token", "{access_token}")
        .query("appsecret_proof", "{hex(sign(hmac-sha256, client_secret, access_token))}")
        .capture("page_token", "/access_token", Kind::Secret)
}

/// Nothing is asked.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Nothing {}

/// Which part of the pages.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Listing {
    /// How many at once; 25 unless given.
    #[schemars(range(min = 1, max = 100))]
    limit: Option<u8>,
    /// What follows: what an earlier answer gave as `next`.
    next: Option<String>,
}

/// A new post.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct NewPost {
    /// What it says.
    message: String,
    /// A URL that is shown with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    link: Option<String>,
}

/// An account or a page.
#[derive(Serialize, Deserialize, JsonSchema)]
struct Account {
    id: String,
    name: String,
}

/// Some of the pages.
#[derive(Serialize, JsonSchema)]
struct Pages {
    pages: Vec<Page>,
    /// What asks for those that follow, where there are any.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// A page.
#[derive(Serialize, Deserialize, JsonSchema)]
struct Page {
    id: String,
    name: String,
    category: Option<String>,
}

/// A post that was published.
#[derive(Serialize, Deserialize, JsonSchema)]
struct Published {
    id: String,
}

fn get_me(_: Nothing) -> Result<Account, Failure> {
    send(http::get(base().segment("me")).query("fields", "id,name"))?.json()
}

fn list_pages(input: Listing) -> Result<Pages, Failure> {
    if connection::auth_option() == PAGE_OPTION {
        return Err(Failure::InvalidInput(
            "this connection is a page's; pages are listed with the auth option `user`".into(),
        ));
    }
    // Unless the fields are named, the service hands out the pages' tokens with them.
    let mut request = http::get(base().segment("me").segment("accounts"))
        .query("fields", "id,name,category")
        .query("limit", input.limit.unwrap_or(PAGE));
    if let Some(next) = &input.next {
        request = request.query("after", next);
    }
    let list: graph::List<Page> = send(request)?.json()?;
    Ok(Pages { next: list.next(), pages: list.data })
}

fn create_page_post(input: NewPost) -> Result<Published, Failure> {
    let Some(page) = connection::parameter("page-id") else {
        return Err(Failure::InvalidInput("only a page publishes; connect it with the auth option `page`".into()));
    };
    send(http::post(base().segment(page).segment("feed")).json(&input))?.json()
}

attache_sdk::export!(Facebook);
