//! What a host may have a gateway do, and what not, however it asks.

mod bounds;
mod sign_in;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};
use uuid::Uuid;

use super::{
    super::{
        key::OpeningKey,
        sealed::{self, Terms, Wanted},
        wire::{self, Asked, Bounds, Headers, Told},
    },
    answer::Answerer,
    generations::Generations,
    opened::Boxes,
};
use crate::{
    audit::{About, Audit},
    consent::{Discovered, SealedBox},
    digest::Digest,
    error::{Kind, Result},
    manifest::{audience::OriginPattern, declared},
    origin::Origin,
    secret::Secret,
    sync::lock,
    transport::{Limits, PrivateAllowed, Room},
};

const KEY: &str = "hunter2-hunter2";

/// A service that sends back what it receives, and keeps it.
struct Service {
    port: u16,
    received: Arc<Mutex<Vec<String>>>,
}

impl Service {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let received: Arc<Mutex<Vec<String>>> = Arc::default();
        let kept = received.clone();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut head = vec![0; 8 << 10];
                let length = stream.read(&mut head).await.unwrap();
                let head = String::from_utf8_lossy(&head[..length]).into_owned();
                let answer = format!(
                    "HTTP/1.1 200 OK\r\nconnection: close\r\nx-seen: {KEY}\r\ncontent-length: {}\r\n\r\n{head}",
                    head.len()
                );
                lock(&kept).push(head);
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        Self { port, received }
    }

    fn base(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    fn received(&self) -> Vec<String> {
        lock(&self.received).clone()
    }
}

/// A gateway of the environment `default`, and what a host has.
struct Story {
    answerer: Answerer,
    sealed: SealedBox,
    service: Service,
    /// The gateway may reach it, and no credential is for it.
    other: Service,
    folder: tempfile::TempDir,
}

