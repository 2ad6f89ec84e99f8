use tokio::sync::mpsc;

use super::*;

/// Answers every request, and says when a connection is gone.
async fn telling(answer: &'static str) -> (Service, mpsc::UnboundedReceiver<usize>) {
    let (tell, told) = mpsc::unbounded_channel();
    let service = Service::new(move |mut peer| {
        let tell = tell.clone();
        async move {
            while peer.request().await.is_some() {
                let _ = peer.stream.write_all(answer.as_bytes()).await;
            }
            let _ = tell.send(peer.number);
        }
    })
    .await;
    (service, told)
}

async fn soon<T>(told: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(2), told).await.expect("the connection stayed open")
}

#[tokio::test]
async fn two_keys_never_share_a_connection() {
    let service = Service::answering(OK).await;
    let transport = transport();
    for name in ["one", "two", "one", "two"] {
        let get = request(Method::GET, service.url("/"));
        transport.send(&PoolKey::new(name), &service.allowed(), get, &quick()).await.unwrap();
    }
    assert_eq!(service.connections(), 2);
}

#[tokio::test]
async fn closing_a_pool_closes_its_idle_sockets_and_no_others() {
    let (service, mut gone) = telling(OK).await;
    let transport = transport();
    for name in ["one", "two"] {
        let get = request(Method::GET, service.url("/"));
        transport.send(&PoolKey::new(name), &service.allowed(), get, &quick()).await.unwrap();
    }
    transport.close(&PoolKey::new("one"));
    assert_eq!(soon(gone.recv()).await, Some(1));
    let get = request(Method::GET, service.url("/"));
    transport.send(&PoolKey::new("two"), &service.allowed(), get, &quick()).await.unwrap();
    assert_eq!(service.connections(), 2);
}

#[tokio::test]
async fn closing_a_pool_ends_what_is_under_way() {
    for begun in ["", "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nab"] {
        let (service, mut gone) = telling(begun).await;
        let transport = transport();
        let limits = Limits { total: Duration::from_secs(5), ..Limits::default() };
        let (outcome, ()) = tokio::join!(
            async {
                let get = request(Method::GET, service.url("/"));
                transport.send(&key(), &service.allowed(), get, &limits).await
            },
            async {
                while service.requests().is_empty() {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                transport.close(&key());
            }
        );
        let (what, _) = denied(outcome);
        assert!(what.ends_with("was closed while the request was under way."), "{what}");
        assert_eq!(soon(gone.recv()).await, Some(1));
    }
}

#[tokio::test]
async fn a_pool_can_be_used_again_after_it_was_closed() {
    let service = Service::answering(OK).await;
    let transport = transport();
    get(&transport, &service).await.unwrap();
    transport.close(&key());
    get(&transport, &service).await.unwrap();
    assert_eq!(service.connections(), 2);
}

#[tokio::test]
async fn many_at_once_each_get_their_own_answer() {
    let service = Service::new(|mut peer| async move {
        while let Some(request) = peer.request().await {
            let path = request.split(' ').nth(1).unwrap().to_owned();
            let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{path}", path.len());
            let _ = peer.stream.write_all(answer.as_bytes()).await;
        }
    })
    .await;
    let transport = Arc::new(transport());
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..64 {
        let (transport, allowed, url) = (transport.clone(), service.allowed(), service.url(&format!("/{number}")));
        tasks.spawn(async move {
            let answer = transport.send(&key(), &allowed, request(Method::GET, url), &Limits::default()).await;
            (number, answer.unwrap().body)
        });
    }
    while let Some(done) = tasks.join_next().await {
        let (number, body) = done.unwrap();
        assert_eq!(body, format!("/{number}"));
    }
    assert!(service.connections() <= 64);
}

#[tokio::test]
async fn a_service_that_is_not_there_is_unreachable() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let service = Service { port, connections: Arc::default(), requests: Arc::default() };
    let fault = get(&transport(), &service).await.unwrap_err();
    assert_eq!(fault, Fault::Unreachable(format!("`http://service.test:{port}` refused the connection.")));
    let nowhere = Transport::new(Script::new(&[&[]]), None);
    let fault = get(&nowhere, &service).await.unwrap_err();
    assert_eq!(fault, Fault::Unreachable("There is no address for the name `service.test`.".into()));
}

#[tokio::test]
async fn a_service_that_breaks_the_rules_again_and_again_is_spared() {
    let service = Service::answering("no HTTP\r\n\r\n").await;
    let transport = transport();
    let send = async || {
        let get = request(Method::GET, service.url("/"));
        transport.send_sparing(&key(), &service.allowed(), get, &quick()).await.unwrap_err()
    };
    for _ in 0..5 {
        let fault = send().await;
        assert!(matches!(fault, Fault::Protocol(_)), "{fault:?}");
    }
    let fault = send().await;
    assert!(matches!(fault, Fault::Spared { .. }), "{fault:?}");
    assert_eq!((service.requests().len(), service.connections()), (5, 5));
}

#[tokio::test]
async fn closing_a_pool_ends_what_is_under_way_beside_a_connection_that_was_given_up() {
    let service = Service::new(|mut peer| async move {
        while let Some(request) = peer.request().await {
            if request.starts_with("GET /broken") {
                let _ = peer.stream.write_all(b"no HTTP\r\n\r\n").await;
            }
        }
    })
    .await;
    let transport = transport();
    let send = async |path| {
        let get = request(Method::GET, service.url(path));
        transport.send(&key(), &service.allowed(), get, &Limits::default()).await
    };
    let (outcome, ()) = tokio::join!(send("/waits"), async {
        while service.requests().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let fault = send("/broken").await.unwrap_err();
        assert!(matches!(fault, Fault::Protocol(_)), "{fault:?}");
        transport.close(&key());
    });
    denied(outcome);
}

#[tokio::test]
async fn closing_a_pool_ends_what_is_under_way_on_a_client_that_made_room_for_others() {
    let service = Service::new(|mut peer| async move {
        while let Some(request) = peer.request().await {
            if !request.starts_with("GET /waits") {
                // It closes, since a process has not so many files.
                let answer = OK.replacen("\r\n", "\r\nconnection: close\r\n", 1);
                let _ = peer.stream.write_all(answer.as_bytes()).await;
                return;
            }
        }
    })
    .await;
    let transport = transport();
    // One more than are kept.
    let names: Vec<_> = (0..513).map(|number| format!("{number}.service.test:{}", service.port)).collect();
    let all = PrivateAllowed::parse(names.iter().cloned()).unwrap();
    let limits = Limits { total: Duration::from_secs(60), first_byte: Duration::from_secs(60), ..Limits::default() };
    let waits = async {
        let get = request(Method::GET, service.url("/waits"));
        transport.send(&key(), &service.allowed(), get, &limits).await
    };
    let (outcome, ()) = tokio::join!(waits, async {
        while service.requests().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        for name in &names {
            let get = request(Method::GET, format!("http://{name}/").parse().unwrap());
            transport.send(&PoolKey::new("others"), &all, get, &limits).await.unwrap();
        }
        transport.close(&key());
    });
    let (what, _) = denied(outcome);
    assert!(what.ends_with("was closed while the request was under way."), "{what}");
}
