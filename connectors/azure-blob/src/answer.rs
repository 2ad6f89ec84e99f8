//! What the service answers.

use attache_sdk::Failure;
use percent_encoding::percent_decode_str;
use serde::Deserialize;

#[derive(Deserialize)]
pub(crate) struct ContainerPage {
    #[serde(rename = "Containers")]
    pub(crate) containers: Containers,
    #[serde(rename = "NextMarker", default)]
    pub(crate) next_marker: String,
}

#[derive(Deserialize)]
pub(crate) struct Containers {
    #[serde(rename = "Container", default)]
    pub(crate) all: Vec<Container>,
}

#[derive(Deserialize)]
pub(crate) struct Container {
    #[serde(rename = "Name")]
    pub(crate) name: String,
    #[serde(rename = "Properties")]
    pub(crate) properties: ContainerProperties,
}

#[derive(Deserialize)]
pub(crate) struct ContainerProperties {
    #[serde(rename = "Last-Modified", default)]
    pub(crate) last_modified: String,
}

#[derive(Deserialize)]
pub(crate) struct BlobPage {
    #[serde(rename = "Blobs")]
    pub(crate) blobs: Blobs,
    #[serde(rename = "NextMarker", default)]
    pub(crate) next_marker: String,
}

#[derive(Deserialize)]
pub(crate) struct Blobs {
    #[serde(rename = "Blob", default)]
    pub(crate) all: Vec<Blob>,
}

#[derive(Deserialize)]
pub(crate) struct Blob {
    #[serde(rename = "Name")]
    pub(crate) name: Name,
    #[serde(rename = "Properties")]
    pub(crate) properties: BlobProperties,
}

/// A name, percent-encoded where XML could not hold it.
#[derive(Deserialize)]
pub(crate) struct Name {
    #[serde(rename = "@Encoded", default)]
    encoded: bool,
    #[serde(rename = "$text", default)]
    text: String,
}

impl Name {
    pub(crate) fn decoded(self) -> Result<String, Failure> {
        if !self.encoded {
            return Ok(self.text);
        }
        let decoded = percent_decode_str(&self.text).decode_utf8();
        decoded.map(|name| name.into_owned()).map_err(|_| Failure::Other("a blob's name is not text".into()))
    }
}

#[derive(Deserialize)]
pub(crate) struct BlobProperties {
    #[serde(rename = "Content-Length", default)]
    pub(crate) content_length: u64,
    #[serde(rename = "Content-Type", default)]
    pub(crate) content_type: String,
    #[serde(rename = "Last-Modified", default)]
    pub(crate) last_modified: String,
    #[serde(rename = "Etag", default)]
    pub(crate) etag: String,
}
