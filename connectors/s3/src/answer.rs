//! What the service answers.

use attache_sdk::Failure;
use percent_encoding::percent_decode_str;
use serde::Deserialize;

#[derive(Deserialize)]
pub(crate) struct BucketPage {
    #[serde(rename = "Owner")]
    pub(crate) owner: Option<Owner>,
    #[serde(rename = "Buckets", default)]
    pub(crate) buckets: Buckets,
}

#[derive(Deserialize)]
pub(crate) struct Owner {
    #[serde(rename = "ID", default)]
    id: String,
    #[serde(rename = "DisplayName", default)]
    display_name: String,
}

impl Owner {
    /// What people know it by, where there is something.
    pub(crate) fn name(self) -> Option<String> {
        [self.display_name, self.id].into_iter().find(|name| !name.is_empty())
    }
}

#[derive(Deserialize, Default)]
pub(crate) struct Buckets {
    #[serde(rename = "Bucket", default)]
    pub(crate) all: Vec<Bucket>,
}

#[derive(Deserialize)]
pub(crate) struct Bucket {
    #[serde(rename = "Name")]
    pub(crate) name: String,
    #[serde(rename = "CreationDate", default)]
    pub(crate) created: String,
}

#[derive(Deserialize)]
pub(crate) struct ObjectPage {
    #[serde(rename = "EncodingType", default)]
    pub(crate) encoding: Encoding,
    #[serde(rename = "IsTruncated", default)]
    pub(crate) truncated: bool,
    #[serde(rename = "NextContinuationToken")]
    pub(crate) next: Option<String>,
    #[serde(rename = "Contents", default)]
    pub(crate) objects: Vec<Object>,
}

#[derive(Deserialize)]
pub(crate) struct Object {
    #[serde(rename = "Key")]
    pub(crate) key: String,
    #[serde(rename = "Size", default)]
    pub(crate) size: u64,
    #[serde(rename = "LastModified", default)]
    pub(crate) last_modified: String,
    #[serde(rename = "ETag", default)]
    pub(crate) etag: String,
}

/// How keys are written: as was asked, or as a service does it that does not know how to.
#[derive(Deserialize, Default, PartialEq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Encoding {
    Url,
    #[default]
    #[serde(other)]
    AsIs,
}

impl Encoding {
    pub(crate) fn decode(&self, key: &str) -> Result<String, Failure> {
        if *self == Encoding::AsIs {
            return Ok(key.to_owned());
        }
        // As in a form: `+` is a space.
        let spaced = key.replace('+', " ");
        let decoded = percent_decode_str(&spaced).decode_utf8();
        decoded.map(|key| key.into_owned()).map_err(|_| Failure::Other("an object's key is not text".into()))
    }
}
