//! Azure Blob Storage: azurite verifies the signatures, and Microsoft's own library for Python is the oracle for what is
//! there.

use attache_tests::{
    Attache,
    peers::{self, AZURITE_ACCOUNT, AZURITE_KEY, Peer},
};
use serde_json::{Value, json};

use crate::machine;

/// Names that come out wrong wherever somebody encodes once too often or not at all.
const NAMES: [&str; 7] =
    ["plain.txt", "with space.txt", "grüße/öl.txt", "100%41.txt", "a+b=c&d.txt", "q?x#y.txt", "a/b/c d/é~'(1)!.txt"];

fn connected(azurite: &Peer) -> Attache {
    let mut attache = machine();
    attache.set("AZURE_KEY", AZURITE_KEY);
    attache.add("azure-blob");
    connect(&attache, azurite, "env:AZURE_KEY").done();
    attache
}

fn connect(attache: &Attache, azurite: &Peer, key: &str) -> attache_tests::Outcome {
    let endpoint = format!("endpoint={}/{AZURITE_ACCOUNT}", azurite.base());
    let account = format!("account={AZURITE_ACCOUNT}");
    let key = format!("key={key}");
    let allow = azurite.authority();
    attache.run(&[
        "connect",
        "azure-blob",
        "--set",
        &account,
        "--set",
        &endpoint,
        "--secret",
        &key,
        "--allow-private",
        &allow,
        "--yes",
    ])
}

/// Runs Python with the SDK's client as `service`; what it prints as JSON is the answer.
fn oracle(azurite: &Peer, script: &str) -> Value {
    let script = format!(
        "import json\nfrom azure.storage.blob import BlobServiceClient\n\
         service = BlobServiceClient('{}/{AZURITE_ACCOUNT}', credential={{'account_name': '{AZURITE_ACCOUNT}', 'account_key': '{AZURITE_KEY}'}})\n{script}",
        azurite.base()
    );
    serde_json::from_str(&peers::python(&script)).unwrap()
}

#[test]
fn what_we_upload_the_azure_sdk_reads() {
    let azurite = peers::azurite();
    let attache = connected(&azurite);
    attache.call("azure-blob", "create-container", &json!({ "container": "letters" }));
    for name in NAMES {
        attache.call(
            "azure-blob",
            "put-blob",
            &json!({ "container": "letters", "name": name, "text": format!("text of {name}") }),
        );
    }
    attache.call(
        "azure-blob",
        "put-blob",
        &json!({ "container": "letters", "name": "bytes", "base64": "AP8Q", "content-type": "image/png" }),
    );
    attache.call("azure-blob", "put-blob", &json!({ "container": "letters", "name": "empty", "text": "" }));
    let read = oracle(
        &azurite,
        "c = service.get_container_client('letters')\n\
         print(json.dumps({b.name: c.download_blob(b.name).readall().hex() for b in c.list_blobs()}))",
    );
    for name in NAMES {
        assert_eq!(read[name], hex::encode(format!("text of {name}")), "{name}");
    }
    assert_eq!(read["bytes"], "00ff10");
    assert_eq!(read["empty"], "");
}

#[test]
fn what_the_azure_sdk_uploads_we_list_and_read() {
    let azurite = peers::azurite();
    let attache = connected(&azurite);
    let names = json!(NAMES).to_string();
    oracle(
        &azurite,
        &format!(
            "c = service.create_container('letters')\n\
             for name in json.loads(r'''{names}'''): c.upload_blob(name, ('text of ' + name).encode())\n\
             c.upload_blob('bytes', bytes([0, 255, 16]))\nprint('null')"
        ),
    );
    let listed = attache.call("azure-blob", "list-blobs", &json!({ "container": "letters" }));
    let mut found: Vec<&str> =
        listed["blobs"].as_array().unwrap().iter().map(|blob| blob["name"].as_str().unwrap()).collect();
    found.retain(|name| *name != "bytes");
    let mut expected = NAMES.to_vec();
    expected.sort_unstable();
    found.sort_unstable();
    assert_eq!(found, expected);
    for name in NAMES {
        let got = attache.call("azure-blob", "get-blob", &json!({ "container": "letters", "name": name }));
        assert_eq!(got["text"], format!("text of {name}"));
    }
    let got = attache.call("azure-blob", "get-blob", &json!({ "container": "letters", "name": "bytes" }));
    assert_eq!((got["base64"].as_str(), got.get("text")), (Some("AP8Q"), None));
    let folder = attache.call("azure-blob", "list-blobs", &json!({ "container": "letters", "prefix": "grüße/" }));
    assert_eq!(folder["blobs"].as_array().unwrap().len(), 1);
    let plus = attache.call("azure-blob", "list-blobs", &json!({ "container": "letters", "prefix": "a+b=c&" }));
    assert_eq!(plus["blobs"][0]["name"], "a+b=c&d.txt");
}

