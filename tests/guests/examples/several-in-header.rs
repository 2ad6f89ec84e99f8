//! Would send all values of a parameter in one header.

use guests::{
    auth::{Kind, ParameterSetting},
    connector, header,
    manifest::{Connector, Effect, Guest as Manifest},
    operations::{Failure, Guest as Operations},
    option, parameter,
};

struct SeveralInHeader;

impl Manifest for SeveralInHeader {
    fn describe() -> Connector {
        let names = parameter("names", Kind::Label, vec![ParameterSetting::Several]);
        let attach = vec![header("X-Names", "{names}")];
        let option = option("key", vec![names], attach, &["https://{names}.example.com"]);
        connector("several-in-header", "1.0.0", vec![option], &[("nothing", Effect::Read)])
    }
}

impl Operations for SeveralInHeader {
    fn invoke(_: String, _: String) -> Result<String, Failure> {
        Ok("true".into())
    }

    fn check() -> Result<String, Failure> {
        Ok("nobody".into())
    }
}

guests::export_guest!(SeveralInHeader with_types_in guests);
