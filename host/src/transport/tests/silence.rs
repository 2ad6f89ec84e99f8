use std::io;

use http::HeaderValue;
use tracing_subscriber::fmt::MakeWriter;

use super::*;

const CANARY: &str = "canary-5f3a9c";

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Log {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

/// A request with the canary in each place where a credential may be.
fn secretive(service: &Service) -> Outgoing {
    let mut post = request(Method::POST, service.url(&format!("/{CANARY}?key={CANARY}#{CANARY}")));
    let mut value = HeaderValue::from_static(CANARY);
    value.set_sensitive(true);
    post.headers.insert("x-key", value);
    post.body = CANARY.into();
    post
}

#[tokio::test]
async fn errors_and_logs_at_every_level_keep_silent_about_the_request() {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(log.clone()).finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    tracing::trace!("the log works");
    let mut texts = Vec::new();
    for answer in [
        OK.to_owned(),
        format!("{CANARY}\r\n\r\n"),
        format!("HTTP/1.1 200 OK\r\n{CANARY}\r\n\r\n"),
        format!("HTTP/1.1 200 OK\r\ncontent-length: {CANARY}\r\n\r\n"),
        format!("HTTP/1.1 200 OK\r\ncontent-encoding: {CANARY}\r\ncontent-length: 2\r\n\r\nok"),
        format!("HTTP/1.1 200 OK\r\ntransfer-encoding: {CANARY}\r\n\r\n"),
        "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n".to_owned(),
        "HTTP/1.1 200 OK\r\ncontent-length: 99999999\r\n\r\n".to_owned(),
        "HTTP/1.1 101 Switching Protocols\r\n\r\n".to_owned(),
    ] {
        let service = Service::answering(&answer).await;
        match transport().send(&key(), &service.allowed(), secretive(&service), &quick()).await {
            Ok(answer) => texts.push(format!("{answer:?}")),
            Err(fault) => {
                texts.push(format!("{fault} {fault:?}"));
                texts.push(format!("{:?}", crate::error::Error::from(fault)));
            }
        }
        texts.push(format!("{:?}", secretive(&service)));
    }
    for begun in ["", "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nab"] {
        let service = Service::new(move |mut peer| async move {
            peer.request().await;
            let _ = peer.stream.write_all(begun.as_bytes()).await;
            tokio::time::sleep(Duration::from_millis(20)).await;
            let _ = peer.stream.set_zero_linger();
        })
        .await;
        let fault = transport().send(&key(), &service.allowed(), secretive(&service), &quick()).await.unwrap_err();
        assert!(fault.to_string().contains("broke: connection reset"), "{fault}");
        texts.push(format!("{fault} {fault:?}"));
    }
    let service = Service::answering(OK).await;
    for refused in [PrivateAllowed::none(), service.allowed()] {
        let forbidden = Transport::new(Script::new(&[&["169.254.169.254"]]), None);
        let fault = forbidden.send(&key(), &refused, secretive(&service), &quick()).await.unwrap_err();
        texts.push(format!("{fault} {fault:?}"));
    }
    texts.push(String::from_utf8(log.0.lock().unwrap().clone()).unwrap());
    let log = texts.last().unwrap();
    assert!(log.contains("the log works") && log.contains("answered"), "{log}");
    for text in &texts {
        let at = text.find(CANARY);
        assert!(at.is_none(), "{}", &text[at.unwrap().saturating_sub(300)..]);
    }
}

#[test]
fn the_canary_would_be_found() {
    let service = Service { port: 1, connections: Arc::default(), requests: Arc::default() };
    let url = secretive(&service).url;
    assert!(format!("{url}").contains(CANARY) && format!("{url:?}").contains(CANARY));
}
