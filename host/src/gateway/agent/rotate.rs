//! Getting another key. The new one is on the disk beside the old one before anything is sealed to it, and takes its place once the
//! host says which of them it goes by: whatever breaks in between, one of both opens every box.

use std::path::PathBuf;

use super::{
    super::{channel::Purpose, key::OpeningKey, rotation},
    dial::Way,
    files::Folder,
    run::LOCK_WAIT,
};
use crate::{digest::Digest, error::Result, store::lock::Lock};

/// What is needed to rotate.
pub struct Rotate {
    /// Where the keys are kept.
    pub data_dir: PathBuf,
    /// Certificate authorities beside the machine's own.
    pub ca_file: Option<PathBuf>,
}

/// What came of it.
pub struct Rotated {
    /// The gateway's name.
    pub name: String,
    /// The fingerprint of its key before.
    pub before: Digest,
    /// And now.
    pub key: Digest,
    /// How many boxes were sealed anew.
    pub boxes: usize,
}

/// Makes another key, has everything sealed to it, and forgets the old one.
///
/// # Errors
/// `not-found` where no gateway joined from here; `store-unavailable` while it runs; as for the host's part.
pub async fn rotate(how: Rotate) -> Result<Rotated> {
    let folder = Folder::of(&how.data_dir)?;
    let _lock = Lock::acquire(&folder.path().join("lock"), LOCK_WAIT)?;
    let mut membership = folder.joined()?;
    let way = Way::to(&membership.host, how.ca_file.as_ref())?;
    // One of an attempt that broke off may be the host's already.
    let new = match membership.keys.next.take() {
        Some(next) => next,
        None => OpeningKey::generate()?,
    };
    let (before, key) = (membership.keys.opening.public().fingerprint(), new.public().fingerprint());
    membership.keys.next = Some(new);
    folder.write(&membership)?;
    let stream = way.dial(&membership.keys.identity()?, membership.host_key, Purpose::Rotating).await?;
    let keys = &membership.keys;
    let boxes = match &keys.next {
        Some(next) => rotation::ask(stream, &keys.opening, next).await?,
        None => 0,
    };
    membership.keys.promote();
    folder.write(&membership)?;
    Ok(Rotated { name: membership.name, before, key, boxes })
}
