//! Which names a query may have: those that the document says of a route. One that is misspelt would else have more listed, or
//! something else done, than was meant.

use std::{
    collections::{HashMap, HashSet},
    future::{Ready, ready},
    sync::Arc,
    task::{Context, Poll},
};

use axum::{
    extract::{MatchedPath, Request},
    http::Method,
    response::{IntoResponse, Response},
};
use futures_util::future::Either;
use tower::{Layer, Service};
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

/// Refuses a query that has another name, before its route. It stands before every call, so that it takes no memory of its own.
#[derive(Clone)]
pub(super) struct RefuseUnknown(pub(super) Arc<Queries>);

impl<S> Layer<S> for RefuseUnknown {
    type Service = Refusing<S>;

    fn layer(&self, route: S) -> Refusing<S> {
        Refusing { queries: self.0.clone(), route }
    }
}

/// A route, and which names queries may have.
#[derive(Clone)]
pub(super) struct Refusing<S> {
    queries: Arc<Queries>,
    route: S,
}

impl<S: Service<Request, Response = Response>> Service<Request> for Refusing<S> {
    type Response = Response;
    type Error = S::Error;
    type Future = Either<S::Future, Ready<Result<Response, S::Error>>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.route.poll_ready(context)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let path = request.extensions().get::<MatchedPath>();
        let unknown = path.zip(request.uri().query());
        let unknown = unknown.and_then(|(path, query)| self.queries.unknown(request.method(), path.as_str(), query));
        match unknown {
            None => Either::Left(self.route.call(request)),
            Some(name) => {
                let error = Kind::Usage
                    .error(format!("The query has `{}`, which means nothing here.", text::foreign(&name, 60)))
                    .hint("The document at /v1/openapi.json has the names that it may have.");
                Either::Right(ready(Ok(Problem::from(error).into_response())))
            }
        }
    }
}
