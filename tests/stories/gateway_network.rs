//! How a gateway dials: by TLS, through a proxy, and out of a network that nobody dials into.

use std::{
    fs,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    process::{Command, Stdio},
    sync::{Arc, Mutex},
    thread,
};

use attache_tests::{Attache, line::Line, peers, service::Service, world::with_names};
use serde_json::json;

use crate::{
    gateway::{Gateway, SECRET, enroll, enroll_named, join},
    machine,
    mcp::soon,
    serving::Host,
};

/// A proxy of HTTP (RFC 9110, 9.3.6) that leads to this machine whatever it is asked for, and keeps what that was.
fn proxy() -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (url, asked) = (format!("http://{}", listener.local_addr().unwrap()), Arc::<Mutex<Vec<String>>>::default());
    let kept = asked.clone();
    thread::spawn(move || {
        for mut near in listener.incoming().flatten() {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                near.read_exact(&mut byte).unwrap();
                head.push(byte[0]);
            }
            kept.lock().unwrap().push(String::from_utf8_lossy(&head).lines().next().unwrap().to_owned());
            let far = TcpStream::connect("127.0.0.1:443").unwrap();
            near.write_all(b"HTTP/1.1 200 Connected\r\n\r\n").unwrap();
            for (mut from, mut to) in [(near.try_clone().unwrap(), far.try_clone().unwrap()), (far, near)] {
                thread::spawn(move || std::io::copy(&mut from, &mut to));
            }
        }
    });
    (url, asked)
}

#[test]
fn a_gateway_dials_by_tls_and_through_the_proxy_that_its_environment_names() {
    with_names(&["attache.example"], |world| {
        let service = Service::plain();
        let mut attache = world.attache(env!("CARGO_BIN_EXE_attache-under-test"));
        attache.add("http");
        let files = world.certified();
        let (certificate, key) = (files.certificate.to_str().unwrap(), files.key.to_str().unwrap());
        let tls = ["--tls-cert", certificate, "--tls-key", key, "--public-url", "https://attache.example"];
        let serve = ["serve", "--listen", "127.0.0.1:443"];
        let host = attache.command(&[&serve[..], &tls].concat()).stdout(Stdio::null()).spawn().unwrap();
        let _host = Host(host);
        soon("the host does not listen", || TcpStream::connect("127.0.0.1:443").is_ok());
        attache.set("SECRET", SECRET);
        let url = "https://attache.example";
        // One that does not trust the authority takes nobody's word.
        join(&machine(), url, &enroll_named(&attache, "stranger")).refused(6, "cannot be reached");
        let (proxy, asked) = proxy();
        let mut private = world.attache(env!("CARGO_BIN_EXE_attache-under-test"));
        private.set("HTTPS_PROXY", &proxy);
        let joined = join(&private, url, &enroll(&attache)).json();
        let mut gateway = Gateway(Some(private.begin(&["gateway", "run", "--allow", &service.authority()])));
        gateway.said("Connected to https://attache.example/");
        let (base, key) = (format!("base-url={}/", service.base()), joined["fingerprint"].as_str().unwrap());
        let fixed = ["connect", "http", "--auth", "basic", "--set", &base, "--set", "username=jo", "--yes"];
        let sealed = ["--secret", "password=env:SECRET", "--gateway", "plant", "--gateway-key", key];
        attache.run(&[&fixed[..], &sealed].concat()).done();
        let answer = attache.call("http", "get", &json!({ "path": "/x" }));
        assert_eq!(answer["status"], 200, "{answer}");
        let asked = asked.lock().unwrap().clone();
        assert_eq!(asked, ["CONNECT attache.example:443 HTTP/1.1"; 2], "once to join, and once to stay");
    });
}

/// In the test's own network are nginx and the gateway; the host is in another, and a wire between the two.
const APART: &str = "set -e; mount -t tmpfs none /run; ip netns add outside\n\
    ip link add inside0 type veth peer name outside0; ip link set outside0 netns outside\n\
    ip addr add 10.88.0.2/24 dev inside0; ip link set inside0 up\n\
    ip netns exec outside ip addr add 10.88.0.1/24 dev outside0; ip netns exec outside ip link set outside0 up\n\
    ip netns exec outside ip link set lo up\n";

/// Prints every attempt to open a TCP connection over the wire: from whom to whom.
const WATCH: &str = "import socket, sys\n\
    wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)); wire.bind(('inside0', 0))\n\
    print('watching', flush=True)\n\
    while True:\n\
    \x20   p = wire.recv(65535)\n\
    \x20   if p[12:14] == b'\\x08\\x00' and p[23] == 6:\n\
    \x20       t = 14 + (p[14] & 15) * 4\n\
    \x20       if p[t + 13] & 0x12 == 2: print(socket.inet_ntoa(p[26:30]), socket.inet_ntoa(p[30:34]), flush=True)\n";

