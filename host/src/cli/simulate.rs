//! `attache simulate`: a provider to try connectors and clients against.

use std::{
    fs,
    io::{ErrorKind, Write},
    net::SocketAddr,
    path::{Path, PathBuf},
};

use serde_json::json;

use super::{Answer, given};
use crate::{
    error::{Kind, Result},
    simulate::{Change, Provider, Settings, Tls},
};

#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(super) struct Simulate {
    /// Where to listen, on loopback; port 0 is a free one
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// The public key, in PEM, of a client that signs assertions; may be repeated
    #[arg(long, value_name = "ID=FILE", value_parser = given::pair)]
    client_key: Vec<(String, String)>,
    /// The certificate, in PEM, that a client shows in the TLS handshake (RFC 8705, 2.2); may be repeated
    #[arg(long, value_name = "ID=FILE", value_parser = given::pair)]
    client_certificate: Vec<(String, String)>,
    /// The authority, in PEM, that certifies a client by the DNS name that is its id (RFC 8705, 2.1); may be repeated
    #[arg(long, value_name = "ID=FILE", value_parser = given::pair)]
    client_authority: Vec<(String, String)>,
    /// Speak TLS with a certificate that is made for this run; FILE gets it, for whoever is to trust it (`ca-file`)
    #[arg(long, value_name = "FILE", conflicts_with_all = ["tls_cert", "tls_key"])]
    tls: Option<PathBuf>,
    /// Speak TLS with this certificate, with its chain, in PEM
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// Its private key, in PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    #[command(flatten)]
    change: Change,
}

const HELP: &str = "\
Its URL is the first line on standard output, as soon as it listens. It keeps everything in memory and runs until it
is interrupted. `--help` says what each quirk is; all settings but --listen and --tls* can be changed while it runs:

  GET  URL/simulate/log        every request in order, with fingerprints in place of values
  GET  URL/simulate/counts     how often what was answered with which status
  POST URL/simulate/clock      {\"advance\": SECONDS}
  POST URL/simulate/settings   {\"access-lifetime\": 60, \"quirk\": [\"expires-missing\"]}
  POST URL/simulate/next       {\"endpoint\": \"token\", \"grant\": \"refresh_token\", \"times\": 2, \"status\": 503}
                               also: path, headers, body, redirect, delay-milliseconds, merge (over
                               the real answer), work (beside another answer), and hold and drop
                               (each `before` or `after` the work)
  POST URL/simulate/release    lets go of what is held; GET URL/simulate/held says how many are

Examples:
  attache simulate
  attache simulate --listen 127.0.0.1:9000 --client my-app:my-secret --access-lifetime 60
  attache simulate --like slack --approve
  attache simulate --quirk token-json --quirk expires-missing --rotation false
  attache simulate --tls simulated.pem --client my-app --client-certificate my-app=my-app.pem --quirk client-certificate";

impl Simulate {
    pub(super) async fn run(self) -> Result<Answer> {
        let change = Change {
            client_key: files("key", self.client_key)?,
            client_certificate: files("certificate", self.client_certificate)?,
            client_authority: files("authority", self.client_authority)?,
            ..self.change
        };
        let tls = match (&self.tls, &self.tls_cert, &self.tls_key) {
            (Some(file), _, _) => Some(made(file)?),
            (_, Some(certificate), Some(key)) => Some(Tls::of(&read(certificate)?, &read(key)?)?),
            _ => None,
        };
        let provider = Provider::listen(Settings::with(change)?, self.listen, tls).await?;
        let mut out = anstream::stdout();
        match writeln!(out, "{}", provider.url()).and_then(|()| out.flush()) {
            // Whoever chose the port knows the URL without reading it.
            Err(error) if error.kind() != ErrorKind::BrokenPipe => {
                return Err(Kind::Internal.error(format!("The URL could not be printed: {error}.")));
            }
            _ => {}
        }
        tokio::signal::ctrl_c()
            .await
            .map_err(|error| Kind::Internal.error(format!("There are no signals to wait for: {error}.")))?;
        Ok(Answer::new(json!({ "url": provider.url() }), ""))
    }
}

/// Makes a certificate, and leaves it where it is to be trusted from.
fn made(file: &Path) -> Result<Tls> {
    let tls = Tls::made()?;
    fs::write(file, tls.certificate()).map_err(|error| {
        Kind::Usage.error(format!("The certificate cannot be written to {}: {error}.", file.display()))
    })?;
    Ok(tls)
}

fn read(file: &Path) -> Result<Vec<u8>> {
    let unreadable =
        |error| Kind::Usage.error(format!("{}, which TLS needs, cannot be read: {error}.", file.display()));
    fs::read(file).map_err(unreadable)
}

/// As settings have them: `ID=PEM`.
fn files(what: &str, given: Vec<(String, String)>) -> Result<Option<Vec<String>>> {
    let read = |(id, path): (String, String)| {
        let pem = fs::read_to_string(&path).map_err(|error| {
            Kind::Usage.error(format!("The {what} of the client cannot be read from {path}: {error}."))
        })?;
        Ok(format!("{id}={pem}"))
    };
    if given.is_empty() { Ok(None) } else { given.into_iter().map(read).collect::<Result<_>>().map(Some) }
}
