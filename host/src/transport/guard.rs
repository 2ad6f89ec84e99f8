//! One look-up per connection, every answer judged, and only what was judged is connected to.

use std::{
    collections::VecDeque,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::time::timeout;
use url::Host;

use super::{
    address::{Reach, judge},
    fault::{Fault, Stage},
    private::{HostPort, PrivateAllowed},
    resolver::Resolver,
};
use crate::{
    origin::{Origin, Scheme},
    sync::lock,
};

/// How many judged addresses are remembered for the check of a connection's peer: far more than connections are open to
/// one origin, and a bound against name servers that never answer the same twice.
const REMEMBERED: usize = 1024;

/// What an origin's addresses may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Policy {
    /// The operator allowed this host and port to be private.
    private: bool,
    /// Plain http: private is then the only thing it may be.
    plain: bool,
}

impl Policy {
    /// The policy for an origin, which is refused here if no look-up could make it right. A host that is an address already
    /// is judged here too: the HTTP client connects to it without asking anybody.
    pub(super) fn of(origin: &Origin, allowed: &PrivateAllowed) -> Result<Self, Fault> {
        let private = allowed.covers(origin);
        let plain = origin.scheme() == Scheme::Http;
        if origin.port() == 0 {
            return Err(Fault::Denied {
                what: format!("`{origin}` has port 0, where nothing can listen."),
                allow: "Name the port that the service listens on.".into(),
            });
        }
        match origin.host() {
            // RFC 1034, 3.1: `example.com.` is the same name and yet another origin, so one spelling has to do.
            Host::Domain(name) if name.ends_with('.') => Err(Fault::Denied {
                what: format!("The host of `{origin}` ends with a dot."),
                allow: "Write the host without it.".into(),
            }),
            _ if plain && !private => Err(Fault::Denied {
                what: format!("`{origin}` is plain http, which sends credentials in clear."),
                allow: format!(
                    "Use https://; or, for a service of your own network, allow it with `--allow-private {}`.",
                    HostPort::of(origin)
                ),
            }),
            _ => {
                let policy = Self { private, plain };
                if let Some(address) = literal(origin) {
                    policy.admit(origin, address)?;
                }
                Ok(policy)
            }
        }
    }

    /// Judges one address of an origin.
    fn admit(self, origin: &Origin, address: IpAddr) -> Result<Reach, Fault> {
        let reach = judge(address);
        // An address that the URL names itself need not be said twice.
        let is = || match origin.host() {
            Host::Domain(_) => format!("`{origin}` leads to {address}, which is"),
            Host::Ipv4(_) | Host::Ipv6(_) => format!("`{origin}` is"),
        };
        match reach {
            Reach::Public if self.plain => Err(Fault::Denied {
                what: format!("{} a public address, and plain http would send credentials to it in clear.", is()),
                allow: "Use https://.".into(),
            }),
            Reach::Private(why) if !self.private => Err(Fault::Denied {
                what: format!("{} {why}.", is()),
                allow: format!("Allow it with `--allow-private {}`.", HostPort::of(origin)),
            }),
            Reach::Never(why) => Err(Fault::Denied {
                what: format!("{} {why}.", is()),
                allow: "Nothing allows it; name the address of the service itself.".into(),
            }),
            Reach::Public | Reach::Private(_) => Ok(reach),
        }
    }
}

/// Stands between one origin and its addresses, for as long as a client of that origin lives.
pub(super) struct Guard {
    origin: Origin,
    policy: Policy,
    resolver: Arc<dyn Resolver>,
    limit: Duration,
    judged: Mutex<VecDeque<IpAddr>>,
}

impl Guard {
    /// A guard whose look-ups take `limit` at most.
    pub(super) fn new(origin: Origin, policy: Policy, resolver: Arc<dyn Resolver>, limit: Duration) -> Self {
        Self { origin, policy, resolver, limit, judged: Mutex::default() }
    }

