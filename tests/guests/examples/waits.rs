//! Waits for its service, and then computes without end.

use guests::{
    auth::Kind,
    connector,
    manifest::{Connector, Effect, Guest as Manifest},
    operations::{Failure, Guest as Operations},
    option, parameter, send,
};

struct Waits;

impl Manifest for Waits {
    fn describe() -> Connector {
        let option = option("none", vec![parameter("base", Kind::Url, vec![])], vec![], &["{base}"]);
        connector("waits", "1.0.0", vec![option], &[("spin", Effect::Read)])
    }
}

impl Operations for Waits {
    fn invoke(_operation: String, _input: String) -> Result<String, Failure> {
        send::check()?;
        loop {
            std::hint::spin_loop();
        }
    }

    fn check() -> Result<String, Failure> {
        send::check()
    }
}

guests::export_guest!(Waits with_types_in guests);
