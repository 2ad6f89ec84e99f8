//! TLS that ends here: one certificate, which may be replaced while the host runs.

use std::{
    fmt,
    fs::File,
    io::{self, Read},
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::serve::Listener;
use rustls::{
    ServerConfig,
    crypto::aws_lc_rs,
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
    version::{TLS12, TLS13},
};
use tokio::{
    net::TcpStream,
    sync::{Semaphore, mpsc},
    task::JoinHandle,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use zeroize::Zeroizing;

use super::prompt::Prompt;
use crate::{
    error::{Error, Kind, Result},
    store::refuse_shared,
    sync::lock,
    transport::certified_key,
};

/// How long a handshake may take; a phone on a bad line needs some seconds.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Handshakes at a time, each of which costs some 20 KiB: whoever begins them and goes no further keeps nobody out for long.
const HANDSHAKES: usize = 2_048;

/// Where a certificate and its private key are, both in PEM.
#[derive(Debug, Clone)]
pub struct TlsFiles {
    /// With its chain, the host's own first.
    pub certificate: PathBuf,
    /// Readable by its owner alone.
    pub key: PathBuf,
}

impl TlsFiles {
    fn read(&self) -> Result<CertifiedKey> {
        let chain = read(&self.certificate, |_| Ok(()))?;
        let key = read(&self.key, |file| refuse_shared(&self.key, file))?;
        certified_key(&chain, &key).map_err(|why| {
            let (certificate, key) = (self.certificate.display(), self.key.display());
            Kind::Usage.error(format!("TLS cannot be offered with {certificate} and {key}: {why}."))
        })
    }
}

fn read(path: &Path, judge: impl FnOnce(&File) -> Result<()>) -> Result<Zeroizing<Vec<u8>>> {
    let unreadable = |error: io::Error| -> Error {
        Kind::Usage.error(format!("{}, which TLS needs, cannot be read: {error}.", path.display()))
    };
    let mut file = File::open(path).map_err(unreadable)?;
    judge(&file)?;
    let mut bytes = Zeroizing::new(Vec::new());
    file.read_to_end(&mut bytes).map_err(unreadable)?;
    Ok(bytes)
}

/// The certificate that is shown now.
pub(super) struct Shown {
    files: TlsFiles,
    now: Mutex<Arc<CertifiedKey>>,
}

impl Shown {
    /// # Errors
    /// `usage` where the files cannot be read or do not belong together; `store-unavailable` where others can read the key.
    pub(super) fn of(files: TlsFiles) -> Result<Arc<Self>> {
        let now = Mutex::new(Arc::new(files.read()?));
        Ok(Arc::new(Self { files, now }))
    }

    /// Reads the files again. Connections that are there stay as they are.
    ///
    /// # Errors
    /// As when it began; then the one before goes on being shown.
    pub(super) fn renew(&self) -> Result<()> {
        let next = Arc::new(self.files.read()?);
        *lock(&self.now) = next;
        Ok(())
    }
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(lock(&self.now).clone())
    }
}

impl fmt::Debug for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Shown").field(&self.files).finish()
    }
}

/// Gives connections whose handshake is done. Handshakes go on beside each other: a slow one holds nobody up.
pub(crate) struct TlsListener {
    address: SocketAddr,
    shaken: mpsc::Receiver<(TlsStream<TcpStream>, SocketAddr)>,
    accepting: JoinHandle<()>,
}

impl TlsListener {
    pub(super) fn new(tcp: Prompt, shown: Arc<Shown>) -> Result<Self> {
        let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(&[&TLS13, &TLS12])
            .map_err(|error| broken(&error))?
            .with_no_client_auth()
            .with_cert_resolver(shown);
        Self::over(tcp, config)
    }

    /// With TLS that is set up so. HTTP/1.1 is what is spoken over it.
    ///
    /// # Errors
    /// `internal` where there is no address to listen on.
    pub(crate) fn over(tcp: Prompt, mut config: ServerConfig) -> Result<Self> {
        let address = tcp.local_addr().map_err(|error| broken(&error))?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let (give, shaken) = mpsc::channel(64);
        let accepting = tokio::spawn(accept(tcp, TlsAcceptor::from(Arc::new(config)), give));
        Ok(Self { address, shaken, accepting })
    }
}

fn broken(why: &dyn fmt::Display) -> Error {
    Kind::Internal.error(format!("TLS could not be set up on this machine: {why}."))
}

impl Drop for TlsListener {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(mut tcp: Prompt, tls: TlsAcceptor, give: mpsc::Sender<(TlsStream<TcpStream>, SocketAddr)>) {
    let room = Arc::new(Semaphore::new(HANDSHAKES));
    while let Ok(place) = room.clone().acquire_owned().await {
        let (stream, from) = tcp.accept().await;
        let (tls, give) = (tls.clone(), give.clone());
        tokio::spawn(async move {
            let _place = place;
            match tokio::time::timeout(HANDSHAKE, tls.accept(stream)).await {
                // Nobody takes it once the host stops.
                Ok(Ok(stream)) => drop(give.send((stream, from)).await),
                Ok(Err(error)) => tracing::debug!(%from, %error, "a TLS handshake failed"),
                Err(_) => tracing::debug!(%from, "a TLS handshake took too long"),
            }
        });
    }
}

impl Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        match self.shaken.recv().await {
            Some(shaken) => shaken,
            // Whoever accepts goes on for as long as this is here.
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        Ok(self.address)
    }
}
