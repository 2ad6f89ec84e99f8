//! `attache build`: from a connector's Rust source to a component, with the tool chain that is there.
//!
//! It honours `CARGO` and `RUSTC`, so a prepared tool chain is used like rustup's own. For `wasm32-unknown-unknown` rustc
//! writes a core module, which becomes a component here; for `wasm32-wasip2` rustc's linker does that itself.

use std::{
    env, fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::Value;
use wit_component::ComponentEncoder;

use crate::{
    digest::Digest,
    error::{Error, Kind, Result},
};

/// What to build.
#[derive(Debug, Clone)]
pub struct Options {
    /// The folder with the crate's `Cargo.toml`.
    pub directory: PathBuf,
    /// The component's file, or the folder for all of them with `examples`; `NAME.wasm` in the working directory unless
    /// given.
    pub out: Option<PathBuf>,
    /// Builds every example of the crate instead of its library.
    pub examples: bool,
}

/// A component that was built.
#[derive(Debug, Clone)]
pub struct Built {
    /// Its file.
    pub path: PathBuf,
    /// How large it is.
    pub bytes: u64,
    /// Its digest, which an approval is for.
    pub digest: Digest,
}

/// The targets that make connectors, the better one first: it imports nothing, and its components are smaller.
const TARGETS: [&str; 2] = ["wasm32-unknown-unknown", "wasm32-wasip2"];

/// A connector is loaded often and debugged elsewhere, so it is built small. A crate's own profile is overridden, since most
/// have none.
const PROFILE: [(&str, &str); 5] = [
    ("CARGO_PROFILE_RELEASE_OPT_LEVEL", "s"),
    ("CARGO_PROFILE_RELEASE_LTO", "true"),
    ("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "1"),
    ("CARGO_PROFILE_RELEASE_PANIC", "abort"),
    ("CARGO_PROFILE_RELEASE_STRIP", "true"),
];

/// A guest's stack, of which Rust reserves 1 MiB unless told: the host wipes it after every call. JSON of the 128 levels
/// that serde_json reads at most takes some 60 KiB of it.
const STACK: &str = "link-arg=-zstack-size=98304";

/// Compiles a crate and makes components of what came out.
///
/// # Errors
/// `usage` where the folder holds no such crate, or a tool is missing (with the command that installs it); cargo's own
/// messages go to standard error.
pub fn build(options: &Options) -> Result<Vec<Built>> {
    let manifest = options.directory.join("Cargo.toml");
    if !manifest.is_file() {
        return Err(Kind::Usage
            .error(format!("There is no Cargo.toml in {}.", options.directory.display()))
            .hint("Name the folder of a connector's crate."));
    }
    let target = installed_target()?;
    let modules = compile(&manifest, target, options.examples)?;
    if modules.is_empty() {
        return Err(Kind::Usage
            .error("The crate builds no WebAssembly module.")
            .hint("A connector is a library with `crate-type = [\"cdylib\"]` in its Cargo.toml."));
    }
    modules.iter().map(|module| make_component(module, options)).collect()
}

/// The first target whose standard library is there.
fn installed_target() -> Result<&'static str> {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    for target in TARGETS {
        let asked = Command::new(&rustc).args(["--print", "target-libdir", "--target", target]).output();
        let output = asked.map_err(|_| {
            Kind::Usage
                .error("There is no Rust compiler here.")
                .hint("Install Rust from https://rustup.rs, or set RUSTC.")
        })?;
        let libraries = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
        let has_std = fs::read_dir(libraries).is_ok_and(|mut entries| {
            entries.any(|it| it.is_ok_and(|it| it.file_name().to_string_lossy().starts_with("libstd-")))
        });
        if output.status.success() && has_std {
            return Ok(target);
        }
    }
    Err(Kind::Usage.error("The Rust compiler here has no target for WebAssembly.").hint(
        "`rustup target add wasm32-unknown-unknown`; in a clone of Attaché, `./dev prepare` also knows another way.",
    ))
}

/// Runs cargo, whose messages go to standard error, and gives the modules that it made.
fn compile(manifest: &Path, target: &str, examples: bool) -> Result<Vec<PathBuf>> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command
        .args(["build", "--release", "--message-format=json-render-diagnostics", "--target", target])
        .arg(if examples { "--examples" } else { "--lib" })
        .arg("--manifest-path")
        .arg(manifest)
        // Joined with what the crate's own configuration says, which `RUSTFLAGS` would replace.
        .arg("--config")
        .arg(format!("target.{target}.rustflags=[\"-C\",\"{STACK}\"]"))
        .envs(PROFILE)
        // Set by an outer cargo for its own compiler; a guest is not compiled with these.
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env_remove("RUSTC_WRAPPER")
        .stdout(Stdio::piped());
    let mut child = command.spawn().map_err(|_| {
        Kind::Usage.error("There is no cargo here.").hint("Install Rust from https://rustup.rs, or set CARGO.")
    })?;
    let mut modules = Vec::new();
    if let Some(output) = child.stdout.take() {
        for line in BufReader::new(output).lines().map_while(std::io::Result::ok) {
            modules.extend(modules_in(&line, manifest));
        }
    }
    let status =
        child.wait().map_err(|error| Kind::Internal.error(format!("cargo could not be waited for: {error}.")))?;
    if !status.success() {
        return Err(Kind::Usage.error("The connector does not compile; cargo says why above."));
    }
    Ok(modules)
}

