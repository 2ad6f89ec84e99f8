//! Where an audit ends that is opened: at its last whole line.

use std::{
    fs::{File, OpenOptions},
    io::{Read, Seek, SeekFrom, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use jiff::Timestamp;
use serde_json::Value;

use super::{
    super::chain::{Head, LONGEST_LINE, split},
    unwritable,
};
use crate::error::{Kind, Result};

/// Finds the last line, and sets a torn one aside.
pub(super) fn last_line(file: &mut File, path: &Path) -> Result<Option<Head>> {
    let length = file.metadata().map_err(|error| unwritable(&error))?.len();
    if length == 0 {
        return Ok(None);
    }
    // Two of the longest lines: the last whole one is in there, whatever was torn behind it.
    let from = length.saturating_sub(2 * LONGEST_LINE);
    let mut tail = Vec::new();
    file.seek(SeekFrom::Start(from)).and_then(|_| file.read_to_end(&mut tail)).map_err(|error| unwritable(&error))?;
    let whole = tail.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    if whole < tail.len() {
        set_aside(file, path, from + whole as u64, &tail[whole..])?;
    }
    let lines = String::from_utf8_lossy(&tail[..whole]).into_owned();
    let Some(last) = lines.lines().last() else { return Ok(None) };
    let head = split(last).and_then(|(_, mac)| {
        let seq = serde_json::from_str::<Value>(last).ok()?["seq"].as_u64()?;
        Some(Head { seq, mac: mac.to_owned() })
    });
    head.map(Some).ok_or_else(|| {
        Kind::StoreDamaged.error(format!("The last line of {} is not a line of the audit.", path.display())).hint(
            "Move the file away to begin a new audit; `attache audit verify` will tell that the old one is missing.",
        )
    })
}

fn set_aside(file: &File, path: &Path, from: u64, torn: &[u8]) -> Result<()> {
    let aside = path.with_extension(format!("torn-{}", Timestamp::now().as_millisecond()));
    tracing::warn!(aside = %aside.display(), "the audit's last line was torn by a crash; it is set aside");
    let keep = || -> std::io::Result<()> {
        let mut kept = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&aside)?;
        kept.write_all(torn)?;
        kept.sync_all()?;
        sync_name(&aside)?;
        file.set_len(from)?;
        file.sync_all()
    };
    keep().map_err(|error| unwritable(&error))
}

/// Waits until a file's name is on the disk.
pub(super) fn sync_name(path: &Path) -> std::io::Result<()> {
    File::open(path.parent().unwrap_or(path))?.sync_all()
}
