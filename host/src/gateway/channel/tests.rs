use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

use super::*;
use crate::secret::Secret;

fn identity(byte: u8) -> Identity {
    Identity::of_seed(&Secret::new(vec![byte; 32])).unwrap()
}

const HOST: u8 = 1;
const GATEWAY: u8 = 2;

/// Both ends of a line, until one of them gives up.
async fn meet(
    dialled: impl AsyncFnOnce(DuplexStream) -> Result<client::TlsStream<DuplexStream>>,
    purpose: Purpose,
) -> (Result<()>, Result<Digest>) {
    let (near, far) = duplex(64 << 10);
    let host = identity(HOST);
    let (dialled, accepted) = tokio::join!(dialled(near), accept(far, &host));
    let accepted = accepted.map(|(_, agreed, who)| {
        assert_eq!(agreed, purpose);
        who
    });
    (dialled.map(drop), accepted)
}

/// One that dials with what a hostile or old gateway would.
async fn dial_with(
    stream: DuplexStream,
    change: impl FnOnce(&mut ClientConfig),
) -> Result<client::TlsStream<DuplexStream>> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = OfHost { host: identity(HOST).public(), algorithms: algorithms(&provider) };
    let resolver = AlwaysResolvesClientRawPublicKeys::new(identity(GATEWAY).certified());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_client_cert_resolver(Arc::new(resolver));
    change(&mut config);
    let connected =
        TlsConnector::from(Arc::new(config)).connect(ServerName::try_from("attache").unwrap(), stream).await;
    let mut connected = connected.map_err(|error| refused_by_host(&error))?;
    // In TLS 1.3 the one who dials is done before the other has judged; one that is taken hears nothing more.
    if let Ok(refused) = timeout(Duration::from_secs(5), connected.read(&mut [0])).await {
        refused.map_err(|error| refused_by_host(&error))?;
    }
    Ok(connected)
}

#[tokio::test]
async fn both_ends_know_each_other() {
    for purpose in Purpose::ALL {
        let (dialled, accepted) =
            meet(async |line| dial(line, &identity(GATEWAY), identity(HOST).public(), purpose).await, purpose).await;
        dialled.unwrap();
        assert_eq!(accepted.unwrap(), identity(GATEWAY).public());
    }
}

#[tokio::test]
async fn another_host_is_refused_by_its_key() {
    let (dialled, accepted) =
        meet(async |line| dial(line, &identity(GATEWAY), identity(7).public(), Purpose::Calls).await, Purpose::Calls)
            .await;
    let error = dialled.unwrap_err();
    assert_eq!(error.kind(), Kind::Denied);
    assert!(error.message().contains("Another host answers"), "{error:?}");
    assert!(accepted.is_err());
}

#[tokio::test]
async fn an_older_version_and_none_at_all_are_refused() {
    for offered in [vec![b"attache-gateway/0".to_vec()], vec![b"h2".to_vec()], Vec::new()] {
        let (_, accepted) =
            meet(async |line| dial_with(line, |config| config.alpn_protocols = offered).await, Purpose::Calls).await;
        assert_eq!(accepted.unwrap_err().kind(), Kind::Denied);
    }
}

#[tokio::test]
async fn a_key_that_is_not_ones_own_is_not_taken() {
    use rustls::sign::CertifiedKey;
    // It shows the gateway's public key, and signs with its own.
    let (own, shown) = (identity(9).certified(), identity(GATEWAY).certified());
    let forged = Arc::new(CertifiedKey::new(shown.cert.clone(), own.key.clone()));
    let (dialled, accepted) = meet(
        async |line| {
            dial_with(line, |config| {
                config.alpn_protocols = vec![Purpose::Calls.name().to_vec()];
                config.client_auth_cert_resolver = Arc::new(AlwaysResolvesClientRawPublicKeys::new(forged));
            })
            .await
        },
        Purpose::Calls,
    )
    .await;
    assert!(dialled.is_err());
    assert_eq!(accepted.unwrap_err().kind(), Kind::Denied);
}

#[tokio::test]
async fn tls_1_2_is_not_spoken() {
    let (mut near, far) = duplex(64 << 10);
    let host = identity(HOST);
    // A ClientHello of TLS 1.2 without `supported_versions`.
    let hello = [&[1, 0, 0, 41, 3, 3][..], &[7; 32], &[0, 0, 2, 0xc0, 0x2b, 1, 0]].concat();
    let record = [&[22, 3, 1, 0, u8::try_from(hello.len()).unwrap()][..], &hello].concat();
    near.write_all(&record).await.unwrap();
    assert_eq!(accept(far, &host).await.unwrap_err().kind(), Kind::Denied);
}

#[tokio::test]
async fn what_was_recorded_opens_nothing_again() {
    let (near, recorder) = duplex(64 << 10);
    let (relay, far) = duplex(64 << 10);
    let record = Arc::new(std::sync::Mutex::new(Vec::new()));
    let kept = record.clone();
    tokio::spawn(async move {
        let ((mut from_near, mut to_near), (mut from_far, mut to_far)) =
            (tokio::io::split(recorder), tokio::io::split(relay));
        let back = tokio::spawn(async move { tokio::io::copy(&mut from_far, &mut to_near).await });
        let mut piece = vec![0; 16 << 10];
        while let Ok(length @ 1..) = from_near.read(&mut piece).await {
            kept.lock().unwrap().extend_from_slice(&piece[..length]);
            to_far.write_all(&piece[..length]).await.unwrap();
        }
        back.abort();
    });
    let host = identity(HOST);
    let gateway = identity(GATEWAY);
    let (dialled, accepted) = tokio::join!(dial(near, &gateway, host.public(), Purpose::Calls), accept(far, &host));
    drop((dialled.unwrap(), accepted.unwrap()));
    let recorded = record.lock().unwrap().clone();
    assert!(recorded.len() > 100);
    let (mut thief, again) = duplex(64 << 10);
    thief.write_all(&recorded).await.unwrap();
    assert_eq!(accept(again, &host).await.unwrap_err().kind(), Kind::Denied);
}
