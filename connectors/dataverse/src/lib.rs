//! Microsoft Dataverse: the tables of a Power Platform environment, by its Web API, which is OData v4. People sign in at
//! Microsoft Entra; where the environment is says what is asked for there, and that is where the token goes.

mod odata;

use attache_sdk::{Grant, Oauth2, page, prelude::*};
use serde_json::{Map, Value};

use odata::{base, row_url, send, table_url};

/// The Entra tenants of all organizations: who signs in says which.
const ANY_TENANT: &str = "organizations";
const LOGIN: &str = "https://login.microsoftonline.com/{tenant}/oauth2/v2.0";

struct Dataverse;

impl Connector for Dataverse {
    fn describe() -> Manifest {
        let environment = || {
            Parameter::host("environment", "Environment")
                .description("The host of its URL, like contoso.crm4.dynamics.com.")
                .pattern(r"[a-z0-9-]+\.crm[0-9]*\.dynamics\.com")
        };
        let tenant = || {
            Parameter::text("tenant", "Tenant")
                .description("The organization's domain or ID in Entra.")
                .pattern("[A-Za-z0-9-]+([.][A-Za-z0-9-]+)*")
        };
        let entra = || Oauth2::at(&format!("{LOGIN}/authorize"), &format!("{LOGIN}/token"));
        let tables = "Tables of the environment, as whoever signs in may use them";
        Manifest::new(
            "dataverse",
            env!("CARGO_PKG_VERSION"),
            "Microsoft Dataverse",
            "Tables of a Power Platform environment.",
        )
        .auth(
            AuthOption::new("oauth2", "Sign in with Microsoft")
                .parameter(environment())
                .parameter(tenant().default(ANY_TENANT))
                .oauth2(
                    entra()
                        .device_authorization_url(&format!("{LOGIN}/devicecode"))
                        .grants(&[Grant::AuthorizationCode, Grant::DeviceCode])
                        .scope("https://{environment}/.default", tables)
                        .scope("offline_access", "Stay signed in")
                        // Entra wants to be told for which service a token is renewed.
                        .refresh_param("scope", "{scope}"),
                )
                .audience("https://{environment}"),
        )
        .auth(
            AuthOption::new("application", "As the app itself, without a person")
                .parameter(environment())
                .parameter(tenant())
                .oauth2(entra().grants(&[Grant::ClientCredentials]).scope("https://{environment}/.default", tables))
                .audience("https://{environment}"),
        )
    }

    fn operations() -> Vec<Operation> {
        vec![
            Operation::read(
                "list-tables",
                "List tables",
                "The tables of the environment, by the names that all other operations take.",
                list_tables,
            ),
            Operation::read("query", "Query a table", "Rows of a table, a page of them.", query),
            Operation::read("read", "Read a row", "One row of a table.", read),
            Operation::write("create", "Create a row", "Adds a row to a table.", create),
            Operation::write("update", "Update a row", "Changes columns of a row that is there.", update),
            Operation::destructive("delete", "Delete a row", "Deletes a row.", delete),
        ]
    }

    fn check() -> Result<String, Failure> {
        let me: Whoami = send(http::get(base().segment("WhoAmI")))?.json()?;
        let user = http::get(row_url("systemusers", &me.user)?).query("$select", "fullname,domainname");
        let user: User = send(user)?.json()?;
        Ok(user.domainname.or(user.fullname).unwrap_or(me.user))
    }
}

#[derive(Deserialize)]
struct Whoami {
    #[serde(rename = "UserId")]
    user: String,
}

#[derive(Deserialize)]
struct User {
    /// What people sign in with. An app has none.
    domainname: Option<String>,
    fullname: Option<String>,
}

/// Nothing is asked.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Nothing {}

