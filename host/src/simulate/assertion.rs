//! Signed assertions: a client's proof of itself, and a grant (RFC 7523). They are judged by the real time, since whoever signs
//! them has no other.

use std::time::Duration;

use aws_lc_rs::{
    hmac,
    signature::{
        self, ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ECDSA_P521_SHA512_FIXED, UnparsedPublicKey,
        VerificationAlgorithm,
    },
};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use rustls::pki_types::{SubjectPublicKeyInfoDer, pem::PemObject};
use serde::Deserialize;

use super::{client::Client, clock::Clock};

/// `client_assertion_type` (RFC 7523, 2.2).
pub(super) const CLIENT_ASSERTION: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
/// `alg` of assertions that can be verified (RFC 7518, 3.1).
pub(super) const ALGORITHMS: [&str; 12] =
    ["HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512"];
/// How far another's clock may be off.
const LEEWAY: Duration = Duration::from_secs(30);

/// What an assertion says (RFC 7523, 3).
#[derive(Debug, Deserialize)]
pub(super) struct Claims {
    pub(super) iss: String,
    #[serde(default)]
    pub(super) sub: String,
    aud: Audience,
    exp: f64,
    nbf: Option<f64>,
    pub(super) jti: Option<String>,
    /// What some providers read in place of the parameter (Google).
    pub(super) scope: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Several(Vec<String>),
}

#[derive(Deserialize)]
struct Header {
    alg: String,
}

/// What an assertion says, before anything is known of its truth: enough to find out whose it claims to be.
pub(super) fn claimed(assertion: &str) -> Result<Claims, &'static str> {
    let mut parts = assertion.split('.');
    let (Some(_), Some(payload), Some(_), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
        return Err("The assertion is not a JWT of three parts.");
    };
    json(payload).ok_or("The assertion lacks `iss`, `aud` or `exp`.")
}

/// What an assertion of this client says, once it is found to be true and meant for one of `audiences`.
pub(super) fn verified(assertion: &str, client: &Client, audiences: &[String]) -> Result<Claims, &'static str> {
    let claims = claimed(assertion)?;
    let (message, signature) = assertion.rsplit_once('.').ok_or("The assertion has no signature.")?;
    let header: Header = json(assertion.split('.').next().unwrap_or_default()).ok_or("The assertion has no `alg`.")?;
    let signature = BASE64_URL_SAFE_NO_PAD.decode(signature).map_err(|_| "The signature is not base64url.")?;
    if !is_signed_by(client, &header.alg, message.as_bytes(), &signature) {
        return Err("The signature is not by a key of the client.");
    }
    let now = Clock::real();
    let good_until = Duration::try_from_secs_f64(claims.exp).unwrap_or_default();
    if now > good_until + LEEWAY {
        return Err("The assertion has expired.");
    }
    if claims.nbf.is_some_and(|from| Duration::try_from_secs_f64(from).is_ok_and(|from| from > now + LEEWAY)) {
        return Err("The assertion is not good yet.");
    }
    let named = match &claims.aud {
        Audience::One(one) => std::slice::from_ref(one),
        Audience::Several(several) => several,
    };
    if !named.iter().any(|one| audiences.contains(one)) {
        return Err("The assertion is for somebody else.");
    }
    Ok(claims)
}

fn is_signed_by(client: &Client, algorithm: &str, message: &[u8], signature: &[u8]) -> bool {
    // A secret verifies HMACs only, and a public key nothing but signatures: whoever mixed them up could sign with what
    // everybody knows.
    if let Some(algorithm) = hmac_of(algorithm) {
        let Some(secret) = &client.secret else { return false };
        return hmac::verify(&hmac::Key::new(algorithm, secret.expose()), message, signature).is_ok();
    }
    let (Some(pem), Some(algorithm)) = (&client.key, verification_of(algorithm)) else { return false };
    let Ok(key) = SubjectPublicKeyInfoDer::from_pem_slice(pem.as_bytes()) else { return false };
    UnparsedPublicKey::new(algorithm, key.as_ref()).verify(message, signature).is_ok()
}

fn hmac_of(algorithm: &str) -> Option<hmac::Algorithm> {
    Some(match algorithm {
        "HS256" => hmac::HMAC_SHA256,
        "HS384" => hmac::HMAC_SHA384,
        "HS512" => hmac::HMAC_SHA512,
        _ => return None,
    })
}

