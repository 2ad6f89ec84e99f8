//! Requests of OData v4, its errors, and its JSON.

use attache_sdk::{
    Failure, Url, connection,
    http::{Request, Response},
};
use serde::Deserialize;
use serde_json::{Map, Value};

/// The version of the Web API that is spoken.
const VERSION: &str = "v9.2";

/// What every URL begins with.
pub(crate) fn base() -> Url {
    Url::new(connection::audience()).segment("api").segment("data").segment(VERSION)
}

/// A table's URL.
pub(crate) fn table_url(table: &str) -> Result<Url, Failure> {
    let is_name = table.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && table.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    match is_name {
        true => Ok(base().segment(table)),
        false => Err(Failure::InvalidInput("a table's name has letters, digits and `_`".into())),
    }
}

/// A row's URL.
pub(crate) fn row_url(table: &str, id: &str) -> Result<Url, Failure> {
    let lengths: Vec<usize> = id.split('-').map(str::len).collect();
    if lengths != [8, 4, 4, 4, 12] || !id.chars().all(|c| c.is_ascii_hexdigit() || c == '-') {
        return Err(Failure::InvalidInput("`id` is a GUID".into()));
    }
    // A GUID stands without quotes, and parentheses as they are.
    Ok(Url::from(format!("{}({id})", table_url(table)?)))
}

/// Asks for some columns.
pub(crate) fn select(request: Request, columns: &[String]) -> Request {
    if columns.is_empty() { request } else { request.query("$select", columns.join(",")) }
}

/// Sends a request and demands success.
pub(crate) fn send(request: Request) -> Result<Response, Failure> {
    let answer = request
        .header("Accept", "application/json")
        .header("OData-Version", "4.0")
        .header("OData-MaxVersion", "4.0")
        .send()?;
    if answer.status == 400 {
        return Err(Failure::InvalidInput(words(&answer)));
    }
    answer.ok_or_words(words)
}

#[derive(Deserialize)]
struct Refusal {
    error: Error,
}

#[derive(Deserialize)]
struct Error {
    code: String,
    message: String,
}

/// The service's own words for a failure (OData JSON Format, 21.1).
fn words(answer: &Response) -> String {
    match answer.json::<Refusal>() {
        Ok(Refusal { error: Error { code, message } }) => format!("{message} ({code})"),
        Err(_) => answer.text(),
    }
}

/// OData JSON Format, 5.
#[derive(Deserialize)]
pub(crate) struct ServiceDocument {
    value: Vec<Resource>,
}

#[derive(Deserialize)]
struct Resource {
    name: String,
    /// An entity set where it is left out.
    kind: Option<String>,
}

impl ServiceDocument {
    /// The names of what has rows.
    pub(crate) fn entity_sets(self) -> Vec<String> {
        let is_set = |resource: &Resource| resource.kind.as_deref().is_none_or(|kind| kind == "EntitySet");
        let mut names: Vec<String> = self.value.into_iter().filter(is_set).map(|resource| resource.name).collect();
        names.sort();
        names
    }
}

/// OData JSON Format, 12.
#[derive(Deserialize)]
pub(crate) struct Page {
    pub(crate) value: Vec<Map<String, Value>>,
    #[serde(rename = "@odata.nextLink")]
    pub(crate) next: Option<String>,
}