async fn story() -> Story {
    let (service, other) = (Service::start().await, Service::start().await);
    let key = OpeningKey::generate().unwrap();
    let option = declared::AuthOption {
        id: "key".into(),
        title: "A key".into(),
        parameters: vec![declared::Parameter {
            name: "key".into(),
            title: "The key".into(),
            kind: declared::ValueKind::Secret,
            settings: Vec::new(),
        }],
        scheme: declared::Scheme::Direct,
        jwts: Vec::new(),
        attach: vec![declared::Attachment::Header("X-Key".into(), "{key}".into())],
        audience: vec![service.base()],
    };
    let audience = [OriginPattern::Exact(Origin::parse(&service.base()).unwrap())];
    let terms: Terms = Wanted {
        environment: "default",
        gateway: "plant",
        connection: Uuid::nil(),
        generation: 1,
        connector: "echo",
        option: &option,
        parameters: &BTreeMap::new(),
        audience: &audience,
        app: None,
        discovered: &Discovered::default(),
        sign_in: &[],
    }
    .into();
    let secrets = [("key".to_owned(), Secret::new(KEY))].into();
    let sealed = sealed::seal(&terms.text().unwrap(), secrets, key.public()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let answerer = Answerer {
        generations: Generations::read(folder.path()).unwrap(),
        boxes: Boxes::new(key, None, "default".into()),
        allowed: PrivateAllowed::parse_reachable([&service, &other].map(|it| format!("127.0.0.1:{}", it.port)))
            .unwrap(),
        transport: Arc::default(),
        limits: Limits::default(),
        asked: Room::new(wire::LARGE),
        audit: Arc::new(Audit::open(folder.path(), Secret::new("chain"), None).unwrap()),
    };
    Story { answerer, sealed, service, other, folder }
}

impl Story {
    fn asked(&self, url: &str) -> Asked {
        Asked {
            method: "GET".into(),
            url: url.into(),
            headers: Headers::from(&http::HeaderMap::new()),
            attach: true,
            replace: false,
            about: About {
                environment: "default".into(),
                connection: "echo".into(),
                connector: "echo".into(),
                digest: Digest::of(b""),
                operation: "send".into(),
                call: Uuid::nil(),
                caller: "tester".into(),
            },
            hop: 0,
            repeated: 0,
            bounds: Bounds::from(&Limits::default()),
            sealed: self.sealed.clone(),
            app: None,
            captured: None,
        }
    }

    async fn answer(&self, asked: Asked) -> Result<(Told, Bytes)> {
        let (told, content) = self.answerer.answer(asked, Bytes::new()).await?;
        Ok((told, content.body))
    }

    fn audit(&self) -> String {
        self.answerer.audit.sync().unwrap();
        std::fs::read_to_string(Audit::path(self.folder.path())).unwrap()
    }
}

#[tokio::test]
async fn what_was_sealed_is_attached_and_does_not_come_back() {
    let story = story().await;
    let (told, body) = story.answer(story.asked(&format!("{}/x", story.service.base()))).await.unwrap();
    assert!(story.service.received()[0].contains(&format!("x-key: {KEY}")), "{:?}", story.service.received());
    assert_eq!((told.status, told.masked), (200, 2));
    let told = serde_json::to_string(&told).unwrap();
    let body = String::from_utf8(body.to_vec()).unwrap();
    assert!(body.contains("x-key: ***************") && !body.contains(KEY) && !told.contains(KEY), "{told}{body}");
    let audit = story.audit();
    assert!(audit.contains("credential-used") && audit.contains("header x-key") && !audit.contains(KEY), "{audit}");
}

#[tokio::test]
async fn a_host_cannot_aim_a_credential_at_what_it_was_not_sealed_for() {
    let story = story().await;
    for attach in [true, false] {
        let asked = Asked { attach, ..story.asked(&story.other.base()) };
        let answered = story.answer(asked).await;
        match attach {
            true => assert_eq!(answered.unwrap_err().kind(), Kind::Denied),
            // Without the credential it may go wherever the gateway may.
            false => assert_eq!(answered.unwrap().0.status, 200),
        }
    }
    let received = story.other.received();
    assert!(received.len() == 1 && !received[0].contains(KEY), "{received:?}");
    assert!(story.audit().contains("request-denied"));
}

#[tokio::test]
async fn a_host_cannot_name_what_the_gateway_was_not_started_with() {
    let story = story().await;
    let elsewhere = Service::start().await;
    for url in [
        elsewhere.base(),
        format!("http://localhost:{}", story.service.port),
        format!("https://127.0.0.1:{}0", story.service.port / 10),
        "http://169.254.169.254/latest/meta-data".into(),
        "https://example.com".into(),
        "file:///etc/passwd".into(),
    ] {
        for attach in [true, false] {
            let error = story.answer(Asked { attach, ..story.asked(&url) }).await.unwrap_err();
            assert_eq!(error.kind(), Kind::Denied, "{url}: {error}");
        }
    }
    assert!(elsewhere.received().is_empty() && story.service.received().is_empty());
}

#[tokio::test]
async fn metadata_and_link_local_addresses_are_no_gateways_to_allow() {
    for never in ["169.254.169.254:80", "[fe80::1]:80", "0.0.0.0:80", "[::ffff:169.254.169.254]:80"] {
        assert_eq!(PrivateAllowed::parse_reachable([never]).unwrap_err().kind(), Kind::Denied, "{never}");
    }
    assert!(PrivateAllowed::parse_reachable(["8.8.8.8:443", "10.0.0.1:80", "nas:80"]).is_ok());
}

#[tokio::test]
async fn a_box_of_another_environment_is_not_used() {
    let mut story = story().await;
    let url = story.service.base();
    let key = OpeningKey::generate().unwrap();
    let secrets = [("key".to_owned(), Secret::new(KEY))].into();
    story.sealed = sealed::seal(&story.sealed.terms, secrets, key.public()).unwrap();
    story.answerer.boxes = Boxes::new(key, None, "other".into());
    let error = story.answer(story.asked(&url)).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Denied, "{error}");
    assert!(story.service.received().is_empty());
}

