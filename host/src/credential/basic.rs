//! HTTP Basic (RFC 7617), in UTF-8.

use base64::{Engine, prelude::BASE64_STANDARD};
use http::header::AUTHORIZATION;
use zeroize::Zeroizing;

use super::{Attached, Filler, Landing, Template, header};
use crate::{
    error::{Kind, Result},
    secret::Secret,
    transport::Outgoing,
};

pub(super) fn attach(
    user: &Template,
    password: &Template,
    filler: &Filler<'_>,
    request: &mut Outgoing,
    attached: &mut Attached,
) -> Result<()> {
    let user = filler.require(user, Landing::Plain, request)?;
    let password = filler.require(password, Landing::Plain, request)?;
    // The first colon ends the user name (RFC 7617 section 2), so one in it would shift the border.
    if user.bytes().contains(&b':') {
        return Err(Kind::ReconnectNeeded
            .error("A user name for Basic authentication cannot hold a colon.")
            .hint("Correct it with `attache connection reconnect NAME`."));
    }
    let pair = Zeroizing::new([user.bytes(), b":", password.bytes()].concat());
    let encoded = Zeroizing::new(BASE64_STANDARD.encode(&*pair));
    header::put(request, AUTHORIZATION, format!("Basic {}", *encoded).as_bytes())?;
    let mut values = vec![Secret::new(encoded.as_bytes())];
    values.extend(password.into_secrets());
    if user.is_secret() {
        values.extend(user.into_secrets());
    }
    attached.note("header authorization (Basic)".into(), values);
    Ok(())
}
