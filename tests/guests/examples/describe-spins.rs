//! Never finishes describing itself.

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
        loop {
            std::hint::spin_loop();
        }
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
