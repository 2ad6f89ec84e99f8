//! S3: moto verifies the signatures, and Amazon's own library for Python is the oracle for what is there.

use attache_tests::{
    Attache, Outcome,
    peers::{self, Moto},
};
use serde_json::{Value, json};

use crate::machine;

/// Keys whose signature is wrong wherever somebody encodes once too often or not at all.
const KEYS: [&str; 8] = [
    "plain.txt",
    "with space.txt",
    "grüße/öl.txt",
    "100%41.txt",
    "a+b=c&d.txt",
    "q?x#y.txt",
    "a/b/c d/é~'(1)!*.txt",
    "a//double//slash",
];

fn connected(moto: &Moto) -> Attache {
    let mut attache = machine();
    attache.set("S3_SECRET", &moto.secret);
    attache.add("s3");
    connect(&attache, moto).done();
    attache
}

fn connect(attache: &Attache, moto: &Moto) -> Outcome {
    let set = [
        format!("endpoint={}", moto.peer.base()),
        format!("access-key-id={}", moto.key_id),
        "region=eu-central-1".to_owned(),
    ];
    let allow = moto.peer.authority();
    let mut arguments =
        vec!["connect", "s3", "--secret", "secret-access-key=env:S3_SECRET", "--allow-private", &allow, "--yes"];
    set.iter().for_each(|set| arguments.extend(["--set", set]));
    attache.run(&arguments)
}

/// Runs Python with the SDK's client as `s3`; what it prints as JSON is the answer.
fn oracle(moto: &Moto, script: &str) -> Value {
    let Moto { peer, key_id, secret } = moto;
    let script = format!(
        "import json, boto3\nfrom botocore.config import Config\n\
         s3 = boto3.client('s3', endpoint_url='{}', region_name='eu-central-1', aws_access_key_id='{key_id}',\n\
             aws_secret_access_key='{secret}', config=Config(s3={{'addressing_style': 'path'}}))\n{script}",
        peer.base()
    );
    serde_json::from_str(&peers::python(&script)).unwrap()
}

#[test]
fn what_we_write_the_aws_sdk_reads() {
    let moto = peers::moto();
    let attache = connected(&moto);
    attache.call("s3", "create-bucket", &json!({ "bucket": "letters" }));
    for key in KEYS {
        let input = json!({ "bucket": "letters", "key": key, "text": format!("text of {key}") });
        attache.call("s3", "put-object", &input);
    }
    attache.call(
        "s3",
        "put-object",
        &json!({ "bucket": "letters", "key": "bytes", "base64": "AP8Q", "content-type": "image/png" }),
    );
    attache.call("s3", "put-object", &json!({ "bucket": "letters", "key": "empty", "text": "" }));
    let read = oracle(
        &moto,
        "keys = [o['Key'] for o in s3.list_objects_v2(Bucket='letters')['Contents']]\n\
         print(json.dumps({k: s3.get_object(Bucket='letters', Key=k)['Body'].read().hex() for k in keys}))",
    );
    for key in KEYS {
        assert_eq!(read[key], hex::encode(format!("text of {key}")), "{key}");
    }
    assert_eq!((&read["bytes"], &read["empty"]), (&json!("00ff10"), &json!("")));
}