/// The modules of the crate itself in one of cargo's messages, not those of what it depends on.
fn modules_in(line: &str, manifest: &Path) -> Vec<PathBuf> {
    let Ok(message) = serde_json::from_str::<Value>(line) else { return Vec::new() };
    let same =
        |path: &Value| path.as_str().is_some_and(|path| fs::canonicalize(path).ok() == fs::canonicalize(manifest).ok());
    if message["reason"] != "compiler-artifact" || !same(&message["manifest_path"]) {
        return Vec::new();
    }
    let files = message["filenames"].as_array().into_iter().flatten().filter_map(Value::as_str);
    files.filter(|file| file.ends_with(".wasm")).map(PathBuf::from).collect()
}

fn make_component(module: &Path, options: &Options) -> Result<Built> {
    let unreadable =
        |error: std::io::Error| Kind::Internal.error(format!("{} cannot be read: {error}.", module.display()));
    let bytes = fs::read(module).map_err(unreadable)?;
    let component = if is_component(&bytes) { bytes } else { encode(&bytes)? };
    let name = module.file_stem().map(|stem| stem.to_string_lossy().replace('_', "-")).unwrap_or_default();
    let path = match &options.out {
        Some(out) if options.examples => out.join(format!("{name}.wasm")),
        Some(out) => out.clone(),
        None => PathBuf::from(format!("{name}.wasm")),
    };
    write(&path, &component)?;
    Ok(Built { path, bytes: component.len() as u64, digest: Digest::of(&component) })
}

fn is_component(bytes: &[u8]) -> bool {
    bytes.get(4..8) == Some(&[0x0d, 0, 1, 0])
}

fn encode(module: &[u8]) -> Result<Vec<u8>> {
    // The bindings leave the contract in a section of the module; without it the encoder makes a component of nothing.
    let no_connector = || -> Error {
        Kind::InvalidConnector
            .error("The crate is WebAssembly but no connector: the contract is not in it.")
            .hint("The crate must use attache-sdk, or wit-bindgen with wit/connector.wit.")
    };
    if !matches!(wit_component::metadata::decode(module), Ok((Some(_), _))) {
        return Err(no_connector());
    }
    let encoded = ComponentEncoder::default().validate(true).module(module).and_then(|encoder| encoder.encode());
    encoded.map_err(|error| -> Error {
        Kind::InvalidConnector
            .error(format!("No component can be made of the module: {error:#}."))
            .hint("The crate must use attache-sdk, or wit-bindgen with wit/connector.wit.")
    })
}

fn write(path: &Path, component: &[u8]) -> Result<()> {
    let unwritable =
        |error: std::io::Error| Kind::Usage.error(format!("{} cannot be written: {error}.", path.display()));
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        fs::create_dir_all(folder).map_err(unwritable)?;
    }
    fs::write(path, component).map_err(unwritable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_without_a_crate_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let options = Options { directory: folder.path().to_owned(), out: None, examples: false };
        let error = build(&options).unwrap_err();
        assert_eq!(error.kind(), Kind::Usage);
        assert!(error.message().starts_with("There is no Cargo.toml in "));
    }

    #[test]
    fn only_the_crates_own_modules_are_taken() {
        let folder = tempfile::tempdir().unwrap();
        let (own, other) = (folder.path().join("Cargo.toml"), folder.path().join("other.toml"));
        fs::write(&own, "").unwrap();
        fs::write(&other, "").unwrap();
        let message = |manifest: &Path| {
            serde_json::json!({ "reason": "compiler-artifact", "manifest_path": manifest, "filenames": ["a.wasm", "a.d"] }).to_string()
        };
        assert_eq!(modules_in(&message(&own), &own), [PathBuf::from("a.wasm")]);
        assert!(modules_in(&message(&other), &own).is_empty());
        assert!(modules_in("not json", &own).is_empty());
    }

    #[test]
    fn a_module_without_the_contract_is_no_connector() {
        let empty_module = [0, b'a', b's', b'm', 1, 0, 0, 0];
        assert_eq!(encode(&empty_module).map(|_| ()).unwrap_err().kind(), Kind::InvalidConnector);
    }
}