#[test]
fn a_private_network_is_reached_and_nothing_dials_in() {
    with_names(&["erp.internal"], |_| {
        let made =
            Command::new("sh").args(["-c", APART]).env("PATH", "/usr/sbin:/sbin:/usr/bin:/bin").output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let nginx = peers::nginx_basic("jo", SECRET);
        let oidc = peers::oidc(&json!({}));
        let mut attache = machine();
        attache.add("http");
        attache.add("oauth");
        let wired = attache.folder().join("wire.log");
        let mut watch = Command::new(peers::installed("python/bin/python", "the Python of the peers"));
        let watch = watch.args(["-c", WATCH]).stdout(fs::File::create(&wired).unwrap()).spawn().unwrap();
        let _watch = Host(watch);
        let seen = || fs::read_to_string(&wired).unwrap();
        soon("nobody watches the wire", || seen().contains("watching"));
        let _host = outside(
            &attache,
            &["serve", "--listen", "10.88.0.1:7070", "--public-url", "https://attache.example", "--insecure"],
        );
        attache.set("SECRET", SECRET).set("MACHINE_SECRET", "machine-secret-of-the-test");
        let private = machine();
        // The host speaks plain http here, and the name of its certificate's owner is not what this story is about.
        let line = Line::to("http://10.88.0.1:7070");
        let key = join(&private, &line.url, &enroll(&attache)).json()["fingerprint"].as_str().unwrap().to_owned();
        let authority = format!("erp.internal:{}", nginx.port);
        let mut gateway =
            Gateway(Some(private.begin(&["gateway", "run", "--allow", &authority, "--allow", &oidc.peer.authority()])));
        gateway.said("Connected to");
        let base = format!("base-url=http://{authority}/");
        let fixed = ["connect", "http", "--auth", "basic", "--set", &base, "--set", "username=jo", "--yes"];
        let sealed = ["--secret", "password=env:SECRET", "--gateway", "plant", "--gateway-key", &key];
        attache.run(&[&fixed[..], &sealed].concat()).done();
        let answer = attache.call("http", "get", &json!({ "path": "/x" }));
        assert_eq!(answer["json"], json!({ "user": "jo" }), "{answer}");
        // A provider that only the gateway can reach signs its connection in, and renews it.
        let (provider, to) = (oidc.peer.base(), ["--gateway", "plant", "--gateway-key", &key]);
        let app = ["app", "set", "oauth", "--client-id", "machine", "--client-secret", "env:MACHINE_SECRET"];
        attache.run(&[&app[..], &["--origin", &provider], &to].concat()).done();
        let set = [format!("base={provider}"), format!("issuer={provider}")];
        let robot = ["connect", "oauth", "--auth", "machine", "--set", &set[0], "--set", &set[1], "--yes"];
        attache.run(&[&robot[..], &["--client-credentials"], &to].concat()).done();
        oidc.forget_access_tokens();
        let input = json!({ "url": format!("{provider}/api/me") });
        assert_eq!(attache.call("oauth", "send", &input)["status"], 200);
        // The host cannot reach it by itself.
        let direct = ["--name", "direct", "--secret", "password=env:SECRET", "--allow-private", &authority];
        attache.run(&[&fixed[..], &direct].concat()).refused(6, "refused the connection");
        // That the watch sees who dials in: somebody does, to a port where nobody listens.
        let dialled: Vec<String> = seen().lines().skip(1).map(str::to_owned).collect();
        assert!(!dialled.is_empty() && dialled.iter().all(|line| line == "10.88.0.2 10.88.0.1"), "{dialled:?}");
        knock_from_outside();
        soon("the watch is blind", || seen().contains("10.88.0.1 10.88.0.2"));
    });
}

fn knock_from_outside() {
    let python = peers::installed("python/bin/python", "the Python of the peers");
    let script = "import socket; socket.socket().connect_ex(('10.88.0.2', 9))";
    let knocked = Command::new("ip").args(["netns", "exec", "outside"]).arg(python).args(["-c", script]).status();
    assert!(knocked.unwrap().success());
}

/// Starts a host in the other network.
fn outside(attache: &Attache, arguments: &[&str]) -> Host {
    let command = attache.command(arguments);
    let mut wrapped = Command::new("ip");
    wrapped.args(["netns", "exec", "outside"]).arg(command.get_program()).args(command.get_args()).env_clear();
    for (name, value) in command.get_envs() {
        wrapped.env(name, value.unwrap_or_default());
    }
    wrapped.env("PATH", "/usr/sbin:/sbin:/usr/bin:/bin").current_dir(attache.folder());
    let mut host = wrapped.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    let mut url = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(host.stdout.take().unwrap()), &mut url).unwrap();
    assert!(url.starts_with("http"), "it did not start: {url}");
    Host(host)
}
