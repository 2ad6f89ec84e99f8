use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::{
    ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
    server::{NoClientAuth, WebPkiClientVerifier, danger::ClientCertVerifier},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use super::*;

/// An authority of the test's own, its PEM file, and what a service needs that it vouches for.
struct Authority {
    file: tempfile::NamedTempFile,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// Authorities of one name would be taken for one another.
static COUNT: AtomicUsize = AtomicUsize::new(0);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new([]).unwrap();
        params
            .distinguished_name
            .push(DnType::CommonName, format!("authority {}", COUNT.fetch_add(1, Ordering::SeqCst)));
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), issuer.pem()).unwrap();
        Self { file, issuer }
    }

    fn acceptor(&self, name: &str, protocols: &[&str]) -> TlsAcceptor {
        self.accepting(name, protocols, Arc::new(NoClientAuth))
    }

    /// One that lets in only whom this authority vouches for.
    fn strict_acceptor(&self, name: &str) -> TlsAcceptor {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(self.issuer.der().clone()).unwrap();
        let provider = Arc::new(aws_lc_rs::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
        self.accepting(name, &[], verifier)
    }

    /// A client that it vouches for.
    fn identity(&self, name: &str) -> Identity {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new([name.to_owned()]).unwrap().signed_by(&key, &self.issuer).unwrap();
        Identity::from_pem(certificate.pem().as_bytes(), key.serialize_pem().as_bytes()).unwrap()
    }

    fn accepting(&self, name: &str, protocols: &[&str], clients: Arc<dyn ClientCertVerifier>) -> TlsAcceptor {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new([name.to_owned()]).unwrap().signed_by(&key, &self.issuer).unwrap();
        let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(clients)
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())),
            )
            .unwrap();
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        TlsAcceptor::from(Arc::new(config))
    }

    fn transport(&self) -> Transport {
        Transport::new(Script::new(&[&["127.0.0.1"]]), Some(self.file.path().to_owned()))
    }
}

/// A service that speaks TLS with that certificate, and then does as `handle` says.
async fn behind_tls<F, Done>(acceptor: TlsAcceptor, handle: F) -> Service
where
    F: Fn(TlsStream<TcpStream>) -> Done + Clone + Send + Sync + 'static,
    Done: Future<Output = ()> + Send + 'static,
{
    Service::new(move |peer| {
        let (acceptor, handle) = (acceptor.clone(), handle.clone());
        async move {
            if let Ok(stream) = acceptor.accept(peer.stream).await {
                handle(stream).await;
            }
        }
    })
    .await
}

async fn answer_once(mut stream: TlsStream<TcpStream>) {
    let mut head = vec![0; 4096];
    let _ = stream.read(&mut head).await;
    let _ = stream.write_all(OK.as_bytes()).await;
    let _ = stream.read(&mut head).await;
}

async fn get_securely(transport: &Transport, service: &Service) -> Result<Incoming, Fault> {
    let mut url = service.url("/?canary");
    url.set_scheme("https").unwrap();
    transport.send(&key(), &service.allowed(), request(Method::GET, url), &quick()).await
}

fn why(outcome: Result<Incoming, Fault>) -> String {
    outcome.unwrap_err().to_string()
}

#[tokio::test]
async fn a_service_of_an_authority_that_was_named_is_trusted() {
    let authority = Authority::new();
    let service = behind_tls(authority.acceptor("service.test", &["http/1.1"]), answer_once).await;
    assert_eq!(get_securely(&authority.transport(), &service).await.unwrap().body, "ok");
}

#[tokio::test]
async fn an_unknown_authority_another_name_and_no_tls_are_told_apart() {
    let (authority, other) = (Authority::new(), Authority::new());
    let service = behind_tls(authority.acceptor("service.test", &[]), answer_once).await;
    let sentence = why(get_securely(&other.transport(), &service).await);
    assert!(sentence.contains("not signed by an authority that this machine trusts"), "{sentence}");
    let service = behind_tls(authority.acceptor("other.test", &[]), answer_once).await;
    let sentence = why(get_securely(&authority.transport(), &service).await);
    assert!(sentence.contains("for another name") && !sentence.contains("other.test"), "{sentence}");
    let plain = Service::new(|mut peer| async move {
        let _ = peer.stream.write_all(OK.as_bytes()).await;
        peer.gone().await;
    })
    .await;
    let sentence = why(get_securely(&authority.transport(), &plain).await);
    assert!(sentence.contains("does not speak TLS"), "{sentence}");
}

