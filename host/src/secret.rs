//! A value that nobody may see: it prints as `[redacted]`, cannot be compared, and is wiped when it is dropped.

use std::fmt;

use zeroize::Zeroizing;

/// Bytes of a credential, a key or anything derived from one. It has no `PartialEq`, no `Serialize` and no `Display`; the
/// one way to the bytes is [`Secret::expose`], so that every place that looks is found by searching for that word.
#[derive(Clone)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// Bytes that one must have to be looked for by itself in what others may see: shorter ones would mask ordinary text.
    pub const SHORTEST_MASKED: usize = 8;

    /// Takes the bytes over.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(Zeroizing::new(bytes.into()))
    }

    /// The bytes themselves.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// How many bytes it has.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether it is empty.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// The same for one secret that may not be there, in a text that is sealed: `#[serde(with = "crate::secret::in_sealed_text")]`.
pub(crate) mod in_sealed_text {
    use base64::{Engine, prelude::BASE64_STANDARD};
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};
    use zeroize::Zeroizing;

    use super::Secret;

    /// Writes it as base64.
    pub(crate) fn serialize<S: Serializer>(secret: &Option<Secret>, to: S) -> Result<S::Ok, S::Error> {
        let encoded = secret.as_ref().map(|secret| Zeroizing::new(BASE64_STANDARD.encode(secret.expose())));
        encoded.as_ref().map(|text| text.as_str()).serialize(to)
    }

    /// Reads what [`serialize`] wrote.
    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Secret>, D::Error> {
        let Some(text) = Option::<String>::deserialize(from)?.map(Zeroizing::new) else { return Ok(None) };
        let bytes = BASE64_STANDARD.decode(text.as_bytes()).map_err(|_| D::Error::custom("a value is not base64"))?;
        Ok(Some(Secret::new(bytes)))
    }
}

/// For a record that is sealed before it is written: `#[serde(with = "crate::secret::in_sealed_record")]` on a map of
/// secrets. Used anywhere else it would write them in clear.
pub mod in_sealed_record {
    use std::collections::BTreeMap;

    use base64::{Engine, prelude::BASE64_STANDARD};
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};
    use zeroize::Zeroizing;

    use super::Secret;

    /// Writes each value as base64.
    pub fn serialize<S: Serializer>(secrets: &BTreeMap<String, Secret>, to: S) -> Result<S::Ok, S::Error> {
        let encoded: BTreeMap<&str, Zeroizing<String>> = secrets
            .iter()
            .map(|(name, secret)| (name.as_str(), Zeroizing::new(BASE64_STANDARD.encode(secret.expose()))))
            .collect();
        encoded.iter().map(|(name, text)| (*name, text.as_str())).collect::<BTreeMap<_, _>>().serialize(to)
    }

    /// Reads what [`serialize`] wrote.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<String, Secret>, D::Error> {
        BTreeMap::<String, String>::deserialize(from)?
            .into_iter()
            .map(|(name, text)| {
                let text = Zeroizing::new(text);
                let bytes =
                    BASE64_STANDARD.decode(text.as_bytes()).map_err(|_| D::Error::custom("a value is not base64"))?;
                Ok((name, Secret::new(bytes)))
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_never_prints_its_bytes() {
        assert_eq!(format!("{:?}", Secret::new("canary")), "[redacted]");
    }
}
