//! The connector `oauth` in a version that asks for tokens, and has them ended, where the API is.

use guests::{
    auth::{Kind, Oauth2Setting as Its, Scheme},
    connector,
    manifest::{Connector, Effect, Guest as Manifest},
    operations::{Failure, Guest as Operations},
    option, parameter, send,
};

struct Moved;

impl Manifest for Moved {
    fn describe() -> Connector {
        let parameters = vec![parameter("base", Kind::Url, vec![]), parameter("issuer", Kind::Url, vec![])];
        let mut plain = option("plain", parameters, vec![], &["{base}"]);
        plain.scheme = Scheme::Oauth2(vec![
            Its::Issuer("{issuer}".into()),
            Its::TokenUrl("{base}/token".into()),
            Its::RevocationUrl("{base}/revoke".into()),
        ]);
        let mut it = connector("oauth", "2.0.0", vec![plain], &[("connection", Effect::Read)]);
        it.operations.push(send::operation());
        it
    }
}

impl Operations for Moved {
    fn invoke(_operation: String, input: String) -> Result<String, Failure> {
        Ok(send::send(&serde_json::from_str(&input).unwrap()).to_string())
    }

    fn check() -> Result<String, Failure> {
        send::check()
    }
}

guests::export_guest!(Moved with_types_in guests);
