//! What becomes of bodies.

use proptest::prelude::*;

use super::{
    super::testing::{attached, is_noted, request, template},
    *,
};
use crate::manifest::{Attachment, template::Moment};

const JSON: (&str, &str) = ("Content-Type", "application/json");
const FORM: (&str, &str) = ("Content-Type", "application/x-www-form-urlencoded");
const VALUES: [(&str, &str); 3] = [("key", "s3cret&\"key"), ("port", "443"), ("tenant", "acme")];

fn attachment(pointer: &str, value: &str) -> Attachment {
    let value = template(value);
    let kind_of = |name: &str| (name == "port").then_some(crate::manifest::ValueKind::Integer);
    Attachment::Body { member: Pointer::parse(pointer).unwrap(), kind: JsonKind::of(&value, &kind_of), value }
}

fn put_with(pointer: &str, value: &str, headers: &[(&str, &str)], body: &str, existing: Existing) -> Result<String> {
    let mut outgoing = request("POST", "https://a.example/", headers, body.as_bytes());
    attached(&attachment(pointer, value), &VALUES, &Moment::now(), existing, &mut outgoing)?;
    Ok(String::from_utf8(outgoing.body.to_vec()).unwrap())
}

fn put(pointer: &str, headers: &[(&str, &str)], body: &str) -> Result<String> {
    put_with(pointer, "{key}", headers, body, Existing::Refuse)
}

