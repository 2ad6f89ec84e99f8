//! Requests to the service, and its errors.

use attache_sdk::{
    Failure, Url, connection,
    http::{Request, Response},
    xml,
};

/// The version of the service that is spoken: with it, names that XML cannot hold come encoded.
const VERSION: &str = "2021-12-02";

/// The account's name.
pub(crate) fn account() -> String {
    connection::parameter("account").unwrap_or_default()
}

/// What every URL begins with. An emulator's endpoint has the account in its path.
pub(crate) fn base() -> Url {
    Url::new(connection::parameter("endpoint").unwrap_or_else(connection::audience)).segment("")
}

/// A container's URL.
pub(crate) fn container_url(container: &str) -> Result<Url, Failure> {
    let good = (3..=63).contains(&container.len())
        && container.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        || matches!(container, "$root" | "$web" | "$logs");
    if !good {
        return Err(Failure::InvalidInput(
            "a container's name has 3 to 63 lower-case letters, digits and hyphens".into(),
        ));
    }
    Ok(Url::new(base().to_string()).segment(container))
}

/// A blob's URL.
pub(crate) fn blob_url(container: &str, name: &str) -> Result<Url, Failure> {
    if name.is_empty() || name.len() > 1024 || name.split('/').any(Url::is_dots) {
        return Err(Failure::InvalidInput(
            "a blob's name has 1 to 1024 characters and no segment that is `.` or `..`".into(),
        ));
    }
    Ok(container_url(container)?.path(name))
}

/// Sends a request and demands success; a failure has the service's code, like `ContainerNotFound`.
pub(crate) fn send(request: Request) -> Result<Response, Failure> {
    request.header("x-ms-version", VERSION).send()?.ok_or_words(|answer| {
        xml::Error::of(answer)
            .map(|error| error.words())
            .or_else(|| answer.header("x-ms-error-code").map(str::to_owned))
            .unwrap_or_else(|| answer.text())
    })
}
