//! Where a record is: a path of segments.

use std::fmt;

use crate::error::{Kind, Result};

/// A path like `environment/default/connection/github`. No segment is empty or holds a `/`, so no two paths read the same.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place(String);

impl Place {
    /// Joins segments.
    ///
    /// # Errors
    /// `internal` where a segment is empty or holds a `/` or a control character: names are checked before they come here.
    pub fn new<'a>(segments: impl IntoIterator<Item = &'a str>) -> Result<Self> {
        let mut path = String::new();
        for segment in segments {
            if segment.is_empty() || segment.contains(|c: char| c == '/' || c.is_control()) {
                return Err(Kind::Internal.error("A name cannot stand in a path of the store."));
            }
            if !path.is_empty() {
                path.push('/');
            }
            path.push_str(segment);
        }
        Ok(Self(path))
    }

    /// The path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What every place below it begins with.
    pub(super) fn prefix(&self) -> String {
        format!("{}/", self.0)
    }

    pub(super) fn read(key: &[u8]) -> Option<Self> {
        Self::new(std::str::from_utf8(key).ok()?.split('/')).ok()
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
