//! Azure Blob Storage with an account name and an access key. The host signs (SharedKey); the connector knows the account
//! and never the key.

mod answer;
mod service;

use attache_sdk::{content, prelude::*, xml};

use service::{blob_url, container_url, send};

/// What one answer lists at the most; the service allows no more.
const PAGE: u32 = 5_000;

struct AzureBlob;

impl Connector for AzureBlob {
    fn describe() -> Manifest {
        Manifest::new(
            "azure-blob",
            env!("CARGO_PKG_VERSION"),
            "Azure Blob Storage",
            "Containers and blobs of a storage account.",
        )
        .auth(
            AuthOption::new("shared-key", "Account name and access key")
                .parameter(
                    Parameter::label("account", "Storage account")
                        .description("Its name, like `letters` in letters.blob.core.windows.net.")
                        .pattern("[a-z0-9]{3,24}"),
                )
                .parameter(
                    Parameter::secret("key", "Access key")
                        .description("In the portal under Security + networking, Access keys."),
                )
                .parameter(
                    Parameter::url("endpoint", "Blob endpoint")
                        .description("Only for sovereign clouds and emulators.")
                        .optional(),
                )
                .azure_shared_key("{account}", "{key}")
                .audience("{endpoint} || https://{account}.blob.core.windows.net"),
        )
    }

    fn operations() -> Vec<Operation> {
        vec![
            Operation::read("list-containers", "List containers", "All containers of the account.", list_containers),
            Operation::write(
                "create-container",
                "Create a container",
                "Makes an empty, private container.",
                create_container,
            ),
            Operation::destructive(
                "delete-container",
                "Delete a container",
                "Deletes a container and every blob in it.",
                delete_container,
            ),
            Operation::read(
                "list-blobs",
                "List blobs",
                "The blobs of a container; all of them unless `limit` is given.",
                list_blobs,
            ),
            Operation::write("put-blob", "Put a blob", "Writes a block blob, and replaces one of that name.", put_blob),
            Operation::read(
                "get-blob",
                "Get a blob",
                "A blob's content, as text where it is UTF-8, else in base64.",
                get_blob,
            ),
            Operation::destructive("delete-blob", "Delete a blob", "Deletes a blob.", delete_blob),
        ]
    }

    fn check() -> Result<String, Failure> {
        send(http::get(service::base()).query("comp", "list").query("maxresults", 1))?;
        Ok(service::account())
    }
}

/// Nothing is asked.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Nothing {}

/// A container.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Container {
    /// Its name: 3 to 63 lower-case letters, digits and hyphens.
    container: String,
}

/// Which blobs.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Listing {
    /// The container's name.
    container: String,
    /// Only names that begin with this.
    prefix: Option<String>,
    /// How many at the most; all of them unless given.
    limit: Option<u32>,
}

/// A blob.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Blob {
    /// The container's name.
    container: String,
    /// The blob's name; `/` stands for folders.
    name: String,
}

/// A blob and its content: `text` or `base64`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Content {
    /// The container's name.
    container: String,
    /// The blob's name; `/` stands for folders.
    name: String,
    /// The content, as text.
    text: Option<String>,
    /// The content, in base64.
    base64: Option<String>,
    /// The media type; text is `text/plain; charset=utf-8` and everything else `application/octet-stream` unless given.
    #[serde(rename = "content-type")]
    content_type: Option<String>,
}

/// The containers.
#[derive(Serialize, JsonSchema)]
struct Containers {
    containers: Vec<ContainerInfo>,
}

/// A container.
#[derive(Serialize, JsonSchema)]
struct ContainerInfo {
    name: String,
    #[serde(rename = "last-modified")]
    last_modified: String,
}

/// The blobs.
#[derive(Serialize, JsonSchema)]
struct Blobs {
    blobs: Vec<BlobInfo>,
    /// Whether there are more than the limit.
    more: bool,
}

/// A blob.
#[derive(Serialize, JsonSchema)]
struct BlobInfo {
    name: String,
    bytes: u64,
    #[serde(rename = "content-type")]
    content_type: String,
    #[serde(rename = "last-modified")]
    last_modified: String,
    etag: String,
}

/// What was written, or is there.
#[derive(Serialize, JsonSchema)]
struct Written {
    etag: String,
}

/// A blob with its content.
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

fn list_containers(_: Nothing) -> Result<Containers, Failure> {
    let mut containers = Vec::new();
    let mut marker = String::new();
    loop {
        let answer =
            send(http::get(service::base()).query("comp", "list").query("maxresults", PAGE).query("marker", &marker))?;
        let page: answer::ContainerPage = xml::read(&answer)?;
        containers.extend(
            page.containers
                .all
                .into_iter()
                .map(|it| ContainerInfo { name: it.name, last_modified: it.properties.last_modified }),
        );
        marker = page.next_marker;
        if marker.is_empty() {
            return Ok(Containers { containers });
        }
    }
}

fn create_container(input: Container) -> Result<Done, Failure> {
    send(http::put(container_url(&input.container)?).query("restype", "container"))?;
    Ok(Done { done: true })
}

fn delete_container(input: Container) -> Result<Done, Failure> {
    send(http::delete(container_url(&input.container)?).query("restype", "container"))?;
    Ok(Done { done: true })
}

fn list_blobs(input: Listing) -> Result<Blobs, Failure> {
    let limit = input.limit.map_or(usize::MAX, |limit| limit as usize);
    let mut blobs: Vec<BlobInfo> = Vec::new();
    let mut marker = String::new();
    loop {
        let page_size = (limit - blobs.len()).min(PAGE as usize).max(1);
        let mut request = http::get(container_url(&input.container)?)
            .query("restype", "container")
            .query("comp", "list")
            .query("maxresults", page_size);
        if let Some(prefix) = &input.prefix {
            request = request.query("prefix", prefix);
        }
        if !marker.is_empty() {
            request = request.query("marker", &marker);
        }
        let page: answer::BlobPage = xml::read(&send(request)?)?;
        for blob in page.blobs.all {
            blobs.push(BlobInfo {
                name: blob.name.decoded()?,
                bytes: blob.properties.content_length,
                content_type: blob.properties.content_type,
                last_modified: blob.properties.last_modified,
                etag: blob.properties.etag,
            });
        }
        marker = page.next_marker;
        if marker.is_empty() || blobs.len() >= limit {
            let more = !marker.is_empty() || blobs.len() > limit;
            blobs.truncate(limit);
            return Ok(Blobs { blobs, more });
        }
    }
}

fn put_blob(input: Content) -> Result<Written, Failure> {
    let (body, default) = content::read(input.text, input.base64)?;
    let answer = send(
        http::put(blob_url(&input.container, &input.name)?)
            .header("x-ms-blob-type", "BlockBlob")
            .header("Content-Type", input.content_type.as_deref().unwrap_or(default))
            .bytes(body),
    )?;
    Ok(Written { etag: answer.header("etag").unwrap_or_default().to_owned() })
}

fn get_blob(input: Blob) -> Result<Got, Failure> {
    let answer = send(http::get(blob_url(&input.container, &input.name)?))?;
    let header = |name: &str| answer.header(name).unwrap_or_default().to_owned();
    let (content_type, etag, bytes) = (header("content-type"), header("etag"), answer.body.len());
    let (text, base64) = content::write(answer.body);
    Ok(Got { bytes, content_type, etag, text, base64 })
}

fn delete_blob(input: Blob) -> Result<Done, Failure> {
    send(http::delete(blob_url(&input.container, &input.name)?))?;
    Ok(Done { done: true })
}

attache_sdk::export!(AzureBlob);
