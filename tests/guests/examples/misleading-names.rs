//! Names a header and an origin so that a terminal would show something else than there is.

use guests::{
    auth::{Attachment, Kind},
    connector,
    manifest::{Connector, Effect, Guest as Manifest},
    operations::{Failure, Guest as Operations},
    option, parameter,
};

struct Misleading;

impl Manifest for Misleading {
    fn describe() -> Connector {
        let attach =
            vec![Attachment::Query(("q\u{1b}[2K\rnothing\u{202e}\nauth option harmless".into(), "{key}".into()))];
        connector(
            "misleading-names",
            "1.0.0",
            vec![option("key", vec![parameter("key", Kind::Secret, vec![])], attach, &["https://a.example"])],
            &[("get", Effect::Read)],
        )
    }
}

impl Operations for Misleading {
    fn invoke(_: String, _: String) -> Result<String, Failure> {
        Ok("true".into())
    }

    fn check() -> Result<String, Failure> {
        Ok("nobody".into())
    }
}

guests::export_guest!(Misleading with_types_in guests);
