//! From a name to addresses, all of them, by whatever this machine uses for names.

use std::{io, net::IpAddr};

use async_trait::async_trait;

/// Looks names up. It judges nothing: that is the guard's, which sees every address that comes back.
#[async_trait]
pub trait Resolver: Send + Sync + 'static {
    /// Every address of a name, in the order in which they should be tried. A name without addresses is an error or an
    /// empty list. The caller bounds the time.
    async fn resolve(&self, name: &str) -> io::Result<Vec<IpAddr>>;
}

/// The system's own way (getaddrinfo(3)): `/etc/hosts`, nsswitch, mDNS, and the name servers of a VPN for the names that
/// are theirs.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemResolver;

#[async_trait]
impl Resolver for SystemResolver {
    async fn resolve(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        Ok(tokio::net::lookup_host((name, 0)).await?.map(|address| address.ip()).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn localhost_is_found_without_a_name_server() {
        let found = SystemResolver.resolve("localhost").await.unwrap();
        assert!(!found.is_empty() && found.iter().all(IpAddr::is_loopback), "{found:?}");
    }

    #[tokio::test]
    async fn a_name_that_cannot_exist_is_an_error() {
        assert!(SystemResolver.resolve("does-not-exist.invalid").await.is_err());
    }
}
