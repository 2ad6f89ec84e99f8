//! Amazon S3, and services that speak its language, with an access key. The host signs (Signature Version 4); the connector
//! never has the secret access key.

mod answer;
mod service;

use attache_sdk::{Sigv4, content, prelude::*, xml};

use service::{base, bucket_url, object_url, send};

/// What one answer lists at the most; the service allows no more.
const PAGE: usize = 1_000;

/// The region that is not named when a bucket is made there.
const CLASSIC_REGION: &str = "us-east-1";

struct S3;

impl Connector for S3 {
    fn describe() -> Manifest {
        Manifest::new(
            "s3",
            env!("CARGO_PKG_VERSION"),
            "Amazon S3",
            "Buckets and objects, at Amazon or a compatible service.",
        )
        .auth(
            AuthOption::new("access-key", "Access key")
                .parameter(Parameter::text("access-key-id", "Access key ID").pattern("[A-Za-z0-9_.-]{3,128}"))
                .parameter(
                    Parameter::secret("secret-access-key", "Secret access key")
                        .description("Shown once, when the access key is made."),
                )
                .parameter(
                    Parameter::label("region", "Region")
                        .description("Where the buckets are, like eu-central-1.")
                        .default(CLASSIC_REGION),
                )
                .parameter(
                    Parameter::url("endpoint", "Endpoint")
                        .description("Only for services other than Amazon's own.")
                        .optional(),
                )
                .aws_sigv4(Sigv4 {
                    access_key_id: "{access-key-id}".into(),
                    secret_access_key: "{secret-access-key}".into(),
                    session_token: None,
                    service: "s3".into(),
                    region: "{region}".into(),
                })
                .audience("{endpoint} || https://s3.{region}.amazonaws.com"),
        )
    }

    fn operations() -> Vec<Operation> {
        vec![
            Operation::read("list-buckets", "List buckets", "All buckets of the account.", list_buckets),
            Operation::write("create-bucket", "Create a bucket", "Makes an empty bucket in the region.", create_bucket),
            Operation::read(
                "list-objects",
                "List objects",
                "The objects of a bucket; all of them unless `limit` is given.",
                list_objects,
            ),
            Operation::write(
                "put-object",
                "Put an object",
                "Writes an object, and replaces one of that key.",
                put_object,
            ),
            Operation::read(
                "get-object",
                "Get an object",
                "An object's content, as text where it is UTF-8, else in base64.",
                get_object,
            ),
            Operation::destructive(
                "delete-object",
                "Delete an object",
                "Deletes an object, if it is there.",
                delete_object,
            ),
        ]
    }

    fn check() -> Result<String, Failure> {
        let key_id = || connection::parameter("access-key-id").unwrap_or_default();
        let answer = service::request(http::get(base())).send()?;
        match xml::Error::of(&answer).as_ref().map(|error| error.code.as_str()) {
            // A key that may not list buckets is a good key for something else.
            Some("AccessDenied") => Ok(key_id()),
            _ => {
                let owner = xml::read::<answer::BucketPage>(&service::succeeded(answer)?)?.owner;
                Ok(owner.and_then(|owner| owner.name()).unwrap_or_else(key_id))
            }
        }
    }
}

/// Nothing is asked.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Nothing {}

/// A bucket.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Bucket {
    /// Its name: 3 to 63 lower-case letters, digits, dots and hyphens.
    bucket: String,
}

/// Which objects.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Listing {
    /// The bucket's name.
    bucket: String,
    /// Only keys that begin with this.
    prefix: Option<String>,
    /// How many at the most; all of them unless given.
    limit: Option<u32>,
}

/// An object.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Object {
    /// The bucket's name.
    bucket: String,
    /// The object's key; `/` stands for folders.
    key: String,
}

/// An object and its content: `text` or `base64`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Content {
    /// The bucket's name.
    bucket: String,
    /// The object's key; `/` stands for folders.
    key: String,
    /// The content, as text.
    text: Option<String>,
    /// The content, in base64.
    base64: Option<String>,
    /// The media type; text is `text/plain; charset=utf-8` and everything else `application/octet-stream` unless given.
    #[serde(rename = "content-type")]
    content_type: Option<String>,
}

