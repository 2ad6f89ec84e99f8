//! Attaches a credential and names no audience.

#[allow(unused_imports)]
use guests::{
    auth::{Attachment, Kind, ParameterSetting},
    connector, header, http,
    manifest::{Connector, Effect, Guest as Manifest},
    operations::{Failure, Guest as Operations},
    option, parameter,
};

struct It;

impl Manifest for It {
    fn describe() -> Connector {
        let key = parameter("key", Kind::Secret, vec![]);
        let option = option("key", vec![key], vec![header("X-Key", "{key}")], &[]);
        connector("no-audience", "1.0.0", vec![option], &[("run", Effect::Read)])
    }
}

impl Operations for It {
    fn invoke(_operation: String, _input: String) -> Result<String, Failure> {
        Ok("true".into())
    }

    fn check() -> Result<String, Failure> {
        Ok("tester".into())
    }
}

guests::export_guest!(It with_types_in guests);
