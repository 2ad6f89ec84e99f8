//! Values for templates of tests.

use std::collections::BTreeMap;

use super::{Scope, Value};

/// Values by name.
pub(in crate::manifest) struct Given(BTreeMap<String, Value>);

impl Scope for Given {
    fn value(&self, name: &str) -> Option<Value> {
        self.0.get(name).cloned()
    }
}

/// Names that begin with `key` are secret.
pub(in crate::manifest) fn given(values: &[(&str, &[u8])]) -> Given {
    let value =
        |name: &str, value: &[u8]| if name.starts_with("key") { Value::secret(value) } else { Value::public(value) };
    Given(values.iter().map(|(name, bytes)| ((*name).to_owned(), value(name, bytes))).collect())
}