/// The buckets.
#[derive(Serialize, JsonSchema)]
struct Buckets {
    buckets: Vec<BucketInfo>,
}

/// A bucket.
#[derive(Serialize, JsonSchema)]
struct BucketInfo {
    name: String,
    created: String,
}

/// The objects.
#[derive(Serialize, JsonSchema)]
struct Objects {
    objects: Vec<ObjectInfo>,
    /// Whether there are more than the limit.
    more: bool,
}

/// An object.
#[derive(Serialize, JsonSchema)]
struct ObjectInfo {
    key: String,
    bytes: u64,
    #[serde(rename = "last-modified")]
    last_modified: String,
    etag: String,
}

/// What was written.
#[derive(Serialize, JsonSchema)]
struct Written {
    etag: String,
}

/// An object with its content.
#[derive(Serialize, JsonSchema)]
struct Got {
    bytes: usize,
    #[serde(rename = "content-type")]
    content_type: String,
    etag: String,
    /// Where it is UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    /// Where it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    base64: Option<String>,
}

/// It is done.
#[derive(Serialize, JsonSchema)]
struct Done {
    done: bool,
}

fn list_buckets(_: Nothing) -> Result<Buckets, Failure> {
    let page: answer::BucketPage = xml::read(&send(http::get(base()))?)?;
    let buckets = page.buckets.all.into_iter().map(|it| BucketInfo { name: it.name, created: it.created });
    Ok(Buckets { buckets: buckets.collect() })
}

fn create_bucket(input: Bucket) -> Result<Done, Failure> {
    let request = http::put(bucket_url(&input.bucket)?);
    let region = connection::parameter("region").unwrap_or_default();
    send(match region.as_str() {
        CLASSIC_REGION => request,
        // A label of a host name, so there is nothing in it to be escaped.
        region => request.header("Content-Type", "application/xml").bytes(format!(
            "<CreateBucketConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\
             <LocationConstraint>{region}</LocationConstraint></CreateBucketConfiguration>"
        )),
    })?;
    Ok(Done { done: true })
}

fn list_objects(input: Listing) -> Result<Objects, Failure> {
    let limit = input.limit.map_or(usize::MAX, |limit| limit as usize);
    let mut objects: Vec<ObjectInfo> = Vec::new();
    let mut token: Option<String> = None;
    loop {
        let mut request = http::get(bucket_url(&input.bucket)?)
            .query("list-type", 2)
            .query("encoding-type", "url")
            .query("max-keys", (limit - objects.len()).clamp(1, PAGE));
        if let Some(prefix) = &input.prefix {
            request = request.query("prefix", prefix);
        }
        if let Some(token) = &token {
            request = request.query("continuation-token", token);
        }
        let page: answer::ObjectPage = xml::read(&send(request)?)?;
        for object in page.objects {
            objects.push(ObjectInfo {
                key: page.encoding.decode(&object.key)?,
                bytes: object.size,
                last_modified: object.last_modified,
                etag: object.etag,
            });
        }
        token = page.next.filter(|_| page.truncated);
        if token.is_none() || objects.len() >= limit {
            let more = token.is_some() || objects.len() > limit;
            objects.truncate(limit);
            return Ok(Objects { objects, more });
        }
    }
}

fn put_object(input: Content) -> Result<Written, Failure> {
    let (body, default) = content::read(input.text, input.base64)?;
    let answer = send(
        http::put(object_url(&input.bucket, &input.key)?)
            .header("Content-Type", input.content_type.as_deref().unwrap_or(default))
            .bytes(body),
    )?;
    Ok(Written { etag: answer.header("etag").unwrap_or_default().to_owned() })
}

fn get_object(input: Object) -> Result<Got, Failure> {
    let answer = send(http::get(object_url(&input.bucket, &input.key)?))?;
    let header = |name: &str| answer.header(name).unwrap_or_default().to_owned();
    let (content_type, etag, bytes) = (header("content-type"), header("etag"), answer.body.len());
    let (text, base64) = content::write(answer.body);
    Ok(Got { bytes, content_type, etag, text, base64 })
}

fn delete_object(input: Object) -> Result<Done, Failure> {
    send(http::delete(object_url(&input.bucket, &input.key)?))?;
    Ok(Done { done: true })
}

attache_sdk::export!(S3);