#[test]
fn what_the_aws_sdk_writes_we_list_read_and_delete() {
    let moto = peers::moto();
    let attache = connected(&moto);
    let keys = json!(KEYS).to_string();
    oracle(
        &moto,
        &format!(
            "s3.create_bucket(Bucket='letters', CreateBucketConfiguration={{'LocationConstraint': 'eu-central-1'}})\n\
             for key in json.loads(r\"\"\"{keys}\"\"\"): s3.put_object(Bucket='letters', Key=key, Body=('text of ' + key).encode())\n\
             s3.put_object(Bucket='letters', Key='bytes', Body=bytes([0, 255, 16]))\nprint('null')"
        ),
    );
    let buckets = attache.call("s3", "list-buckets", &json!({}));
    assert_eq!(buckets["buckets"][0]["name"], "letters");
    let listed = attache.call("s3", "list-objects", &json!({ "bucket": "letters" }));
    let mut found: Vec<&str> =
        listed["objects"].as_array().unwrap().iter().map(|object| object["key"].as_str().unwrap()).collect();
    let mut expected = KEYS.to_vec();
    expected.push("bytes");
    found.sort_unstable();
    expected.sort_unstable();
    assert_eq!(found, expected);
    for key in KEYS {
        let got = attache.call("s3", "get-object", &json!({ "bucket": "letters", "key": key }));
        assert_eq!(got["text"], format!("text of {key}"));
    }
    let got = attache.call("s3", "get-object", &json!({ "bucket": "letters", "key": "bytes" }));
    assert_eq!((got["base64"].as_str(), got.get("text")), (Some("AP8Q"), None));
    let folder = attache.call("s3", "list-objects", &json!({ "bucket": "letters", "prefix": "grüße/" }));
    assert_eq!(folder["objects"].as_array().unwrap().len(), 1);
    attache.call("s3", "delete-object", &json!({ "bucket": "letters", "key": KEYS[6] }));
    attache.try_call("s3", "get-object", &json!({ "bucket": "letters", "key": KEYS[6] })).refused(3, "NoSuchKey");
}

#[test]
fn more_objects_than_fit_on_a_page_are_all_listed() {
    let moto = peers::moto();
    let attache = connected(&moto);
    oracle(
        &moto,
        "from concurrent.futures import ThreadPoolExecutor\n\
         s3.create_bucket(Bucket='many', CreateBucketConfiguration={'LocationConstraint': 'eu-central-1'})\n\
         with ThreadPoolExecutor(8) as pool: list(pool.map(lambda n: s3.put_object(Bucket='many', Key=f'key-{n:05}', Body=b'x'), range(1010)))\nprint('null')",
    );
    let listed = attache.call("s3", "list-objects", &json!({ "bucket": "many" }));
    let objects = listed["objects"].as_array().unwrap();
    assert_eq!((objects.len(), &listed["more"]), (1010, &json!(false)));
    assert_eq!((objects[0]["key"].as_str(), objects[1009]["key"].as_str()), (Some("key-00000"), Some("key-01009")));
    let some = attache.call("s3", "list-objects", &json!({ "bucket": "many", "limit": 3 }));
    assert_eq!((some["objects"].as_array().unwrap().len(), &some["more"]), (3, &json!(true)));
}

#[test]
fn a_wrong_secret_is_told_from_a_missing_bucket() {
    let moto = peers::moto();
    let mut attache = connected(&moto);
    attache.try_call("s3", "get-object", &json!({ "bucket": "nowhere", "key": "a" })).refused(3, "NoSuchBucket");
    attache.set("WRONG", "wrong-secret-access-key");
    attache
        .run(&["connection", "reconnect", "s3", "--secret", "secret-access-key=env:WRONG", "--yes"])
        .refused(6, "The service refuses the credential.")
        .refused(6, "SignatureDoesNotMatch");
    // The good key is still the one that is stored.
    attache.call("s3", "list-buckets", &json!({}));
}

#[test]
fn names_that_would_leave_their_place_are_refused() {
    let moto = peers::moto();
    let attache = connected(&moto);
    for key in ["..", "a/../b", "a/./b", "%2e%2e/x"] {
        attache
            .try_call("s3", "get-object", &json!({ "bucket": "one", "key": key }))
            .refused(2, "no segment that is `.` or `..`");
    }
    for bucket in ["../x", "a/b", "UPPER", "a", "a..b", ".ab", "ab-"] {
        attache.try_call("s3", "list-objects", &json!({ "bucket": bucket })).refused(2, "a bucket's name");
    }
}