    /// One look-up: every address, all of them admitted, and the strictest verdict. One that is not admitted refuses the
    /// name as a whole, since a name that mixes them is how rebinding begins.
    pub(super) async fn look_up(&self) -> Result<(Vec<IpAddr>, Reach), Fault> {
        let found = match self.origin.host() {
            Host::Ipv4(address) => vec![(*address).into()],
            Host::Ipv6(address) => vec![(*address).into()],
            Host::Domain(name) => match timeout(self.limit, self.resolver.resolve(name)).await {
                Ok(Ok(found)) if !found.is_empty() => found,
                Ok(_) => return Err(Fault::Unreachable(format!("There is no address for the name `{name}`."))),
                Err(_) => {
                    return Err(Fault::Timeout {
                        origin: self.origin.clone(),
                        stage: Stage::Resolve,
                        limit: self.limit,
                    });
                }
            },
        };
        let mut reach = Reach::Public;
        for address in &found {
            reach = self.policy.admit(&self.origin, *address)?.stricter(reach);
        }
        Ok((found, reach))
    }

    /// Whether this is an address that was judged, to be asked of a connection's peer.
    pub(super) fn has_judged(&self, peer: IpAddr) -> bool {
        match literal(&self.origin) {
            Some(address) => address == peer,
            None => lock(&self.judged).contains(&peer),
        }
    }

    fn remember(&self, addresses: &[IpAddr]) {
        let mut judged = lock(&self.judged);
        for address in addresses {
            judged.retain(|known| known != address);
            judged.push_back(*address);
        }
        let excess = judged.len().saturating_sub(REMEMBERED);
        judged.drain(..excess);
    }
}

fn literal(origin: &Origin) -> Option<IpAddr> {
    match origin.host() {
        Host::Ipv4(address) => Some((*address).into()),
        Host::Ipv6(address) => Some((*address).into()),
        Host::Domain(_) => None,
    }
}

/// The guard as the HTTP client's resolver: asked once for every connection that is opened, and connected to is what it
/// answers.
pub(super) struct Pinned(pub(super) Arc<Guard>);