#[test]
fn more_blobs_than_fit_on_a_page_are_all_listed() {
    let azurite = peers::azurite();
    let attache = connected(&azurite);
    oracle(
        &azurite,
        "from concurrent.futures import ThreadPoolExecutor\n\
         c = service.create_container('many')\n\
         with ThreadPoolExecutor(8) as pool: list(pool.map(lambda n: c.upload_blob(f'blob-{n:05}', b'x'), range(5050)))\nprint('null')",
    );
    let listed = attache.call("azure-blob", "list-blobs", &json!({ "container": "many" }));
    let blobs = listed["blobs"].as_array().unwrap();
    assert_eq!((blobs.len(), &listed["more"]), (5050, &json!(false)));
    assert_eq!((blobs[0]["name"].as_str(), blobs[5049]["name"].as_str()), (Some("blob-00000"), Some("blob-05049")));
    let some = attache.call("azure-blob", "list-blobs", &json!({ "container": "many", "limit": 3 }));
    assert_eq!((some["blobs"].as_array().unwrap().len(), &some["more"]), (3, &json!(true)));
}

#[test]
fn a_wrong_key_is_told_from_a_missing_container() {
    let azurite = peers::azurite();
    let mut attache = connected(&azurite);
    attache
        .try_call("azure-blob", "get-blob", &json!({ "container": "nowhere", "name": "a" }))
        .refused(3, "ContainerNotFound");
    attache.set("WRONG_KEY", "d3Jvbmcta2V5LXdyb25nLWtleQ==");
    attache
        .run(&["connection", "reconnect", "azure-blob", "--secret", "key=env:WRONG_KEY", "--yes"])
        .refused(6, "The service refuses the credential.")
        .refused(6, "AuthorizationFailure");
    attache.set("NO_KEY", "not base64!");
    attache
        .run(&["connection", "reconnect", "azure-blob", "--secret", "key=env:NO_KEY", "--yes"])
        .refused(2, "The access key is not base64");
    // The good key is still the one that is stored.
    attache.call("azure-blob", "list-containers", &json!({}));
}

#[test]
fn containers_are_made_listed_and_deleted() {
    let azurite = peers::azurite();
    let attache = connected(&azurite);
    for container in ["one", "two"] {
        attache.call("azure-blob", "create-container", &json!({ "container": container }));
    }
    attache
        .try_call("azure-blob", "create-container", &json!({ "container": "one" }))
        .refused(6, "ContainerAlreadyExists");
    attache.call("azure-blob", "put-blob", &json!({ "container": "two", "name": "a", "text": "a" }));
    attache.call("azure-blob", "delete-blob", &json!({ "container": "two", "name": "a" }));
    attache
        .try_call("azure-blob", "delete-blob", &json!({ "container": "two", "name": "a" }))
        .refused(3, "BlobNotFound");
    attache.call("azure-blob", "delete-container", &json!({ "container": "one" }));
    let left = attache.call("azure-blob", "list-containers", &json!({}));
    let names: Vec<&Value> = left["containers"].as_array().unwrap().iter().map(|it| &it["name"]).collect();
    assert_eq!(names, ["two"]);
}

#[test]
fn names_that_would_leave_their_place_are_refused() {
    let azurite = peers::azurite();
    let attache = connected(&azurite);
    for name in ["..", "a/../b", "a/./b", "%2e%2e/x"] {
        attache
            .try_call("azure-blob", "get-blob", &json!({ "container": "one", "name": name }))
            .refused(2, "no segment that is `.` or `..`");
    }
    for container in ["../x", "a/b", "UPPER", "a"] {
        attache
            .try_call("azure-blob", "list-blobs", &json!({ "container": container }))
            .refused(2, "a container's name");
    }
}
