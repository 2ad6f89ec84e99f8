//! A call, tried by hand. What changes something at the service is called only by whoever ticked that they know.

use askama::Template;
use axum::http::StatusCode;
use serde_json::Value;

use super::{
    asked::At,
    gate::{Acting, Fields, Shown, Visitor},
    input::{Asks, Form},
    view::Frame,
};
use crate::{
    error::{Error, Kind, Result},
    manifest::Effect,
    server::{
        api::{OperationDetail, PreviewView, status_of},
        page::html,
    },
};

const HERE: &str = "Connections";

#[derive(Template)]
#[template(path = "console/call.html")]
struct Call {
    frame: Frame,
    connection: String,
    operation: OperationDetail,
    form: Form,
    /// Whether somebody ticked that it may change something.
    sure: bool,
    came: Came,
}

/// What came of it.
enum Came {
    Nothing,
    /// The operation's output, as JSON, and whether that is all of it.
    Output(String, bool),
    /// The request that it would send first.
    Preview(PreviewView),
    Refused(String, Option<String>),
}

/// The form.
pub(super) async fn show(visitor: Visitor, At((connection, operation)): At<(String, String)>) -> Shown {
    let operation: OperationDetail = visitor.get(&["connections", &connection, "operations", &operation]).await?;
    let form = Form::of(&operation.input, None);
    let page = Call { frame: visitor.frame(HERE), connection, operation, form, sure: false, came: Came::Nothing };
    Ok(html(StatusCode::OK, &page))
}

/// Calls, or says what calling would send.
pub(super) async fn call(At((connection, operation)): At<(String, String)>, acting: Acting) -> Shown {
    let operation: OperationDetail = acting.get(&["connections", &connection, "operations", &operation]).await?;
    let form = Form::of(&operation.input, Some(&acting.fields));
    let sure = acting.fields.get("sure").is_some();
    let (status, came) = match try_to_call(&acting, &connection, &operation, &form, sure).await {
        Ok(came) => (StatusCode::OK, came),
        Err(error) => (status_of(error.kind()), Came::from(error)),
    };
    let page = Call { frame: acting.frame(HERE), connection, operation, form, sure, came };
    Ok(html(status, &page))
}

async fn try_to_call(
    acting: &Acting,
    connection: &str,
    operation: &OperationDetail,
    form: &Form,
    sure: bool,
) -> Result<Came> {
    let input = form.input()?;
    let id = operation.operation.id.as_str();
    if wants_preview(&acting.fields) {
        return Ok(Came::Preview(
            acting.post(&["connections", connection, "operations", id, "preview"], &input).await?,
        ));
    }
    if operation.operation.effect != Effect::Read && !sure {
        return Err(Kind::Usage
            .error("It was not ticked that this may change something at the service, so nothing was called.")
            .hint("Tick it and call again, or look at what would be sent."));
    }
    let output: Value = acting.post(&["connections", connection, "operations", id], &input).await?;
    let pretty = serde_json::to_string_pretty(&output);
    let mut pretty = pretty.map_err(|error| Kind::Internal.error(format!("No JSON: {error}.")))?;
    let whole = pretty.len() <= LONGEST;
    pretty.truncate(pretty.floor_char_boundary(LONGEST));
    Ok(Came::Output(pretty, whole))
}

/// What a page shows of an output, in bytes; a browser takes its time with more.
const LONGEST: usize = 256 << 10;

fn wants_preview(fields: &Fields) -> bool {
    fields.get("do") == Some("preview")
}

impl From<Error> for Came {
    fn from(error: Error) -> Self {
        Self::Refused(error.message().to_owned(), error.mend().map(str::to_owned))
    }
}
