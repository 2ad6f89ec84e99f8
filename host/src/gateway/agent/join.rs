//! Being let in, once: the keys are made here and stay here, and the host gets to know the public ones.

use std::path::PathBuf;

use url::Url;

use super::{
    super::{
        channel::Purpose,
        code::Code,
        door::{Joining, ask_to_join},
    },
    dial::Way,
    files::{Folder, Keys, Membership},
    recovery,
};
use crate::{
    digest::Digest,
    error::{Kind, Result},
    secret::Secret,
    store::lock::Lock,
};

/// What is needed to join.
pub struct Join {
    /// Where the host is.
    pub host: Url,
    /// What the operator handed over.
    pub code: Secret,
    /// Of another machine of the same gateway, if there is one.
    pub recovery_key: Option<Secret>,
    /// Where what is kept goes.
    pub data_dir: PathBuf,
    /// Certificate authorities beside the machine's own.
    pub ca_file: Option<PathBuf>,
}

/// What a gateway is called, and what people compare.
#[derive(Debug)]
pub struct Joined {
    /// Its name.
    pub name: String,
    /// The environment that it is in.
    pub environment: String,
    /// The fingerprint of what its connections' credentials are sealed to.
    pub key: Digest,
}

/// Joins.
///
/// # Errors
/// `already-exists` where a gateway joined from here; `denied` where the code opens nothing, or another host answers than the
/// one that gave it; `unreachable`.
pub async fn join(join: Join) -> Result<Joined> {
    let folder = Folder::of(&join.data_dir)?;
    let _lock = Lock::acquire(&folder.path().join("lock"), super::run::LOCK_WAIT)?;
    if let Some(there) = folder.read()? {
        return Err(Kind::AlreadyExists
            .error(format!("This machine is the gateway `{}` of {} already.", there.name, there.host))
            .hint(format!(
                "Run it with `attache gateway run`; for another beside it, use another `--data-dir`. To join anew, move {} away.",
                folder.path().display()
            )));
    }
    let code: Code = std::str::from_utf8(join.code.expose())
        .map_err(|_| Kind::InvalidInput.error("The code is not text."))?
        .parse()?;
    let way = Way::to(&join.host, join.ca_file.as_ref())?;
    let keys = Keys::generate(join.recovery_key.as_ref().map(recovery::read).transpose()?)?;
    let key = keys.opening.public().clone();
    let channel = way.dial(&keys.identity()?, code.host, Purpose::Joining).await?;
    // On the disk before the host knows them: what is sealed to them later must be opened.
    let mut membership =
        Membership { host: join.host, host_key: code.host, name: String::new(), environment: String::new(), keys };
    folder.write(&membership)?;
    let text = String::from_utf8_lossy(code.text().expose()).into_owned();
    match ask_to_join(channel, &Joining { code: text, key: key.clone() }).await {
        Ok(joined) => {
            (membership.name, membership.environment) = (joined.name, joined.environment);
            folder.write(&membership)?;
            let Membership { name, environment, .. } = membership;
            Ok(Joined { name, environment, key: key.fingerprint() })
        }
        Err(error) => folder.forget().and(Err(error)),
    }
}
