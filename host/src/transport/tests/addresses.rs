use super::*;

#[tokio::test]
async fn a_name_that_changes_to_a_forbidden_address_is_refused_with_the_next_connection() {
    let service = Service::new(|mut peer| async move {
        peer.request().await;
        let _ = peer.stream.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok").await;
    })
    .await;
    let resolver = Script::new(&[&["127.0.0.1"], &["169.254.169.254"]]);
    let transport = Transport::new(resolver.clone(), None);
    assert_eq!(get(&transport, &service).await.unwrap().body, "ok");
    assert_eq!(resolver.count(), 1, "what was judged is what was connected to");
    let (what, _) = denied(get(&transport, &service).await);
    assert!(what.contains("leads to 169.254.169.254"), "{what}");
    assert_eq!((resolver.count(), service.connections()), (2, 1));
}

#[tokio::test]
async fn a_connection_that_stays_open_is_looked_up_once() {
    let service = Service::answering(OK).await;
    let resolver = Script::new(&[&["127.0.0.1"], &["169.254.169.254"]]);
    let transport = Transport::new(resolver.clone(), None);
    for _ in 0..3 {
        assert_eq!(get(&transport, &service).await.unwrap().body, "ok");
    }
    assert_eq!((resolver.count(), service.connections()), (1, 1));
}

#[tokio::test]
async fn one_forbidden_answer_among_allowed_ones_keeps_everything_from_leaving() {
    let service = Service::answering(OK).await;
    for answer in
        [["127.0.0.1", "169.254.169.254"], ["127.0.0.1", "93.184.215.14"], ["::ffff:169.254.169.254", "127.0.0.1"]]
    {
        let transport = Transport::new(Script::new(&[&answer]), None);
        denied(get(&transport, &service).await);
    }
    assert_eq!(service.connections(), 0);
}

#[tokio::test]
async fn an_ipv4_address_inside_an_ipv6_one_is_no_way_in() {
    let service = Service::answering(OK).await;
    let mut url = service.url("/");
    url.set_scheme("https").unwrap();
    // The first leads to the service on this machine; the others do where a translator or a tunnel takes them there.
    for answer in ["::ffff:127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "::127.0.0.1"] {
        let resolver = Script::new(&[&[answer]]);
        let transport = Transport::new(resolver.clone(), None);
        let get = request(Method::GET, url.clone());
        let (what, _) = denied(transport.send(&key(), &PrivateAllowed::none(), get, &quick()).await);
        let address: std::net::IpAddr = answer.parse().unwrap();
        let sentence =
            format!("`https://{}` leads to {address}, which is this machine itself (loopback).", service.host_port());
        assert_eq!((what, resolver.count()), (sentence, 1), "{answer}");
    }
    assert_eq!(service.connections(), 0);
}

#[tokio::test]
async fn what_a_name_led_to_when_it_was_looked_at_is_not_believed_later() {
    let service = Service::answering(OK).await;
    let mut url = service.url("/");
    url.set_scheme("https").unwrap();
    let transport = Transport::new(Script::new(&[&["93.184.215.14"], &["127.0.0.1"]]), None);
    let nothing = PrivateAllowed::none();
    assert_eq!(transport.would_reach(&Origin::of(&url).unwrap(), &nothing, &quick()).await, Ok(Reach::Public));
    let (what, _) = denied(transport.send(&key(), &nothing, request(Method::GET, url), &quick()).await);
    assert!(what.ends_with("leads to 127.0.0.1, which is this machine itself (loopback)."), "{what}");
    assert_eq!(service.connections(), 0);
}

/// Fails once, then leads to loopback.
#[derive(Default)]
struct Failing(AtomicUsize);

#[async_trait::async_trait]
impl Resolver for Failing {
    async fn resolve(&self, _: &str) -> std::io::Result<Vec<std::net::IpAddr>> {
        match self.0.fetch_add(1, Ordering::SeqCst) {
            0 => Err(std::io::Error::other("a name server's own words")),
            _ => Ok(vec![[127, 0, 0, 1].into()]),
        }
    }
}