#[test]
fn a_member_is_put_in_and_nothing_else_is_touched() {
    for (pointer, body, expected) in [
        ("/key", "{}", r#"{"key":"s3cret&\"key"}"#),
        (
            "/key",
            r#" { "n" : 12345678901234567890.10 , "a":[ 1, 2 ] } "#,
            r#"{"n":12345678901234567890.10,"a":[ 1, 2 ],"key":"s3cret&\"key"}"#,
        ),
        ("/auth/key", r#"{"a":1}"#, r#"{"a":1,"auth":{"key":"s3cret&\"key"}}"#),
        ("/auth/key", r#"{"auth":{"user":"u"},"a":1}"#, r#"{"auth":{"user":"u","key":"s3cret&\"key"},"a":1}"#),
        ("/list/1/key", r#"{"list":[{},{"a":1}]}"#, r#"{"list":[{},{"a":1,"key":"s3cret&\"key"}]}"#),
        ("/list/-", r#"{"list":[1]}"#, r#"{"list":[1,"s3cret&\"key"]}"#),
        ("/list/-/key", "{}", r#"{"list":[{"key":"s3cret&\"key"}]}"#),
        ("/0/key", r#"[{}]"#, r#"[{"key":"s3cret&\"key"}]"#),
        ("/a~1b~0", r#"{"a\/b":1}"#, r#"{"a/b":1,"a/b~":"s3cret&\"key"}"#),
        ("/", "{}", r#"{"":"s3cret&\"key"}"#),
    ] {
        assert_eq!(put(pointer, &[JSON], body).unwrap(), expected, "{pointer} {body}");
    }
    // By the kind of a name alone; a text around it makes a text of it.
    let of = |value: &str| put_with("/v", value, &[JSON], "{}", Existing::Refuse).unwrap();
    assert_eq!(of("{port}"), r#"{"v":443}"#);
    assert_eq!(of("{tenant}:{port}"), r#"{"v":"acme:443"}"#);
    assert_eq!(of("{missing}"), "{}");
    for media_type in ["application/json; charset=utf-8", "Application/Vnd.Api+JSON"] {
        assert!(put("/key", &[("content-type", media_type)], "{}").is_ok(), "{media_type}");
    }
}

#[test]
fn a_place_that_is_not_there_is_an_error_that_names_it() {
    for (pointer, body, expected) in [
        ("/a/key", r#"{"a":1}"#, "neither an object nor an array"),
        ("/a/key", r#"{"a":"canary"}"#, "neither an object nor an array"),
        ("/key", r#""canary""#, "neither an object nor an array"),
        ("/list/1", r#"{"list":[1]}"#, "no such element"),
        ("/list/01/key", r#"{"list":[{},{}]}"#, "no such element"),
        ("/list/+0/key", r#"{"list":[{}]}"#, "no such element"),
        ("/list//key", r#"{"list":[{}]}"#, "no such element"),
        ("/a/key", r#"{"a":{},"a":{}}"#, "two members of that name"),
        ("/key", "{", "not the JSON"),
        ("/key", "{} {}", "not the JSON"),
    ] {
        let error = put(pointer, &[JSON], body).unwrap_err();
        assert_eq!(error.kind(), Kind::InvalidInput, "{pointer} {body}");
        assert!(error.message().contains(expected) && !error.message().contains("canary"), "{error}");
    }
}

#[test]
fn a_field_is_put_into_a_form_and_nothing_else_is_touched() {
    assert_eq!(put("/key", &[FORM], "a=%7e+b&c").unwrap(), "a=%7e+b&c&key=s3cret%26%22key");
    assert_eq!(put("/a b", &[FORM], "").unwrap(), "a+b=s3cret%26%22key");
    assert_eq!(put_with("/v", "{port}", &[FORM], "", Existing::Refuse).unwrap(), "v=443");
    let error = put("/auth/key", &[FORM], "a=b").unwrap_err();
    assert_eq!((error.kind(), error.mend()), (Kind::Denied, Some("The connector must send JSON.")));
}

#[test]
fn what_the_guest_wrote_in_its_place_is_refused_and_what_a_redirect_repeats_is_replaced() {
    for (pointer, header, body, replaced) in [
        ("/key", JSON, r#"{"key":null,"a":1}"#, r#"{"key":"s3cret&\"key","a":1}"#),
        ("/key", JSON, r#"{"\u006bey":1}"#, r#"{"key":"s3cret&\"key"}"#),
        ("/list/0", JSON, r#"{"list":[1,2]}"#, r#"{"list":["s3cret&\"key",2]}"#),
        ("/key", FORM, "a=b&k%65y=x&key", "a=b&key=s3cret%26%22key"),
    ] {
        assert_eq!(put(pointer, &[header], body).unwrap_err().kind(), Kind::Denied, "{body}");
        assert_eq!(put_with(pointer, "{key}", &[header], body, Existing::Replace).unwrap(), replaced);
    }
}

#[test]
fn a_request_without_content_gets_json_and_one_that_cannot_have_any_is_refused() {
    let mut outgoing = request("POST", "https://a.example/", &[], b"");
    let noted =
        attached(&attachment("/key", "{key}"), &VALUES, &Moment::now(), Existing::Refuse, &mut outgoing).unwrap();
    assert_eq!(outgoing.headers[CONTENT_TYPE], "application/json");
    assert_eq!(outgoing.body.as_ref(), br#"{"key":"s3cret&\"key"}"#);
    assert_eq!(noted.places, ["body /key"]);
    assert!(is_noted(&noted, "s3cret&\"key"));
    for method in ["GET", "HEAD"] {
        let mut outgoing = request(method, "https://a.example/", &[], b"");
        let error = attached(&attachment("/key", "{key}"), &VALUES, &Moment::now(), Existing::Replace, &mut outgoing);
        assert_eq!(error.unwrap_err().kind(), Kind::Denied);
    }
    assert_eq!(put("/key", &[FORM], "").unwrap(), "key=s3cret%26%22key");
}

#[test]
fn a_body_that_is_neither_json_nor_a_form_is_refused() {
    for (headers, body) in [
        (&[("Content-Type", "text/plain")][..], "{}"),
        (&[("Content-Type", "text/plain")], ""),
        (&[("Content-Type", "multipart/form-data; boundary=x")], "--x--"),
        (&[], "{}"),
        (&[JSON, FORM], "{}"),
        (&[JSON, ("Content-Encoding", "gzip")], "{}"),
        (&[FORM, ("Content-Encoding", "gzip")], "a=b"),
    ] {
        assert_eq!(put("/key", headers, body).unwrap_err().kind(), Kind::Denied, "{headers:?}");
    }
}

proptest! {
    #[test]
    fn no_value_and_no_name_breaks_out(value in ".{0,40}", name in ".{0,20}", other in ".{0,20}") {
        prop_assume!(name != other);
        let pointer = format!("/{}", name.replace('~', "~0").replace('/', "~1"));
        let attachment = attachment(&pointer, "{key}");
        let values = [("key", value.as_str())];

        let body = serde_json::json!({ &other: 1 }).to_string();
        let mut outgoing = request("POST", "https://a.example/", &[JSON], body.as_bytes());
        attached(&attachment, &values, &Moment::now(), Existing::Refuse, &mut outgoing).unwrap();
        let read: serde_json::Value = serde_json::from_slice(&outgoing.body).unwrap();
        prop_assert_eq!(read, serde_json::json!({ &other: 1, &name: &value }));

        let body: String = form_urlencoded::Serializer::new(String::new()).append_pair(&other, "1").finish();
        let mut outgoing = request("POST", "https://a.example/", &[FORM], body.as_bytes());
        attached(&attachment, &values, &Moment::now(), Existing::Refuse, &mut outgoing).unwrap();
        let read: Vec<(String, String)> = form_urlencoded::parse(&outgoing.body).into_owned().collect();
        prop_assert_eq!(read, vec![(other, "1".to_owned()), (name, value)]);
    }
}