impl reqwest::dns::Resolve for Pinned {
    fn resolve(&self, name: reqwest::dns::Name) -> reqwest::dns::Resolving {
        let guard = self.0.clone();
        Box::pin(async move {
            // The client took the name out of the same URL; should it ever read it otherwise, nothing is connected to.
            if !matches!(guard.origin.host(), Host::Domain(own) if own == name.as_str()) {
                let what = format!("The HTTP client asked for another host than that of `{}`.", guard.origin);
                let allow = "Nothing allows it; this is a defect of Attaché's.".into();
                return Err(Fault::Denied { what, allow }.into());
            }
            let (addresses, _) = guard.look_up().await?;
            guard.remember(&addresses);
            let port = guard.origin.port();
            let pinned = addresses.into_iter().map(move |address| SocketAddr::new(address, port));
            Ok(Box::new(pinned) as reqwest::dns::Addrs)
        })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::{io, str::FromStr};

    use async_trait::async_trait;
    use reqwest::dns::Resolve;

    use super::*;

    /// Gives its answers one after another, then the last one for ever, and counts.
    #[derive(Default)]
    pub(crate) struct Script {
        answers: Mutex<VecDeque<Vec<IpAddr>>>,
        pub(crate) delay: Duration,
        pub(crate) asked: Mutex<Vec<String>>,
    }

    impl Script {
        pub(crate) fn new(answers: &[&[&str]]) -> Arc<Self> {
            let parse = |answer: &&[&str]| answer.iter().map(|text| text.parse().unwrap()).collect();
            Arc::new(Self { answers: Mutex::new(answers.iter().map(parse).collect()), ..Self::default() })
        }

        pub(crate) fn count(&self) -> usize {
            self.asked.lock().unwrap().len()
        }
    }

    #[async_trait]
    impl Resolver for Script {
        async fn resolve(&self, name: &str) -> io::Result<Vec<IpAddr>> {
            self.asked.lock().unwrap().push(name.to_owned());
            tokio::time::sleep(self.delay).await;
            let mut answers = self.answers.lock().unwrap();
            let next = if answers.len() > 1 { answers.pop_front() } else { answers.front().cloned() };
            next.ok_or_else(|| io::Error::other("no such name"))
        }
    }

    fn guard(origin: &str, allowed: &[&str], answers: &[&[&str]]) -> Result<Guard, Fault> {
        let origin = Origin::parse(origin).unwrap();
        let policy = Policy::of(&origin, &PrivateAllowed::parse(allowed).unwrap())?;
        Ok(Guard::new(origin, policy, Script::new(answers), Duration::from_millis(50)))
    }

    async fn look_up(origin: &str, allowed: &[&str], answer: &[&str]) -> Result<Reach, Fault> {
        Ok(guard(origin, allowed, &[answer])?.look_up().await?.1)
    }

    fn denied(outcome: Result<impl std::fmt::Debug, Fault>) -> (String, String) {
        match outcome {
            Err(Fault::Denied { what, allow }) => (what, allow),
            other => panic!("not denied: {other:?}"),
        }
    }

    #[tokio::test]
    async fn a_public_name_is_admitted() {
        let reach = look_up("https://api.example.com", &[], &["93.184.215.14", "2606:4700::1111"]).await;
        assert_eq!(reach, Ok(Reach::Public));
    }

    #[tokio::test]
    async fn a_private_name_is_refused_with_the_option_that_allows_it() {
        let (what, allow) = denied(look_up("https://nas.example.com:8443", &[], &["192.168.1.7"]).await);
        assert_eq!(
            what,
            "`https://nas.example.com:8443` leads to 192.168.1.7, which is an address of a private network."
        );
        assert_eq!(allow, "Allow it with `--allow-private nas.example.com:8443`.");
    }

    #[tokio::test]
    async fn what_the_option_allows_is_admitted_and_still_called_private() {
        let reach = look_up("https://nas:8443", &["nas:8443"], &["192.168.1.7"]).await.unwrap();
        assert!(matches!(reach, Reach::Private(_)), "{reach:?}");
    }

    #[tokio::test]
    async fn one_private_answer_among_public_ones_refuses_the_name() {
        for answer in [["93.184.215.14", "10.0.0.1"], ["10.0.0.1", "93.184.215.14"], ["2606:4700::1111", "::1"]] {
            denied(look_up("https://api.example.com", &[], &answer).await);
        }
    }

    #[tokio::test]
    async fn one_answer_that_nothing_may_reach_refuses_an_allowed_name() {
        let answer = ["192.168.1.7", "169.254.169.254"];
        let (what, allow) = denied(look_up("https://nas:8443", &["nas:8443"], &answer).await);
        assert!(what.contains("169.254.169.254"), "{what}");
        assert!(allow.starts_with("Nothing allows it"), "{allow}");
    }

    #[tokio::test]
    async fn mapped_and_translated_answers_are_judged_by_what_they_carry() {
        for answer in ["::ffff:10.0.0.1", "64:ff9b::a00:1", "64:ff9b::808:808", "2002:a00:1::", "::ffff:8.8.8.8"] {
            denied(look_up("https://api.example.com", &[], &[answer]).await);
        }
        denied(look_up("https://nas:443", &["nas:443"], &["64:ff9b::a9fe:a9fe"]).await);
    }

    #[tokio::test]
    async fn plain_http_needs_an_allowed_and_private_address() {
        let (what, allow) = denied(look_up("http://nas:80", &[], &["192.168.1.7"]).await);
        assert_eq!(what, "`http://nas` is plain http, which sends credentials in clear.");
        assert!(allow.ends_with("allow it with `--allow-private nas:80`."), "{allow}");
        let (what, _) = denied(look_up("http://nas:80", &["nas:80"], &["93.184.215.14"]).await);
        assert!(what.contains("public"), "{what}");
        denied(look_up("http://nas:80", &["nas:80"], &["192.168.1.7", "93.184.215.14"]).await);
        assert!(look_up("http://nas:80", &["nas:80"], &["192.168.1.7"]).await.is_ok());
    }

    #[tokio::test]
    async fn an_address_in_the_url_is_judged_without_a_look_up() {
        for origin in ["https://127.1", "https://[::1]:8443", "https://[::ffff:10.0.0.1]", "https://0x7f.1"] {
            denied(guard(origin, &[], &[]).map(|guard| guard.policy));
        }
        assert!(guard("https://8.8.8.8", &[], &[]).is_ok());
        assert!(guard("http://127.0.0.1:80", &["127.1:80"], &[]).is_ok());
        let (what, allow) = denied(guard("https://169.254.169.254", &[], &[]).map(|guard| guard.policy));
        assert!(what.starts_with("`https://169.254.169.254` is a link-local address"), "{what}");
        assert!(allow.starts_with("Nothing allows it"), "{allow}");
    }

    #[tokio::test]
    async fn a_dot_at_the_end_and_port_zero_are_refused() {
        denied(look_up("https://api.example.com.", &[], &["93.184.215.14"]).await);
        denied(look_up("https://api.example.com:0", &[], &["93.184.215.14"]).await);
    }

    #[tokio::test]
    async fn a_name_without_addresses_and_a_slow_one_are_told_apart() {
        assert!(matches!(look_up("https://a.example.com", &[], &[]).await, Err(Fault::Unreachable(_))));
        let slow = Script { delay: Duration::from_secs(5), ..Script::default() };
        let origin = Origin::parse("https://a.example.com").unwrap();
        let policy = Policy::of(&origin, &PrivateAllowed::none()).unwrap();
        let guard = Guard::new(origin, policy, Arc::new(slow), Duration::from_millis(20));
        assert!(matches!(guard.look_up().await, Err(Fault::Timeout { stage: Stage::Resolve, .. })));
    }

    #[tokio::test]
    async fn each_connection_is_judged_anew_and_pinned_to_what_was_judged() {
        let guard = guard("https://api.example.com", &[], &[&["93.184.215.14"], &["127.0.0.1"]]).unwrap();
        let pinned = Pinned(Arc::new(guard));
        let name = || reqwest::dns::Name::from_str("api.example.com").unwrap();
        let first: Vec<_> = pinned.resolve(name()).await.unwrap().collect();
        assert_eq!(first, [SocketAddr::from(([93, 184, 215, 14], 443))]);
        assert!(pinned.0.has_judged("93.184.215.14".parse().unwrap()));
        let second = pinned.resolve(name()).await.map(|addresses| addresses.collect::<Vec<_>>()).unwrap_err();
        assert!(matches!(second.downcast_ref(), Some(Fault::Denied { .. })));
        assert!(!pinned.0.has_judged("127.0.0.1".parse().unwrap()));
    }

    #[tokio::test]
    async fn another_name_than_the_origins_is_never_looked_up() {
        let pinned = Pinned(Arc::new(guard("https://api.example.com", &[], &[&["93.184.215.14"]]).unwrap()));
        let other = reqwest::dns::Name::from_str("evil.example.com").unwrap();
        assert!(pinned.resolve(other).await.is_err());
    }

    #[test]
    fn what_is_remembered_has_a_bound() {
        let guard = guard("https://api.example.com", &[], &[]).unwrap();
        for round in 0..2 * REMEMBERED as u32 {
            guard.remember(&[std::net::Ipv4Addr::from_bits(round).into()]);
        }
        assert_eq!(guard.judged.lock().unwrap().len(), REMEMBERED);
        assert!(!guard.has_judged("0.0.0.1".parse().unwrap()));
    }
}
