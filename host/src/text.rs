//! Text that somebody else wrote: a connector, a service, a provider. Before a person sees it, or it goes into a log, it loses
//! what could make it look like something else.

use std::fmt;

use askama::filters::{Escaper, Html};

/// Strips control characters and those that change the direction or the look of what stands around them (Unicode TR 36,
/// UAX 9), turns line breaks into spaces, and cuts at so many characters.
pub fn foreign(text: &str, longest: usize) -> String {
    // Most of what passes here is a short name or a path.
    if text.len() <= longest && text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return text.to_owned();
    }
    let mut clean = String::new();
    let mut taken = 0;
    for c in text.chars() {
        let c = if matches!(c, '\n' | '\r' | '\t' | '\u{2028}' | '\u{2029}') { ' ' } else { c };
        if c.is_control() || misleads(c) {
            continue;
        }
        if taken == longest {
            clean.push('…');
            break;
        }
        clean.push(c);
        taken += 1;
    }
    clean
}

/// Somebody else's words as a sentence to put behind one of the host's own; nothing where they said nothing.
pub fn says(words: &str, longest: usize) -> String {
    match foreign(words, longest) {
        words if words.is_empty() => words,
        words => format!(" It says: “{words}”"),
    }
}

/// As [`foreign`], for a text of several lines, which stay lines.
pub fn foreign_lines(text: &str, longest: usize) -> String {
    let clean: Vec<String> = text.split('\n').map(|line| foreign(line, longest)).collect();
    clean.join("\n")
}

/// How templates write whatever is filled into them (`askama.toml`): as HTML that means nothing, and without what misleads.
/// Lines stay lines.
#[derive(Clone, Copy)]
pub struct Escaped;

impl Escaper for Escaped {
    fn write_escaped_str<W: fmt::Write>(&self, mut dest: W, string: &str) -> fmt::Result {
        let is_unwanted = |c: char| misleads(c) || (c.is_control() && !matches!(c, '\n' | '\t'));
        string.split(is_unwanted).try_for_each(|plain| Html.write_escaped_str(&mut dest, plain))
    }
}

/// Bidirectional controls, whatever is shown as nothing at all (Unicode's `Default_Ignorable_Code_Point`: zero-width characters,
/// fillers, variation selectors, tags), and annotations. Texts could differ, or say something to a machine, without a person
/// seeing it.
fn misleads(c: char) -> bool {
    matches!(
        c,
        '\u{ad}'
            | '\u{34f}'
            | '\u{61c}'
            | '\u{115f}'..='\u{1160}'
            | '\u{17b4}'..='\u{17b5}'
            | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}'
            | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}'
            | '\u{feff}'
            | '\u{ffa0}'
            | '\u{fff0}'..='\u{fffb}'
            | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_misleads_is_gone_and_the_rest_stays() {
        assert_eq!(foreign("a\u{1b}[31mred\u{7}\u{9b}b", 50), "a[31mredb");
        assert_eq!(foreign("safe\u{202e}gpj.exe\u{200b}\u{feff}", 50), "safegpj.exe");
        assert_eq!(
            foreign("a\u{34f}d\u{3164}m\u{fe0f}i\u{e0101}n\u{1d173}\u{ffa0}", 50),
            "admin",
            "nothing that is not seen"
        );
        assert_eq!(foreign("one\r\ntwo\tthree", 50), "one  two three");
        assert_eq!(foreign("Grüße, 世界 🙂", 50), "Grüße, 世界 🙂");
        assert_eq!(foreign("abcdef", 3), "abc…");
        assert_eq!(foreign("abc", 3), "abc");
        assert_eq!(foreign_lines("a\u{1b}\nb\rc\n", 50), "a\nb c\n");
    }

    #[test]
    fn what_a_page_is_filled_with_is_neither_markup_nor_misleading() {
        let mut page = String::new();
        Escaped.write_escaped_str(&mut page, "<b a='\"'>\u{202e}&\u{1b}\r\n\tsafe").unwrap();
        assert_eq!(page, "&#60;b a=&#39;&#34;&#39;&#62;&#38;\n\tsafe");
    }
}