#[tokio::test]
async fn a_look_up_that_fails_is_an_error_of_its_own_and_not_remembered() {
    let service = Service::answering(OK).await;
    let transport = Transport::new(Arc::new(Failing::default()), None);
    let fault = get(&transport, &service).await.unwrap_err();
    assert_eq!(fault, Fault::Unreachable("There is no address for the name `service.test`.".into()));
    assert!(!fault.may_have_arrived());
    assert_eq!(get(&transport, &service).await.unwrap().body, "ok");
}

#[tokio::test]
async fn no_spelling_of_loopback_gets_through_unless_it_was_allowed() {
    let service = Service::answering(OK).await;
    let transport = Transport::new(Arc::new(SystemResolver), None);
    for host in [
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0177.0.0.1",
        "localhost",
        "LOCALHOST",
        "localhost.",
        "loc%61lhost",
        "①②⑦.0.0.1",
        "127。0。0。1",
        "127.0.0.1.",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[::127.0.0.1]",
        "[64:ff9b::127.0.0.1]",
        "0.0.0.0",
        "0",
        "[::]",
    ] {
        for scheme in ["http", "https"] {
            let url = Url::parse(&format!("{scheme}://{host}:{}/", service.port)).unwrap();
            let nothing = PrivateAllowed::none();
            denied(transport.send(&key(), &nothing, request(Method::GET, url.clone()), &quick()).await);
            denied(transport.would_reach(&Origin::of(&url).unwrap(), &nothing, &quick()).await);
        }
    }
    assert_eq!(service.connections(), 0);
    for host in ["127.0.0.1", "127.1", "localhost"] {
        let allowed = PrivateAllowed::parse([format!("{host}:{}", service.port)]).unwrap();
        let url = Url::parse(&format!("http://{host}:{}/", service.port)).unwrap();
        let answer = transport.send(&key(), &allowed, request(Method::GET, url), &quick()).await;
        assert_eq!(answer.unwrap().body, "ok", "{host}");
    }
}

#[tokio::test]
async fn where_a_request_would_go_is_known_before_it_is_sent() {
    let transport = Transport::new(Script::new(&[&["192.168.1.7"]]), None);
    let origin = Origin::parse("https://nas.example.com").unwrap();
    let (what, allow) = denied(transport.would_reach(&origin, &PrivateAllowed::none(), &quick()).await);
    assert_eq!(what, "`https://nas.example.com` leads to 192.168.1.7, which is an address of a private network.");
    assert_eq!(allow, "Allow it with `--allow-private nas.example.com:443`.");
    let allowed = PrivateAllowed::parse(["nas.example.com:443"]).unwrap();
    let reach = transport.would_reach(&origin, &allowed, &quick()).await;
    assert_eq!(reach, Ok(Reach::Private("an address of a private network")));
    let public = Transport::new(Script::new(&[&["93.184.215.14"]]), None);
    assert_eq!(public.would_reach(&origin, &PrivateAllowed::none(), &quick()).await, Ok(Reach::Public));
}

#[tokio::test]
async fn a_redirect_is_an_answer_and_not_followed() {
    let elsewhere = Service::answering(OK).await;
    for status in [301, 302, 303, 307, 308] {
        let answer =
            format!("HTTP/1.1 {status} Moved\r\nlocation: {}\r\ncontent-length: 0\r\n\r\n", elsewhere.url("/"));
        let answer = answer_to_get(answer).await.unwrap();
        assert_eq!(answer.status, status);
        assert_eq!(answer.headers["location"], elsewhere.url("/").as_str());
    }
    assert_eq!(elsewhere.connections(), 0);
}

/// The variable that makes `a_proxy_of_the_environment_is_not_used` its own child.
const CHILD: &str = "ATTACHE_TEST_BEHIND_PROXY";

#[tokio::test]
async fn a_proxy_of_the_environment_is_not_used() {
    let service = Service::answering(OK).await;
    if std::env::var_os(CHILD).is_some() {
        assert_eq!(get(&transport(), &service).await.unwrap().body, "ok");
        return;
    }
    let proxy = Service::answering("HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n").await;
    let mut child = tokio::process::Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", "transport::tests::addresses::a_proxy_of_the_environment_is_not_used"]).env(CHILD, "1");
    for name in ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"] {
        child.env(name, format!("http://127.0.0.1:{}", proxy.port));
    }
    let output = child.env_remove("NO_PROXY").env_remove("no_proxy").output().await.unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
    assert_eq!(proxy.connections(), 0);
}