#[tokio::test]
async fn what_stands_where_the_credential_goes_is_not_overwritten_unless_a_service_wrote_it() {
    let story = story().await;
    let mut headers = http::HeaderMap::new();
    headers.insert("x-key", "of the connector".parse().unwrap());
    let asked = |replace| Asked { headers: (&headers).into(), replace, ..story.asked(&story.service.base()) };
    assert_eq!(story.answer(asked(false)).await.unwrap_err().kind(), Kind::Denied);
    assert!(story.service.received().is_empty());
    story.answer(asked(true)).await.unwrap();
    assert!(!story.service.received()[0].contains("of the connector"));
}

#[tokio::test]
async fn the_gateways_own_bounds_hold_whatever_the_host_says() {
    let mut story = story().await;
    story.answerer.limits.body_decoded = 5;
    story.answerer.limits.body_on_wire = 5;
    let error = story.answer(story.asked(&story.service.base())).await.unwrap_err();
    assert_eq!(error.kind(), Kind::TooLarge, "{error}");
}

#[tokio::test]
async fn what_nobody_uses_is_forgotten_and_opened_again() {
    let story = story().await;
    let opened = story.answerer.boxes.open(&story.sealed, None, None).unwrap();
    assert!(Arc::ptr_eq(&opened, &story.answerer.boxes.open(&story.sealed, None, None).unwrap()));
    story.answerer.boxes.sweep();
    assert!(Arc::ptr_eq(&opened, &story.answerer.boxes.open(&story.sealed, None, None).unwrap()), "it was just used");
}

#[tokio::test]
async fn a_credential_that_was_replaced_is_not_taken_again() {
    let story = story().await;
    let url = story.service.base();
    let older = story.sealed.clone();
    let key = story.answerer.boxes.key();
    let mut terms = Terms::parse(&older.terms).unwrap();
    terms.generation = 2;
    let newer =
        sealed::seal(&terms.text().unwrap(), [("key".to_owned(), Secret::new(KEY))].into(), key.public()).unwrap();
    let send = |sealed: &SealedBox, operation: &str| {
        let mut asked = Asked { sealed: sealed.clone(), ..story.asked(&url) };
        asked.about.operation = operation.into();
        asked
    };
    story.answer(send(&older, "send")).await.unwrap();
    // One that is tried may come to nothing, and then the older one stays.
    story.answer(send(&newer, "check")).await.unwrap();
    story.answer(send(&older, "send")).await.unwrap();
    story.answer(send(&newer, "send")).await.unwrap();
    for operation in ["send", "check"] {
        let error = story.answer(send(&older, operation)).await.unwrap_err();
        assert!(error.kind() == Kind::Denied && error.message().contains("was replaced"), "{error}");
    }
    // It is known after a start, too.
    let again = Generations::read(story.folder.path()).unwrap();
    assert_eq!(again.judge(&Terms::parse(&older.terms).unwrap(), "send").unwrap_err().kind(), Kind::Denied);
    again.judge(&terms, "send").unwrap();
    std::fs::write(story.folder.path().join("generations"), "[").unwrap();
    assert_eq!(Generations::read(story.folder.path()).err().map(|it| it.kind()), Some(Kind::StoreDamaged));
}

#[tokio::test]
async fn a_host_that_invents_connections_does_not_fill_the_gateways_disk() {
    let (story, folder) = (story().await, tempfile::tempdir().unwrap());
    let known: BTreeMap<Uuid, u64> = (1..=20_000).map(|n| (Uuid::from_u128(n), 1)).collect();
    std::fs::write(folder.path().join("generations"), serde_json::to_vec(&known).unwrap()).unwrap();
    let generations = Generations::read(folder.path()).unwrap();
    let mut terms = Terms::parse(&story.sealed.terms).unwrap();
    for (connection, generation, refused) in
        [(20_001, 1, Some(Kind::StoreUnavailable)), (20_000, 2, None), (20_000, 1, Some(Kind::Denied))]
    {
        (terms.connection, terms.generation) = (Uuid::from_u128(connection), generation);
        let judged = generations.judge(&terms, "send").err().map(|error| error.kind());
        assert_eq!(judged, refused, "{connection} {generation}");
    }
}
