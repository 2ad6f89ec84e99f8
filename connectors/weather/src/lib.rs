//! A connector with an API key, as small as one is: the example of the documentation and of `attache demo`.

use attache_sdk::prelude::*;

struct Weather;

impl Connector for Weather {
    fn describe() -> Manifest {
        Manifest::new("weather", env!("CARGO_PKG_VERSION"), "Weather", "Forecasts by city.").auth(
            AuthOption::new("api-key", "API key")
                .parameter(Parameter::secret("key", "API key").description("From your account's settings."))
                .parameter(Parameter::url("base-url", "Where the service is").default("https://api.weather.example"))
                .header("X-Api-Key", "{key}")
                .audience("{base-url}"),
        )
    }

    fn operations() -> Vec<Operation> {
        vec![Operation::read("forecast", "Forecast", "The weather in a city.", forecast)]
    }

    fn check() -> Result<String, Failure> {
        let me: Account = http::get(service().path("v1/me")).send()?.ok()?.json()?;
        Ok(me.name)
    }
}

#[derive(Deserialize)]
struct Account {
    name: String,
}

/// Where to look.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct City {
    /// The city's name.
    city: String,
}

/// What the weather is like.
#[derive(Serialize, Deserialize, JsonSchema)]
struct Forecast {
    /// The city's name.
    city: String,
    /// In words.
    summary: String,
    /// The temperature.
    celsius: f64,
    /// What the service has to add.
    note: Option<String>,
}

fn forecast(input: City) -> Result<Forecast, Failure> {
    http::get(service().path("v1/forecast")).query("city", input.city).send()?.ok()?.json()
}

fn service() -> Url {
    Url::new(connection::parameter("base-url").unwrap_or_default())
}

attache_sdk::export!(Weather);
