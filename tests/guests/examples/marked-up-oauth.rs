//! Says of itself, its scopes and whose the account is what a browser would take for markup, and has people sign in.

use guests::{
    MARKUP,
    auth::{Kind, Oauth2Setting as Its, Scheme, Scope},
    connector, header,
    manifest::{Connector, Effect, Guest as Manifest},
    operations::{Failure, Guest as Operations},
    option, parameter,
};

struct Marked;

impl Manifest for Marked {
    fn describe() -> Connector {
        let parameters = vec![parameter("issuer", Kind::Url, vec![]), parameter("note", Kind::Text, vec![])];
        let attach = vec![header("Authorization", "Bearer {access_token}")];
        let mut way = option("oauth2", parameters, attach, &["{issuer}"]);
        let scope = Scope { name: "items".into(), description: Some(MARKUP.into()), required: true };
        way.scheme = Scheme::Oauth2(vec![Its::Issuer("{issuer}".into()), Its::Scopes(vec![scope])]);
        let mut it = connector("marked-up-oauth", "1.0.0", vec![way], &[("get", Effect::Read)]);
        it.title = MARKUP.into();
        it
    }
}

impl Operations for Marked {
    fn invoke(_: String, _: String) -> Result<String, Failure> {
        Ok("true".into())
    }

    fn check() -> Result<String, Failure> {
        Ok(MARKUP.into())
    }
}

guests::export_guest!(Marked with_types_in guests);
