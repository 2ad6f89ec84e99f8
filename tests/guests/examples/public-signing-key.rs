//! Signs with a key that it declares as text, so that it could read it.

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
        let key = parameter("key", Kind::Text, vec![]);
        let signature = header("X-Signature", "{hex(sign(hmac-sha256, key, request.path))}");
        let option = option("signed", vec![key], vec![signature], &["https://a.example"]);
        connector("public-signing-key", "1.0.0", vec![option], &[("run", Effect::Read)])
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