fn verification_of(algorithm: &str) -> Option<&'static dyn VerificationAlgorithm> {
    Some(match algorithm {
        "RS256" => &signature::RSA_PKCS1_2048_8192_SHA256,
        "RS384" => &signature::RSA_PKCS1_2048_8192_SHA384,
        "RS512" => &signature::RSA_PKCS1_2048_8192_SHA512,
        "PS256" => &signature::RSA_PSS_2048_8192_SHA256,
        "PS384" => &signature::RSA_PSS_2048_8192_SHA384,
        "PS512" => &signature::RSA_PSS_2048_8192_SHA512,
        "ES256" => &ECDSA_P256_SHA256_FIXED,
        "ES384" => &ECDSA_P384_SHA384_FIXED,
        "ES512" => &ECDSA_P521_SHA512_FIXED,
        _ => return None,
    })
}

fn json<T: for<'de> Deserialize<'de>>(part: &str) -> Option<T> {
    serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(part).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::{
        manifest::jwt::{Algorithm, compact},
        secret::Secret,
    };

    const AUDIENCE: &str = "http://127.0.0.1:1/token";

    fn client(key: Option<&str>) -> Client {
        Client {
            secret: Some(Secret::new("hush")),
            key: key.map(str::to_owned),
            certified: vec![],
            redirect_uris: vec![],
            registered: None,
        }
    }

    fn signed(algorithm: Algorithm, key: &[u8], claims: &Value) -> String {
        let header = json!({ "alg": algorithm.name() }).to_string();
        compact(algorithm, key, header.as_bytes(), claims.to_string().as_bytes()).unwrap().to_string()
    }

    fn claims(aud: &str, expires_in: i64) -> Value {
        json!({ "iss": "demo", "sub": "demo", "aud": aud, "exp": Clock::real().as_secs() as i64 + expires_in })
    }

    fn judged(assertion: &str, client: &Client) -> Result<String, &'static str> {
        verified(assertion, client, &[AUDIENCE.into()]).map(|claims| claims.iss)
    }

    #[test]
    fn a_secret_or_a_key_of_the_client_signs() {
        let public = include_str!("../manifest/jwt/testdata/rfc7515-a2.pub.pem");
        let private = include_bytes!("../manifest/jwt/testdata/rfc7515-a2.pem");
        let elliptic = include_str!("../manifest/jwt/testdata/rfc7515-a3.pub.pem");
        let good = claims(AUDIENCE, 60);
        assert_eq!(judged(&signed(Algorithm::Hs256, b"hush", &good), &client(None)), Ok("demo".into()));
        assert_eq!(judged(&signed(Algorithm::Rs256, private, &good), &client(Some(public))), Ok("demo".into()));
        assert_eq!(judged(&signed(Algorithm::Ps512, private, &good), &client(Some(public))), Ok("demo".into()));
        let private = include_bytes!("../manifest/jwt/testdata/rfc7515-a3.pem");
        assert_eq!(judged(&signed(Algorithm::Es256, private, &good), &client(Some(elliptic))), Ok("demo".into()));
    }

    #[test]
    fn what_was_signed_otherwise_is_refused() {
        let public = include_str!("../manifest/jwt/testdata/rfc7515-a2.pub.pem");
        let good = claims(AUDIENCE, 60);
        let bad = "The signature is not by a key of the client.";
        assert_eq!(judged(&signed(Algorithm::Hs256, b"another", &good), &client(None)), Err(bad));
        let confused = signed(Algorithm::Hs256, public.as_bytes(), &good);
        assert_eq!(judged(&confused, &client(Some(public))), Err(bad), "the public key is no secret");
        let part = |value: Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
        let unsigned = format!("{}.{}.", part(json!({ "alg": "none" })), part(good));
        assert_eq!(judged(&unsigned, &client(None)), Err(bad));
        assert!(judged("a.b", &client(None)).is_err());
    }

    #[test]
    fn what_the_metadata_names_can_be_verified() {
        assert!(ALGORITHMS.iter().all(|name| hmac_of(name).is_some() != verification_of(name).is_some()));
    }

    #[test]
    fn one_that_is_late_or_for_somebody_else_is_refused() {
        let late = signed(Algorithm::Hs256, b"hush", &claims(AUDIENCE, -31));
        assert_eq!(judged(&late, &client(None)), Err("The assertion has expired."));
        let elsewhere = signed(Algorithm::Hs256, b"hush", &claims("https://elsewhere.example/token", 60));
        assert_eq!(judged(&elsewhere, &client(None)), Err("The assertion is for somebody else."));
    }
}
