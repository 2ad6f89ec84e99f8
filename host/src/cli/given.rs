//! What is given on the command line: pairs, and secrets, which are never given there themselves but only where they are.

use std::{
    collections::BTreeMap,
    env, fs,
    io::{self, Read},
};

use zeroize::Zeroizing;

use super::prompt;
use crate::{
    error::{Kind, Result},
    manifest::parameter,
    secret::Secret,
    text,
};

/// Secrets as JSON carries them.
///
/// # Errors
/// `invalid-input` for one that is no text.
pub(super) fn texts(secrets: BTreeMap<String, Secret>) -> Result<BTreeMap<String, String>> {
    let text = |(name, secret): (String, Secret)| match std::str::from_utf8(secret.expose()) {
        Ok(text) => Ok((name, text.to_owned())),
        Err(_) => {
            Err(Kind::InvalidInput.error(format!("The value for `{}` is not UTF-8 text.", text::foreign(&name, 64))))
        }
    };
    secrets.into_iter().map(text).collect()
}

/// Reads secrets, each from its source.
///
/// # Errors
/// `usage` for a source that is none or cannot be read. What stands in its place is not repeated.
pub(super) fn secrets(sources: Vec<(String, String)>) -> Result<BTreeMap<String, Secret>> {
    let mut secrets = BTreeMap::new();
    let mut standard_input_taken = false;
    for (name, source) in sources {
        let shown = text::foreign(&name, 64);
        let bytes = match source.split_once(':') {
            _ if source == "-" => {
                if std::mem::replace(&mut standard_input_taken, true) {
                    return Err(Kind::Usage.error("Standard input can give one secret only."));
                }
                let mut bytes = Zeroizing::new(Vec::new());
                io::stdin()
                    .lock()
                    .read_to_end(&mut bytes)
                    .map_err(|error| Kind::Usage.error(format!("Standard input cannot be read: {error}.")))?;
                bytes
            }
            Some(("env", variable)) => Zeroizing::new(
                env::var(variable)
                    .map_err(|_| {
                        Kind::Usage.error(format!(
                            "The environment variable `{}` for the secret `{shown}` is not set, or not text.",
                            text::foreign(variable, 64)
                        ))
                    })?
                    .into_bytes(),
            ),
            Some(("file", path)) => Zeroizing::new(fs::read(path).map_err(|error| {
                Kind::Usage.error(format!("The file for the secret `{shown}` cannot be read: {error}."))
            })?),
            // What stands there may be the secret itself, so it is not repeated.
            _ => {
                return Err(Kind::Usage
                    .error(format!("A secret is never an argument, since other processes can read those; say where `{shown}` is."))
                    .hint(format!("`--secret {shown}=env:NAME`, `--secret {shown}=file:PATH`, `--secret {shown}=-`, or leave it out to be asked.")));
            }
        };
        // Files and pipes end in a line break that is not part of the secret.
        let trimmed = bytes.strip_suffix(b"\n").map_or(&bytes[..], |bytes| bytes.strip_suffix(b"\r").unwrap_or(bytes));
        if secrets.insert(name, Secret::new(trimmed)).is_some() {
            return Err(Kind::Usage.error(format!("The secret `{shown}` is given twice.")));
        }
    }
    Ok(secrets)
}

/// Reads a passphrase from its source, which may be the person at the terminal; `twice` where it is a new one.
///
/// # Errors
/// `usage` for a source that is none or cannot be read, and for one that was typed in two ways.
pub(super) fn passphrase(source: &str, twice: bool) -> Result<Secret> {
    const NAME: &str = "passphrase";
    if source != "prompt" {
        let literal = source != "-" && !["env:", "file:"].iter().any(|kind| source.starts_with(kind));
        if literal {
            return Err(Kind::Usage
                .error("A passphrase is never an argument, since other processes can read those; say where it is.")
                .hint("`--passphrase env:NAME`, `--passphrase file:PATH`, `--passphrase -`, or `--passphrase prompt` to be asked."));
        }
        let mut read = secrets(vec![(NAME.to_owned(), source.to_owned())])?;
        return read.remove(NAME).ok_or_else(|| Kind::Internal.error("A secret was lost."));
    }
    if !prompt::has_person() {
        return Err(Kind::Usage
            .error("There is nobody at a terminal to be asked for the passphrase.")
            .hint("`--passphrase env:NAME` or `--passphrase file:PATH` says where it is."));
    }
    let typed = prompt::secret("Passphrase")?;
    if twice && prompt::secret("Once more")?.expose() != typed.expose() {
        return Err(Kind::Usage.error("The passphrase was typed in two ways."));
    }
    Ok(typed)
}

/// Parameters; one that is given more than once has several values.
pub(super) fn parameters(given: Vec<(String, String)>) -> BTreeMap<String, String> {
    let mut all = BTreeMap::<String, Vec<String>>::new();
    for (name, value) in given {
        all.entry(name).or_default().push(value);
    }
    all.into_iter().map(|(name, values)| (name, parameter::together(&values))).collect()
}

/// `NAME=VALUE`.
pub(super) fn pair(argument: &str) -> std::result::Result<(String, String), String> {
    // The argument is not repeated: somebody may have written a secret there.
    let (name, value) = argument.split_once('=').ok_or("it has no `=` between name and value")?;
    Ok((name.to_owned(), value.to_owned()))
}