#[tokio::test]
async fn a_file_of_authorities_that_cannot_be_used_is_an_error_that_names_it() {
    let service = Service::answering(OK).await;
    let empty = tempfile::NamedTempFile::new().unwrap();
    for file in [PathBuf::from("/does/not/exist.pem"), empty.path().to_owned()] {
        let transport = Transport::new(Script::new(&[&["127.0.0.1"]]), Some(file.clone()));
        let sentence = why(get_securely(&transport, &service).await);
        assert!(sentence.contains(&file.display().to_string()), "{sentence}");
        assert!(get(&transport, &service).await.is_ok(), "plain http needs no authorities");
    }
}

/// Answers every HTTP/2 stream as `answer` says.
async fn http2<F>(answer: F) -> (Authority, Service, Arc<AtomicUsize>)
where
    F: Fn(&mut h2::server::SendResponse<Bytes>) + Clone + Send + Sync + 'static,
{
    let authority = Authority::new();
    let streams = Arc::<AtomicUsize>::default();
    let seen = streams.clone();
    let service = behind_tls(authority.acceptor("service.test", &["h2"]), move |stream| {
        let (answer, seen) = (answer.clone(), seen.clone());
        async move {
            let mut connection = h2::server::handshake(stream).await.unwrap();
            while let Some(Ok((_, mut respond))) = connection.accept().await {
                seen.fetch_add(1, Ordering::SeqCst);
                answer(&mut respond);
            }
        }
    })
    .await;
    (authority, service, streams)
}

#[tokio::test]
async fn http2_is_spoken_where_it_is_offered_and_one_connection_is_enough() {
    let (authority, service, streams) = http2(|respond| {
        let mut body = respond.send_response(http::Response::new(()), false).unwrap();
        body.send_data("two".into(), true).unwrap();
    })
    .await;
    let transport = authority.transport();
    for _ in 0..3 {
        assert_eq!(get_securely(&transport, &service).await.unwrap().body, "two");
    }
    assert_eq!((service.connections(), streams.load(Ordering::SeqCst)), (1, 3));
}

#[tokio::test]
async fn a_stream_that_http2_calls_safe_to_repeat_is_not_repeated() {
    let (authority, service, streams) = http2(|respond| respond.send_reset(h2::Reason::REFUSED_STREAM)).await;
    let outcome = get_securely(&authority.transport(), &service).await;
    assert!(matches!(outcome, Err(Fault::Protocol(_))), "{outcome:?}");
    assert_eq!(streams.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_flood_of_headers_is_refused_over_http2_too() {
    let (authority, service, _) = http2(|respond| {
        let mut answer = http::Response::builder();
        for number in 0..100 {
            answer = answer.header(format!("x-{number}"), "v".repeat(1000));
        }
        respond.send_response(answer.body(()).unwrap(), true).unwrap();
    })
    .await;
    let outcome = get_securely(&authority.transport(), &service).await;
    assert!(matches!(outcome, Err(Fault::Protocol(_) | Fault::TooLarge { .. })), "{outcome:?}");
}

#[tokio::test]
async fn a_service_that_wants_a_certificate_is_shown_it_on_connections_of_its_own() {
    let authority = Authority::new();
    let service = behind_tls(authority.strict_acceptor("service.test"), |mut stream| async move {
        // Who it is stands in the answer: the length of the certificate that was shown.
        let shown = stream.get_ref().1.peer_certificates().unwrap()[0].len();
        loop {
            let mut head = vec![0; 4096];
            if stream.read(&mut head).await.unwrap_or(0) == 0 {
                return;
            }
            let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{shown}", shown.to_string().len());
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    })
    .await;
    let transport = authority.transport();
    let (short, long) = (authority.identity("jo"), authority.identity("somebody.with.a.long.name"));
    let send = async |identity: Option<&Identity>| {
        let mut url = service.url("/");
        url.set_scheme("https").unwrap();
        let outgoing = Outgoing { identity: identity.cloned(), ..request(Method::GET, url) };
        transport.send(&key(), &service.allowed(), outgoing, &quick()).await
    };
    let first = send(Some(&short)).await.unwrap().body;
    assert_eq!(send(Some(&short)).await.unwrap().body, first);
    assert_eq!(service.connections(), 1, "one connection speaks for one identity, again and again");
    assert_ne!(send(Some(&long)).await.unwrap().body, first);
    // Without one, no connection of somebody's is used, and there is none for nobody.
    let sentence = why(send(None).await);
    assert!(sentence.contains("it wants a client certificate"), "{sentence}");
    let stranger = Authority::new().identity("jo");
    assert!(send(Some(&stranger)).await.is_err());
}
