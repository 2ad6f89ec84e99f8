//! The connectors' files: the bytes as they were added, and beside them what was compiled of them.
//!
//! Compiled code runs as it is, so a file of it is loaded only if this host wrote it: each carries an HMAC under a key
//! from the sealed store, over the connector's digest, the engine's own hash of its version and configuration, and the
//! code. A file that fails that is not an error but a file to write again from the bytes, whose digest is checked too.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    hash::{Hash, Hasher},
    io::{self, ErrorKind, Write},
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard},
};

use aws_lc_rs::hmac;

use super::{Component, Inspected, Runtime, engine::Engine};
use crate::{
    digest::Digest,
    error::{Error, Kind, Result},
    secret::Secret,
    store::{dir::create_private, unfinished},
};

const MAC_BYTES: usize = 32;

/// Where connectors are kept, below the data directory.
pub struct Library {
    directory: PathBuf,
    key: hmac::Key,
    /// Nothing is removed while somebody reads it.
    removing: RwLock<()>,
}

impl Library {
    /// Opens the library below a data directory. The key is one that only the sealed store has.
    ///
    /// # Errors
    /// `store-unavailable` where its directories cannot be made.
    pub fn open(data_directory: &Path, key: &Secret) -> Result<Self> {
        let directory = Self::directory(data_directory);
        create_private(&directory)?;
        Ok(Self { directory, key: hmac::Key::new(hmac::HMAC_SHA256, key.expose()), removing: RwLock::default() })
    }

    /// The directory of a data directory's library.
    pub(crate) fn directory(data_directory: &Path) -> PathBuf {
        data_directory.join("connectors")
    }

    /// Keeps all that there is until what is given is dropped.
    pub(crate) fn hold(&self) -> RwLockReadGuard<'_, ()> {
        self.removing.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The files of all connectors, open, so that they can be read whatever is removed later.
    ///
    /// # Errors
    /// `store-unavailable` where they cannot be opened.
    pub(crate) fn open_all(&self) -> Result<BTreeMap<Digest, File>> {
        let fault = |error: io::Error| unavailable(&self.directory, &error);
        let mut all = BTreeMap::new();
        for entry in fs::read_dir(&self.directory).map_err(fault)? {
            let path = entry.map_err(fault)?.path();
            let is_connector = path.extension().is_some_and(|extension| extension == "wasm");
            let digest = path.file_stem().and_then(|stem| stem.to_str()?.parse().ok()).filter(|_| is_connector);
            if let Some(digest) = digest {
                all.insert(digest, File::open(&path).map_err(fault)?);
            }
        }
        Ok(all)
    }

    /// Puts a connector's bytes into the library that is at `directory`.
    ///
    /// # Errors
    /// `store-unavailable` where the file cannot be written.
    pub(crate) fn put(directory: &Path, bytes: &[u8]) -> Result<Digest> {
        create_private(directory)?;
        let digest = Digest::of(bytes);
        write_whole(&bytes_path(directory, digest), &[bytes])?;
        Ok(digest)
    }

    /// Keeps a connector that was inspected: its bytes, and the compiled form.
    ///
    /// # Errors
    /// `store-unavailable` where the files cannot be written.
    pub fn keep(&self, runtime: &Runtime, bytes: &[u8], inspected: &Inspected) -> Result<Digest> {
        let digest = Digest::of(bytes);
        write_whole(&self.bytes_path(digest), &[bytes])?;
        self.keep_compiled(runtime, digest, inspected)?;
        Ok(digest)
    }

