//! Write a connector for Attaché in a page.
//!
//! A connector says what it is and how its service is authenticated, as data; the host does all of the authenticating. A
//! request that the connector sends has no credential on it: the host puts it on as the request leaves, if it goes where
//! the auth option's audience says. So a connector is mostly its operations: functions from a struct to a struct.
//!
//! ```
//! use attache_sdk::prelude::*;
//!
//! struct Weather;
//!
//! impl Connector for Weather {
//!     fn describe() -> Manifest {
//!         Manifest::new("weather", "1.0.0", "Weather", "Forecasts by city.").auth(
//!             AuthOption::new("key", "API key")
//!                 .parameter(Parameter::secret("key", "API key"))
//!                 .header("X-Api-Key", "{key}")
//!                 .audience("https://api.weather.example"),
//!         )
//!     }
//!
//!     fn operations() -> Vec<Operation> {
//!         vec![Operation::read("forecast", "Forecast", "The weather in a city.", forecast)]
//!     }
//!
//!     fn check() -> Result<String, Failure> {
//!         let me: serde_json::Value = http::get(base().segment("v1").segment("me")).send()?.ok()?.json()?;
//!         Ok(me["name"].as_str().unwrap_or("unknown").to_owned())
//!     }
//! }
//!
//! #[derive(Deserialize, JsonSchema)]
//! struct City {
//!     /// The city's name.
//!     city: String,
//! }
//!
//! #[derive(Serialize, Deserialize, JsonSchema)]
//! struct Forecast {
//!     summary: String,
//! }
//!
//! fn forecast(input: City) -> Result<Forecast, Failure> {
//!     http::get(base().segment("v1").segment("forecast")).query("city", &input.city).send()?.ok()?.json()
//! }
//!
//! fn base() -> Url {
//!     Url::new(connection::audience())
//! }
//!
//! attache_sdk::export!(Weather);
//! ```
//!
//! The crate's `Cargo.toml` has `crate-type = ["cdylib"]` and depends on `attache-sdk`, `serde` and `schemars`. Then:
//!
//! ```sh
//! attache build weather --out weather.wasm
//! attache connector add weather.wasm
//! attache connect weather
//! attache call weather forecast --input '{"city": "Oslo"}'
//! ```
//!
//! What a template like `{key}` may be, and every word of an auth option, is explained in `wit/connector.wit`.

#[cfg(target_arch = "wasm32")]
mod allocator;
#[doc(hidden)]
pub mod bindings;
pub mod content;
mod date;
mod failure;
pub mod http;
mod manifest;
mod oauth2;
pub mod page;
mod url;
#[cfg(feature = "xml")]
pub mod xml;

pub use bindings::exports::attache::connector::{manifest::Effect, operations::Failure};
pub use manifest::{
    AuthOption, AzureSharedKey, Body, Call, Capture, CaptureFrom, ClientAuth, Grant, Jwt, Kind, Login, Manifest,
    Oauth1, Oauth2Setting, Operation, Parameter, Scheme, Sigv4, Step,
};
pub use oauth2::Oauth2;
pub use url::Url;

/// What most connectors need.
pub mod prelude {
    pub use schemars::JsonSchema;
    pub use serde::{Deserialize, Serialize};

    pub use crate::{
        AuthOption, Connector, Effect, Failure, Manifest, Operation, Parameter, Url, connection, http, log,
    };
}

/// A connector; [`export!`] makes a component of it.
pub trait Connector {
    /// What it is and how its service is authenticated. The host asks once, when the connector is added, in an instance that
    /// reaches nothing.
    fn describe() -> Manifest;

    /// What it can do. The same table says what the operations are and runs them.
    fn operations() -> Vec<Operation>;

    /// Is the connection good, and whose is it? The answer names the account, as people of the service would: `octocat`.
    ///
    /// # Errors
    /// [`Failure::Unauthorized`] where the service refuses the credential.
    fn check() -> Result<String, Failure>;
}

/// The connection in use, as far as a connector may see it.
pub mod connection {
    use crate::bindings::attache::connector::connection;

    /// A parameter or captured value; none where it is unset or secret.
    pub fn parameter(name: &str) -> Option<String> {
        connection::parameter(name)
    }

    /// The first origin of the audience, with its parameters filled in: what to call. Empty where there is none.
    pub fn audience() -> String {
        connection::audience().into_iter().next().unwrap_or_default()
    }

    /// All origins of the audience.
    pub fn audiences() -> Vec<String> {
        connection::audience()
    }

    /// The auth option that was chosen.
    pub fn auth_option() -> String {
        connection::auth_option()
    }

    /// The scopes that were granted, where the scheme has them.
    pub fn scopes() -> Vec<String> {
        connection::scopes()
    }
}

/// Lines in the host's log, under the connector's name.
pub mod log {
    use crate::bindings::attache::connector::log::{Level, write};

    /// For whoever debugs the connector.
    pub fn debug(message: impl AsRef<str>) {
        write(Level::Debug, message.as_ref());
    }

    /// What an operator may want to know.
    pub fn info(message: impl AsRef<str>) {
        write(Level::Info, message.as_ref());
    }

    /// What an operator should look at.
    pub fn warn(message: impl AsRef<str>) {
        write(Level::Warn, message.as_ref());
    }

    /// What went wrong.
    pub fn error(message: impl AsRef<str>) {
        write(Level::Error, message.as_ref());
    }
}

/// Makes a component of a [`Connector`]. Once a crate, at its top.
#[macro_export]
macro_rules! export {
    ($connector:ty) => {
        const _: () = {
            struct Component;

            impl $crate::__private::ManifestGuest for Component {
                fn describe() -> $crate::__private::DeclaredConnector {
                    $crate::__private::describe::<$connector>()
                }
            }

            impl $crate::__private::OperationsGuest for Component {
                fn invoke(operation: String, input: String) -> Result<String, $crate::Failure> {
                    $crate::__private::invoke::<$connector>(&operation, &input)
                }

                fn check() -> Result<String, $crate::Failure> {
                    <$connector as $crate::Connector>::check()
                }
            }

    $crate::__private::export_component!(Component with_types_in $crate::__private::bindings);
        };
    };
}

/// What [`export!`] expands to.
#[doc(hidden)]
pub mod __private {
    pub use crate::{
        bindings::{
            self, export_component,
            exports::attache::connector::{
                manifest::{Connector as DeclaredConnector, Guest as ManifestGuest},
                operations::Guest as OperationsGuest,
            },
        },
        manifest::{describe, invoke},
    };
}
