//! Asking a person. Only where there is one: without a terminal each question is an error that says which argument
//! answers it.

use std::io::{self, BufRead, IsTerminal, Write};

use zeroize::Zeroizing;

use crate::{
    error::{Error, Kind, Result},
    secret::Secret,
};

/// Whether somebody is there to be asked.
pub(super) fn has_person() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// Asks for a line of text.
pub(super) fn line(question: &str) -> Result<String> {
    write(&format!("{question}: "))?;
    let mut answer = String::new();
    match io::stdin().lock().read_line(&mut answer).map_err(unreadable)? {
        0 => Err(Kind::Usage.error("The question was not answered.")),
        _ => Ok(answer.trim().to_owned()),
    }
}

/// Asks for lines of text until one is empty.
pub(super) fn lines(question: &str, again: &str) -> Result<String> {
    let mut lines = vec![line(question)?];
    while lines.last().is_some_and(|last| !last.is_empty()) {
        lines.push(line(again)?);
    }
    lines.pop();
    Ok(lines.join("\n"))
}

/// Asks for a secret without showing it.
pub(super) fn secret(question: &str) -> Result<Secret> {
    let typed = Zeroizing::new(rpassword::prompt_password(format!("{question} (hidden): ")).map_err(unreadable)?);
    Ok(Secret::new(typed.as_bytes()))
}

/// Asks for a yes; anything else is a no.
pub(super) fn confirm(question: &str) -> Result<bool> {
    Ok(matches!(line(&format!("{question} [y/N]"))?.to_ascii_lowercase().as_str(), "y" | "yes"))
}

/// Shows something to the person, beside the results.
pub(super) fn show(text: &str) {
    // Standard error may be closed; then nobody reads it.
    let _ = write!(anstream::stderr(), "{text}");
}

fn write(text: &str) -> Result<()> {
    let mut out = anstream::stderr();
    write!(out, "{text}").and_then(|()| out.flush()).map_err(unreadable)
}

fn unreadable(error: io::Error) -> Error {
    Kind::Usage.error(format!("The terminal cannot be used: {error}."))
}

/// Opens an address in the person's own browser, where there is a desktop; says whether it did.
pub(super) fn open_browser(address: &str) -> bool {
    let has_desktop = cfg!(target_os = "macos")
        || ["DISPLAY", "WAYLAND_DISPLAY"].iter().any(|name| std::env::var_os(name).is_some_and(|it| !it.is_empty()));
    has_desktop && open::that_detached(address).is_ok()
}
