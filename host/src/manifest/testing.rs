//! What unit tests declare, where all but one auth option is beside the point.

use super::{ValueKind, declared};

/// A connector with one operation and this option.
pub(super) fn connector(option: declared::AuthOption) -> declared::Connector {
    declared::Connector {
        name: "test".into(),
        version: "1.0.0".into(),
        title: "Test".into(),
        description: String::new(),
        auth: vec![option],
        open_hosts: Vec::new(),
        operations: vec![declared::Operation {
            id: "get".into(),
            title: "Get".into(),
            description: String::new(),
            effect: declared::Effect::Read,
            input: "true".into(),
            output: "true".into(),
            scopes: Vec::new(),
        }],
    }
}

/// A parameter whose title is its name.
pub(super) fn parameter(name: &str, kind: ValueKind, settings: &[declared::ParameterSetting]) -> declared::Parameter {
    declared::Parameter { name: name.into(), title: name.into(), kind, settings: settings.to_vec() }
}
