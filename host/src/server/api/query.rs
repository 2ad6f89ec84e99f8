//! Which names a query may have: those that the document says of a route. One that is misspelt would else have more listed, or
//! something else done, than was meant.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use axum::{
    extract::{MatchedPath, Request, State},
    http::Method,
    middleware::Next,
    response::{IntoResponse, Response},
};
use url::form_urlencoded;
use utoipa::openapi::{
    OpenApi, RefOr,
    path::{Operation, ParameterIn},
};

use super::Problem;
use crate::{error::Kind, text};

/// What an operator says to any route, whether it is of an environment or not.
const ANYWHERE: &str = "environment";

/// The names, by route and method.
pub(super) struct Queries(HashMap<(Method, String), HashSet<String>>);

impl Queries {
    pub(super) fn of(document: &OpenApi) -> Arc<Self> {
        let mut all = HashMap::new();
        for (path, item) in &document.paths.paths {
            let methods = [
                (Method::GET, &item.get),
                (Method::PUT, &item.put),
                (Method::POST, &item.post),
                (Method::PATCH, &item.patch),
                (Method::DELETE, &item.delete),
            ];
            for (method, operation) in methods {
                all.extend(operation.as_ref().map(|operation| ((method, path.clone()), names(operation))));
            }
        }
        Arc::new(Self(all))
    }

    /// Whatever is no name, of a request to this route.
    fn unknown(&self, method: &Method, path: &str, query: &str) -> Option<String> {
        // RFC 9110, 9.3.2.
        let method = if method == Method::HEAD { &Method::GET } else { method };
        let known = self.0.get(&(method.clone(), path.to_owned()))?;
        let mut names = form_urlencoded::parse(query.as_bytes()).map(|(name, _)| name);
        names.find(|name| name != ANYWHERE && !known.contains(name.as_ref())).map(|name| name.into_owned())
    }
}

fn names(operation: &Operation) -> HashSet<String> {
    let all = operation.parameters.iter().flatten().filter_map(|it| match it {
        RefOr::T(parameter) => Some(parameter),
        RefOr::Ref(_) => None,
    });
    all.filter(|it| it.parameter_in == ParameterIn::Query).map(|it| it.name.clone()).collect()
}

/// Refuses a query that has another name.
pub(super) async fn refuse_unknown(
    State(queries): State<Arc<Queries>>,
    path: MatchedPath,
    request: Request,
    next: Next,
) -> Response {
    let unknown = request.uri().query().and_then(|query| queries.unknown(request.method(), path.as_str(), query));
    match unknown {
        None => next.run(request).await,
        Some(name) => {
            let error = Kind::Usage
                .error(format!("The query has `{}`, which means nothing here.", text::foreign(&name, 60)))
                .hint("The document at /v1/openapi.json has the names that it may have.");
            Problem::from(error).into_response()
        }
    }
}
