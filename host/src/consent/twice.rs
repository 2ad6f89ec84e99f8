//! Whether an answer says something twice, so that nobody can tell which one counts.

use std::{collections::HashSet, fmt};

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use url::form_urlencoded;

/// Whether a form has a name twice.
pub(super) fn in_form(text: &str) -> bool {
    let mut seen = HashSet::new();
    !form_urlencoded::parse(text.as_bytes()).all(|(name, _)| seen.insert(name))
}

/// Whether any object of a JSON text has a name twice (RFC 8259, 4 leaves open which one counts). What is no JSON has none.
pub(super) fn in_json(text: &str) -> bool {
    let mut twice = false;
    let mut json = serde_json::Deserializer::from_str(text);
    // An answer that is no JSON may be of another kind; whoever reads it decides.
    let _ = Once(&mut twice).deserialize(&mut json);
    twice
}

struct Once<'a>(&'a mut bool);

impl<'de> DeserializeSeed<'de> for Once<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Once<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut seen = HashSet::new();
        while let Some(name) = map.next_key::<String>()? {
            *self.0 |= !seen.insert(name);
            map.next_value_seed(Once(self.0))?;
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while list.next_element_seed(Once(self.0))?.is_some() {}
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_there_twice_is_found_however_it_is_written_and_however_deep() {
        for text in [
            r#"{"a": 1, "a": 1}"#,
            r#"{"a": 1, "\u0061": 2}"#,
            r#"{"b": [{"c": {"a": null, "d": -1.5, "a": true}}]}"#,
            // Up to where it is JSON.
            r#"{"a": 1, "a": 2, "#,
        ] {
            assert!(in_json(text), "{text}");
        }
        for text in [r#"{"a": {"a": 1}, "b": [{"a": 1}, {"a": 2}]}"#, r#"{"a": 1, "A": 2}"#, "a=1&a=2", ""] {
            assert!(!in_json(text), "{text}");
        }
        for text in ["a=1&a=1", "a=1&b=2&%61=3", "a&a", "a+b=1&a%20b=2"] {
            assert!(in_form(text), "{text}");
        }
        assert!(!in_form("a=1&b=a&A=1"));
    }
}
