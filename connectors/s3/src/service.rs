//! Requests to the service, and its errors.

use attache_sdk::{
    Failure, Url, connection,
    http::{Request, Response},
    xml,
};

/// What every URL begins with.
pub(crate) fn base() -> Url {
    Url::new(connection::parameter("endpoint").unwrap_or_else(connection::audience)).segment("")
}

/// A bucket's URL. The bucket stands in the path, so that the credential goes to one host and not to one for each bucket.
pub(crate) fn bucket_url(bucket: &str) -> Result<Url, Failure> {
    let good = (3..=63).contains(&bucket.len())
        && bucket.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-".contains(&byte))
        && !bucket.contains("..")
        && !bucket.starts_with(['.', '-'])
        && !bucket.ends_with(['.', '-']);
    if !good {
        return Err(Failure::InvalidInput(
            "a bucket's name has 3 to 63 lower-case letters, digits, dots and hyphens, and no two dots together".into(),
        ));
    }
    Ok(Url::new(base().to_string()).segment(bucket))
}

/// An object's URL.
pub(crate) fn object_url(bucket: &str, key: &str) -> Result<Url, Failure> {
    if key.is_empty() || key.len() > 1024 || key.split('/').any(Url::is_dots) {
        return Err(Failure::InvalidInput(
            "an object's key has 1 to 1024 bytes and no segment that is `.` or `..`".into(),
        ));
    }
    Ok(bucket_url(bucket)?.path(key))
}

/// A request as all of them are.
pub(crate) fn request(request: Request) -> Request {
    request.header("Accept", "application/xml, */*")
}

/// Sends a request and demands success; a failure has the service's code, like `NoSuchBucket`.
pub(crate) fn send(it: Request) -> Result<Response, Failure> {
    succeeded(request(it).send()?)
}

/// Demands success.
pub(crate) fn succeeded(answer: Response) -> Result<Response, Failure> {
    answer.ok_or_words(|answer| xml::Error::of(answer).map_or_else(|| answer.text(), |error| error.words()))
}
