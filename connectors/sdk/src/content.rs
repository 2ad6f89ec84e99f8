//! Content of any kind in JSON: text as it is, and everything else in base64.

use base64::{Engine, prelude::BASE64_STANDARD};

use crate::Failure;

/// The bytes of a content that was given as `text` or as `base64`, and the media type that it has unless another is named.
///
/// # Errors
/// [`Failure::InvalidInput`] where it is not exactly one of the two, or not base64.
pub fn read(text: Option<String>, base64: Option<String>) -> Result<(Vec<u8>, &'static str), Failure> {
    match (text, base64) {
        (Some(text), None) => Ok((text.into_bytes(), "text/plain; charset=utf-8")),
        (None, Some(encoded)) => {
            let bytes = BASE64_STANDARD
                .decode(encoded)
                .map_err(|error| Failure::InvalidInput(format!("`base64` is not base64: {error}")))?;
            Ok((bytes, "application/octet-stream"))
        }
        _ => Err(Failure::InvalidInput("give the content as `text` or as `base64`, one of the two".into())),
    }
}

/// A content as `text` where it is UTF-8, else as `base64`: the one that is there.
pub fn write(bytes: Vec<u8>) -> (Option<String>, Option<String>) {
    match String::from_utf8(bytes) {
        Ok(text) => (Some(text), None),
        Err(error) => (None, Some(BASE64_STANDARD.encode(error.as_bytes()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_stays_text_and_the_rest_is_base64() {
        assert_eq!(write(b"gr\xc3\xbcn".to_vec()), (Some("grün".into()), None));
        assert_eq!(write(vec![0, 255, 16]), (None, Some("AP8Q".into())));
        assert_eq!(read(Some("grün".into()), None).unwrap().0, "grün".as_bytes());
        assert_eq!(read(None, Some("AP8Q".into())).unwrap(), (vec![0, 255, 16], "application/octet-stream"));
        for (text, base64) in [(None, None), (Some("a".into()), Some("YQ==".into())), (None, Some("a".into()))] {
            assert!(matches!(read(text, base64), Err(Failure::InvalidInput(_))));
        }
    }
}
