//! Declares a password as text, so that it could read it.

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
        let password = parameter("password", Kind::Text, vec![]);
        let basic = Attachment::Basic(("user".into(), "{password}".into()));
        let option = option("basic", vec![password], vec![basic], &["https://a.example"]);
        connector("public-password", "1.0.0", vec![option], &[("run", Effect::Read)])
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