    /// Removes a connector's files; what is not there is no error.
    ///
    /// # Errors
    /// `store-unavailable` where they cannot be removed.
    pub fn remove(&self, digest: Digest) -> Result<()> {
        let _removing = self.removing.write().unwrap_or_else(PoisonError::into_inner);
        let prefix = digest.to_string();
        let entries = fs::read_dir(&self.directory).map_err(|error| unavailable(&self.directory, &error))?;
        for entry in entries.flatten().filter(|entry| entry.file_name().to_string_lossy().starts_with(&prefix)) {
            match fs::remove_file(entry.path()) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(unavailable(&entry.path(), &error)),
                _ => {}
            }
        }
        Ok(())
    }

    /// Loads a connector: the compiled file where it is good, else compiled again from the bytes and kept.
    ///
    /// # Errors
    /// `store-damaged` where the bytes are gone or are not those that were approved.
    pub async fn load(&self, runtime: &Arc<Runtime>, digest: Digest) -> Result<Component> {
        for concurrent in [false, true] {
            let path = self.compiled_path(runtime, digest, concurrent);
            let Some(file) = read_if_there(&path) else { continue };
            let engine = engine(runtime, concurrent)?;
            if let Some(component) = self.load_compiled(engine, digest, &path, &file) {
                return Component::link(runtime, engine, &component);
            }
        }
        tracing::info!(digest = %digest.short(), "compiling the connector");
        let inspected = Component::inspect(runtime, self.read(digest)?).await?;
        if let Err(error) = self.keep_compiled(runtime, digest, &inspected) {
            tracing::warn!(%error, "the compiled connector was not kept");
        }
        Ok(inspected.component)
    }

    /// A connector's bytes.
    ///
    /// # Errors
    /// `store-damaged` where they are gone or are not those that were approved.
    pub fn read(&self, digest: Digest) -> Result<Vec<u8>> {
        let path = self.bytes_path(digest);
        let damaged = |why: String| {
            Kind::StoreDamaged
                .error(format!("The connector's file {} {why}.", path.display()))
                .hint("Add the connector again with `attache connector add FILE`.")
        };
        let bytes = fs::read(&path).map_err(|error| damaged(format!("cannot be read: {error}")))?;
        if Digest::of(&bytes) != digest {
            return Err(damaged("is not the one that was approved".into()));
        }
        Ok(bytes)
    }

    fn keep_compiled(&self, runtime: &Runtime, digest: Digest, inspected: &Inspected) -> Result<()> {
        let concurrent = inspected.component.is_concurrent();
        let mac = self.mac(digest, engine_hash(engine(runtime, concurrent)?), &inspected.compiled);
        write_whole(&self.compiled_path(runtime, digest, concurrent), &[mac.as_ref(), &inspected.compiled])
    }

    fn load_compiled(
        &self,
        engine: &Engine,
        digest: Digest,
        path: &Path,
        file: &[u8],
    ) -> Option<wasmtime::component::Component> {
        let (mac, code) = file.split_at_checked(MAC_BYTES)?;
        let written_here = self.signed(digest, engine_hash(engine), code);
        if hmac::verify(&self.key, &written_here, mac).is_err() {
            tracing::warn!(path = %path.display(), "the compiled connector is not what this host wrote; compiling it again");
            return None;
        }
        deserialize(engine, code)
    }

    fn mac(&self, digest: Digest, engine: u64, code: &[u8]) -> hmac::Tag {
        hmac::sign(&self.key, &self.signed(digest, engine, code))
    }

    /// What the HMAC is over: fixed-size fields first, so that no two inputs read the same. The code goes in as its own
    /// digest, which saves a copy of it.
    fn signed(&self, digest: Digest, engine: u64, code: &[u8]) -> Vec<u8> {
        [digest.as_bytes().as_slice(), &engine.to_be_bytes(), Digest::of(code).as_bytes()].concat()
    }

    fn bytes_path(&self, digest: Digest) -> PathBuf {
        bytes_path(&self.directory, digest)
    }

    /// Both engines follow from what the plain one is, so that its hash names the files for either.
    fn compiled_path(&self, runtime: &Runtime, digest: Digest, concurrent: bool) -> PathBuf {
        let kind = if concurrent { "-concurrent" } else { "" };
        self.directory.join(format!("{digest}-{:016x}{kind}.cwasm", engine_hash(&runtime.plain)))
    }
}

fn engine(runtime: &Runtime, concurrent: bool) -> Result<&Engine> {
    if concurrent { runtime.concurrent() } else { Ok(&runtime.plain) }
}

fn read_if_there(path: &Path) -> Option<Vec<u8>> {
    match fs::read(path) {
        Ok(file) => Some(file),
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "the compiled connector cannot be read");
            None
        }
    }
}

fn bytes_path(directory: &Path, digest: Digest) -> PathBuf {
    directory.join(format!("{digest}.wasm"))
}

/// wasmtime's own statement of which compiled code it can run: its version, the target and every setting that matters.
fn engine_hash(engine: &Engine) -> u64 {
    let mut hasher = std::hash::DefaultHasher::new();
    engine.engine.precompile_compatibility_hash().hash(&mut hasher);
    hasher.finish()
}

#[allow(
    unsafe_code,
    reason = "wasmtime runs compiled code as it is; the HMAC checked above says that this host wrote it"
)]
fn deserialize(engine: &Engine, code: &[u8]) -> Option<wasmtime::component::Component> {
    // SAFETY: `code` is what `Component::serialize` gave this host, for an engine of the same hash.
    let component = unsafe { wasmtime::component::Component::deserialize(&engine.engine, code) };
    component.inspect_err(|error| tracing::warn!(%error, "the compiled connector does not load")).ok()
}

/// Writes a file that is there whole or not at all, also after a crash.
fn write_whole(path: &Path, parts: &[&[u8]]) -> Result<()> {
    let directory = path.parent().unwrap_or(Path::new("."));
    let write = || -> io::Result<()> {
        let mut file = unfinished::begin_in(directory)?;
        for part in parts {
            file.write_all(part)?;
        }
        file.as_file().sync_all()?;
        file.persist(path).map_err(|error| error.error)?;
        File::open(directory)?.sync_all()
    };
    write().map_err(|error| unavailable(path, &error))
}

fn unavailable(path: &Path, error: &io::Error) -> Error {
    Kind::StoreUnavailable.error(format!("{} cannot be written: {error}.", path.display()))
}
