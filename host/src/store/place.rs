//! Where a record is.

use std::{fmt, str::FromStr};

use crate::error::{Error, Kind, Result};

/// The longest segment, in bytes: far above any name that a person gives, far below what a key of the store may have.
const MAX_SEGMENT: usize = 255;

/// The longest place, in bytes.
pub(super) const MAX_LENGTH: usize = 1024;

/// A path of segments, such as `environment/default/connection/github`. A segment is never empty and has neither `/` nor
/// control characters, so two different lists of segments are never the same place.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place(String);

impl Place {
    /// The place with these segments.
    ///
    /// # Errors
    /// [`Kind::InvalidInput`] if there is no segment, or one of them is not allowed.
    pub fn new<S: AsRef<str>>(segments: impl IntoIterator<Item = S>) -> Result<Self> {
        let mut path = String::new();
        for segment in segments {
            let segment = segment.as_ref();
            check(segment)?;
            if !path.is_empty() {
                path.push('/');
            }
            path.push_str(segment);
        }
        if path.is_empty() { Err(check("").unwrap_err()) } else { Self::of_length(path) }
    }

    fn of_length(path: String) -> Result<Self> {
        if path.len() > MAX_LENGTH {
            return Err(Kind::InvalidInput.error("The names are longer together than 1024 bytes."));
        }
        Ok(Self(path))
    }

    /// The place below this one.
    ///
    /// # Errors
    /// [`Kind::InvalidInput`] if the segment is not allowed.
    pub fn join(&self, segment: &str) -> Result<Self> {
        check(segment)?;
        Self::of_length(format!("{}/{segment}", self.0))
    }

    /// The segments, from the root.
    pub fn segments(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.0.split('/')
    }

    /// The last segment, which is the record's own name.
    pub fn name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or(&self.0)
    }

    /// The segments with `/` between them.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn check(segment: &str) -> Result<()> {
    let reason = if segment.is_empty() {
        "is empty"
    } else if segment.len() > MAX_SEGMENT {
        "is longer than 255 bytes"
    } else if segment.contains('/') {
        "contains `/`"
    } else if segment.chars().any(char::is_control) {
        "contains a control character"
    } else {
        return Ok(());
    };
    let shown = crate::text::foreign(segment, 60);
    Err(Kind::InvalidInput.error(format!("The name `{shown}` {reason}, so nothing can be kept under it.")))
}

impl FromStr for Place {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::new(text.split('/'))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_its_segments() {
        let place = Place::new(["environment", "default", "connection", "git hub"]).unwrap();
        assert_eq!(place.to_string(), "environment/default/connection/git hub");
        assert_eq!(place.segments().count(), 4);
        assert_eq!(place.name(), "git hub");
        assert_eq!(place, "environment/default/connection/git hub".parse().unwrap());
        assert_eq!(place, Place::new(["environment", "default", "connection"]).unwrap().join("git hub").unwrap());
    }

    #[test]
    fn segments_that_would_make_two_places_one_are_refused() {
        for segment in ["", "a/b", "/", "a\0b", "a\nb", &"x".repeat(256)] {
            assert_eq!(Place::new(["a", segment]).unwrap_err().kind(), Kind::InvalidInput, "{segment:?}");
            assert_eq!(Place::new(["a"]).unwrap().join(segment).unwrap_err().kind(), Kind::InvalidInput);
        }
        assert!(Place::new::<&str>([]).is_err());
        assert!(Place::new(vec!["x".repeat(250); 4]).is_ok());
        assert!(Place::new(vec!["x".repeat(250); 5]).is_err());
        for text in ["", "/", "a/", "/a", "a//b"] {
            assert!(text.parse::<Place>().is_err(), "{text:?}");
        }
    }
}
