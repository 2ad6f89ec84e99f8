//! Tables and lists for people. Whoever wrote what stands in them (a connector, a service), no item can move the cursor,
//! break its line, or turn the text around it.

use serde_json::Value;

use super::Answer;
use crate::{manifest::parameter, server::api::EndedView, text};

/// An item is cut after so many characters: an origin, a template or a path, and never a page.
const LONGEST: usize = 1_000;

/// Columns padded to their widest cell, with a line of headings.
pub(super) fn table(headings: &[&str], rows: &[Vec<String>]) -> String {
    let rows: Vec<Vec<String>> =
        rows.iter().map(|row| row.iter().map(|cell| text::foreign(cell, LONGEST)).collect()).collect();
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.chain([headings[column].chars().count()]).max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..headings.len()).map(width).collect();
    let line = |cells: &[&str]| {
        let padded: Vec<String> = cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        padded.join("  ").trim_end().to_owned()
    };
    let mut lines = vec![line(headings)];
    lines.extend(rows.iter().map(|row| line(&row.iter().map(String::as_str).collect::<Vec<_>>())));
    lines.join("\n")
}

/// A heading with a list under it; nothing where the list is empty.
pub(super) fn section<T: AsRef<str>>(heading: &str, items: impl IntoIterator<Item = T>) -> String {
    let items: Vec<String> =
        items.into_iter().map(|item| format!("    {}\n", text::foreign(item.as_ref(), LONGEST))).collect();
    if items.is_empty() { String::new() } else { format!("  {heading}\n{}", items.concat()) }
}

/// A parameter with what it was given.
pub(super) fn parameter(name: &str, value: &str) -> String {
    format!("{name} = {}", text::foreign(&parameter::listed(value), LONGEST))
}

/// Scopes, one beside the other.
pub(super) fn scopes(scopes: &[String]) -> String {
    let scopes: Vec<String> = scopes.iter().map(|scope| text::foreign(scope, 200)).collect();
    scopes.join(", ")
}

/// What came of ending a connection, here and at the provider.
pub(super) fn ended(mut json: Value, here: &str, ended: &EndedView) -> Answer {
    json["upstream"] = ended.upstream.clone().into();
    Answer::new(json, format!("{here}\n{}", ended.there()))
}