/// Which rows of a table, and what of them.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Query {
    /// The table's name as `list-tables` gives it, like `accounts`.
    table: String,
    /// The columns that are wanted; all of them unless given.
    #[serde(default)]
    select: Vec<String>,
    /// Which rows, in OData's words: `revenue gt 1000 and contains(name, 'Ltd')`.
    filter: Option<String>,
    /// Columns to sort by, each with ` desc` behind it where the largest come first.
    #[serde(default)]
    order_by: Vec<String>,
    /// How many rows at the most.
    #[schemars(range(min = 1))]
    top: Option<u32>,
    /// How many on a page; what the service gives unless told, 5000 at the most.
    #[schemars(range(min = 1, max = 5000))]
    page_size: Option<u32>,
    /// Another page: what an earlier answer gave as `next`. All else but the table and the page size is known from there.
    next: Option<String>,
}

/// A row of a table, and what of it.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Read {
    /// The table's name as `list-tables` gives it, like `accounts`.
    table: String,
    /// The row's ID, a GUID.
    id: String,
    /// The columns that are wanted; all of them unless given.
    #[serde(default)]
    select: Vec<String>,
}

/// A new row.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct New {
    /// The table's name as `list-tables` gives it, like `accounts`.
    table: String,
    /// Columns and their values.
    row: Map<String, Value>,
}

/// Changes of a row.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Update {
    /// The table's name as `list-tables` gives it, like `accounts`.
    table: String,
    /// The row's ID, a GUID.
    id: String,
    /// Columns and their new values; all others stay as they are.
    row: Map<String, Value>,
}

/// A row.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Row {
    /// The table's name as `list-tables` gives it, like `accounts`.
    table: String,
    /// The row's ID, a GUID.
    id: String,
}

/// The tables.
#[derive(Serialize, JsonSchema)]
struct Tables {
    tables: Vec<String>,
}

/// Rows, a page of them.
#[derive(Serialize, JsonSchema)]
struct Rows {
    rows: Vec<Map<String, Value>>,
    /// What asks for the next page, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// A row as it is now.
#[derive(Serialize, JsonSchema)]
struct Found {
    row: Map<String, Value>,
}

/// It is done.
#[derive(Serialize, JsonSchema)]
struct Done {
    done: bool,
}

fn list_tables(_: Nothing) -> Result<Tables, Failure> {
    let document: odata::ServiceDocument = send(http::get(base().segment("")))?.json()?;
    Ok(Tables { tables: document.entity_sets() })
}

fn query(input: Query) -> Result<Rows, Failure> {
    let mut request = match &input.next {
        Some(next) => http::get(page::resume(&base(), next, |path| path == input.table)?),
        None => {
            let mut request = odata::select(http::get(table_url(&input.table)?), &input.select);
            if let Some(filter) = &input.filter {
                request = request.query("$filter", filter);
            }
            if !input.order_by.is_empty() {
                request = request.query("$orderby", input.order_by.join(","));
            }
            if let Some(top) = input.top {
                request = request.query("$top", top);
            }
            request
        }
    };
    if let Some(rows) = input.page_size {
        request = request.header("Prefer", format!("odata.maxpagesize={rows}"));
    }
    let page: odata::Page = send(request)?.json()?;
    let next = page.next.map(|link| page::keep(&base(), &link)).transpose()?;
    Ok(Rows { rows: page.value, next })
}

fn read(input: Read) -> Result<Found, Failure> {
    let row = send(odata::select(http::get(row_url(&input.table, &input.id)?), &input.select))?.json()?;
    Ok(Found { row })
}

fn create(input: New) -> Result<Found, Failure> {
    let request = http::post(table_url(&input.table)?).header("Prefer", "return=representation");
    Ok(Found { row: send(request.json(&input.row))?.json()? })
}

fn update(input: Update) -> Result<Found, Failure> {
    // Without the condition, a row that is not there would be made.
    let request = http::patch(row_url(&input.table, &input.id)?)
        .header("If-Match", "*")
        .header("Prefer", "return=representation");
    Ok(Found { row: send(request.json(&input.row))?.json()? })
}

fn delete(input: Row) -> Result<Done, Failure> {
    send(http::delete(row_url(&input.table, &input.id)?))?;
    Ok(Done { done: true })
}

attache_sdk::export!(Dataverse);
