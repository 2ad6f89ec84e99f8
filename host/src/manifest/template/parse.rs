//! From a template's text to its parts.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::function::{Function, Unfit};

/// A template is a line of configuration, not a document.
const LONGEST: usize = 8 << 10;
/// Functions in functions in functions. A signature over a hash of a derived key needs four.
const DEEPEST: usize = 16;

/// A template that parsed. It prints as it was written, and two are equal that were written alike.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Template {
    text: String,
    pub(in crate::manifest) alternatives: Vec<Vec<Part>>,
}

/// A piece of one alternative.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::manifest) enum Part {
    /// As the author wrote it, with `{{` and `}}` undone.
    Literal(String),
    /// Filled in.
    Value(Expression),
}

/// Something with a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::manifest) enum Expression {
    Name(String),
    Literal(String),
    Call(Function, Vec<Expression>),
}

/// Where a template uses a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// By itself: `{name}`.
    Bare,
    /// A function computes with it.
    Argument,
    /// It is the key of a signature or a fingerprint, or that key is computed from it.
    Key,
}

/// What is wrong with a template, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseError {
    /// At which byte, from 0; always at the border of a character.
    pub at: usize,
    column: usize,
    what: String,
}

impl ParseError {
    fn new(text: &str, at: usize, what: impl Into<String>) -> Self {
        Self { at, column: text[..at].chars().count() + 1, what: what.into() }
    }

    /// At which character, from 1: what stands under a caret.
    pub fn column(&self) -> usize {
        self.column
    }
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at column {}", self.what, self.column)
    }
}

impl std::error::Error for ParseError {}

impl Template {
    /// Parses a template.
    ///
    /// # Errors
    /// What is wrong, and where.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        if text.len() > LONGEST {
            return Err(ParseError::new(
                text,
                text.floor_char_boundary(LONGEST),
                format!("it is longer than {LONGEST} bytes"),
            ));
        }
        let alternatives = Parser { text, at: 0 }.template()?;
        Ok(Self { text: text.to_owned(), alternatives })
    }

    /// What it consists of, where that is one value and nothing else.
    pub(in crate::manifest) fn lone_value(&self) -> Option<&Expression> {
        match self.alternatives.as_slice() {
            [only] => match only.as_slice() {
                [Part::Value(expression)] => Some(expression),
                _ => None,
            },
            _ => None,
        }
    }

    /// Every name that it uses; a name that is used twice comes twice.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.uses().map(|(name, _)| name)
    }

    /// Every name that it uses, and where.
    pub fn uses(&self) -> impl Iterator<Item = (&str, Use)> {
        uses_in(self.alternatives.iter().flatten())
    }
}

/// Every name that these parts use; a name that is used twice comes twice.
pub(in crate::manifest) fn names_in<'a>(parts: impl Iterator<Item = &'a Part>) -> impl Iterator<Item = &'a str> {
    uses_in(parts).map(|(name, _)| name)
}

fn uses_in<'a>(parts: impl Iterator<Item = &'a Part>) -> impl Iterator<Item = (&'a str, Use)> {
    let mut uses = Vec::new();
    for part in parts {
        if let Part::Value(expression) = part {
            expression.uses(Use::Bare, &mut uses);
        }
    }
    uses.into_iter()
}

impl PartialEq for Template {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Template {}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl From<Template> for String {
    fn from(template: Template) -> Self {
        template.text
    }
}

impl TryFrom<String> for Template {
    type Error = ParseError;

    fn try_from(text: String) -> Result<Self, ParseError> {
        Self::parse(&text)
    }
}

impl Expression {
    /// Appends the names in it, which is itself used so.
    pub(super) fn uses<'a>(&'a self, itself: Use, uses: &mut Vec<(&'a str, Use)>) {
        match self {
            Expression::Name(name) => uses.push((name, itself)),
            Expression::Literal(_) => {}
            Expression::Call(function, arguments) => {
                for (index, argument) in arguments.iter().enumerate() {
                    let is_key = itself == Use::Key || (function.takes_key() && index == 0);
                    argument.uses(if is_key { Use::Key } else { Use::Argument }, uses);
                }
            }
        }
    }
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
}

impl Parser<'_> {
    fn template(mut self) -> Result<Vec<Vec<Part>>, ParseError> {
        let mut alternatives = Vec::new();
        let mut parts = Vec::new();
        let mut literal = String::new();
        while let Some(next) = self.peek() {
            if self.eat(" || ") {
                push_literal(&mut parts, &mut literal);
                alternatives.push(std::mem::take(&mut parts));
            } else if self.eat("{{") {
                literal.push('{');
            } else if self.eat("}}") {
                literal.push('}');
            } else if self.eat("{") {
                push_literal(&mut parts, &mut literal);
                parts.push(Part::Value(self.value(0)?));
                if !self.eat("}") {
                    return Err(self.wrong("expected `}`"));
                }
            } else if next == '}' {
                return Err(self.wrong("a `}` that closes nothing (write `}}` for the character)"));
            } else {
                literal.push(next);
                self.at += next.len_utf8();
            }
        }
        push_literal(&mut parts, &mut literal);
        alternatives.push(parts);
        Ok(alternatives)
    }

    /// A name or a function; `around` functions are around it.
    fn value(&mut self, around: usize) -> Result<Expression, ParseError> {
        let began = self.at;
        let name = self.name()?;
        if !self.eat("(") {
            return Ok(Expression::Name(name));
        }
        if around == DEEPEST {
            return Err(ParseError::new(self.text, began, format!("more than {DEEPEST} functions in one another")));
        }
        let mut arguments = Vec::new();
        let first_at = self.at;
        if !self.eat(")") {
            loop {
                arguments.push(self.argument(around + 1)?);
                if self.eat(")") {
                    break;
                }
                if !self.eat(", ") {
                    return Err(self.wrong("expected `, ` or `)`"));
                }
            }
        }
        call(&name, arguments).map_err(|unfit| match unfit {
            Unfit::Call(what) => ParseError::new(self.text, began, what),
            Unfit::Word(what) => ParseError::new(self.text, first_at, what),
        })
    }

    fn argument(&mut self, around: usize) -> Result<Expression, ParseError> {
        match self.peek() {
            Some('"') => self.string().map(Expression::Literal),
            Some(digit) if digit.is_ascii_digit() => {
                let digits: String = self.text[self.at..].chars().take_while(char::is_ascii_digit).collect();
                self.at += digits.len();
                Ok(Expression::Literal(digits))
            }
            _ => self.value(around),
        }
    }

    fn string(&mut self) -> Result<String, ParseError> {
        let began = self.at;
        self.at += 1;
        let mut text = String::new();
        loop {
            let Some(next) = self.peek() else {
                return Err(ParseError::new(self.text, began, "a string that does not end"));
            };
            self.at += next.len_utf8();
            match next {
                '"' => return Ok(text),
                '\\' => {
                    let escaped = match self.peek() {
                        Some('n') => '\n',
                        Some(same @ ('"' | '\\')) => same,
                        _ => return Err(self.wrong("an escape that is none of \\n, \\\" and \\\\")),
                    };
                    text.push(escaped);
                    self.at += 1;
                }
                other => text.push(other),
            }
        }
    }

    fn name(&mut self) -> Result<String, ParseError> {
        let rest = &self.text[self.at..];
        if !rest.starts_with(|c: char| c.is_ascii_alphabetic()) {
            return Err(self.wrong("expected a name"));
        }
        let name: String = rest.chars().take_while(|c| c.is_ascii_alphanumeric() || "_-.".contains(*c)).collect();
        self.at += name.len();
        Ok(name)
    }

    fn peek(&self) -> Option<char> {
        self.text[self.at..].chars().next()
    }

    fn eat(&mut self, token: &str) -> bool {
        let there = self.text[self.at..].starts_with(token);
        if there {
            self.at += token.len();
        }
        there
    }

    fn wrong(&self, what: &str) -> ParseError {
        ParseError::new(self.text, self.at, what)
    }
}

fn push_literal(parts: &mut Vec<Part>, literal: &mut String) {
    if !literal.is_empty() {
        parts.push(Part::Literal(std::mem::take(literal)));
    }
}

/// Makes a call of a function's name and arguments; the word among them (an algorithm, a format) becomes part of the
/// function. So no value can choose it.
fn call(name: &str, mut arguments: Vec<Expression>) -> Result<Expression, Unfit> {
    let word = match arguments.first() {
        Some(Expression::Name(word) | Expression::Literal(word)) => Some(word.as_str()),
        _ => None,
    };
    let (function, takes_word) = Function::of(name, word, arguments.len())?;
    if takes_word {
        arguments.remove(0);
    }
    if let Function::Now(_) = function
        && arguments.iter().any(|it| !matches!(it, Expression::Literal(seconds) if seconds.parse::<u32>().is_ok()))
    {
        return Err(Unfit::Call("`now` takes a number of seconds to add, in digits".into()));
    }
    Ok(Expression::Call(function, arguments))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn names(text: &str) -> Vec<String> {
        Template::parse(text).unwrap().names().map(str::to_owned).collect()
    }

    #[test]
    fn names_stand_alone_in_functions_and_in_alternatives() {
        assert_eq!(names("Bearer {key}"), ["key"]);
        assert_eq!(names("{base64(user, \":\", password)} || {key.dc}"), ["user", "password", "key.dc"]);
        assert_eq!(
            names("{hash(sha256, sign(hmac-sha1, key, request.body))}{now(unix, 60)}{uuid()}"),
            ["key", "request.body"]
        );
        assert!(names("plain {{text}} with | and ||").is_empty());
        assert!(names("").is_empty());
        // A name may be spelled like a function, an algorithm or a format.
        assert_eq!(names("{hash}{base64(unix)}"), ["hash", "unix"]);
    }

    #[test]
    fn it_tells_what_a_name_is_used_for() {
        let template = Template::parse(
            "{a} || {hex(b)} || {sign(hmac-sha1, unbase64(sign(hmac-sha1, c, d)), e)}{fingerprint(sha256, f)}",
        )
        .unwrap();
        assert_eq!(
            template.uses().collect::<Vec<_>>(),
            [
                ("a", Use::Bare),
                ("b", Use::Argument),
                ("c", Use::Key),
                ("d", Use::Key),
                ("e", Use::Argument),
                ("f", Use::Key)
            ]
        );
    }

    #[test]
    fn text_is_taken_apart_as_the_grammar_says() {
        let literal = |text: &str| Part::Literal(text.to_owned());
        let name = |text: &str| Part::Value(Expression::Name(text.to_owned()));
        for (text, expected) in [
            ("", vec![vec![]]),
            ("{{{a}}}", vec![vec![literal("{"), name("a"), literal("}")]]),
            (" || ", vec![vec![], vec![]]),
            ("a||b | c", vec![vec![literal("a||b | c")]]),
            ("a || || b", vec![vec![literal("a")], vec![literal("|| b")]]),
            ("{a} || ", vec![vec![name("a")], vec![]]),
            (
                "{hex(\" || \\n\\\"\\\\\", 007, \"{a}\n\")}",
                vec![vec![Part::Value(Expression::Call(
                    Function::Hex,
                    [" || \n\"\\", "007", "{a}\n"].map(|text| Expression::Literal(text.to_owned())).to_vec(),
                ))]],
            ),
        ] {
            assert_eq!(Template::parse(text).unwrap().alternatives, expected, "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_with_its_column() {
        for (text, expected) in [
            ("{", "expected a name at column 2"),
            ("{ a }", "expected a name at column 2"),
            ("ü{a", "expected `}` at column 4"),
            ("a}b", "a `}` that closes nothing (write `}}` for the character) at column 2"),
            (
                "{f(a)}",
                "there is no function `f` (there are base64, hex, unbase64, unhex, hash, sign, fingerprint, now, uuid) at column 2",
            ),
            ("{hash(md5, a)}", "there is no hash `md5` (sha1, sha256, sha512) at column 7"),
            (
                "{sign(sha256, k, d)}",
                "there is no signature `sha256` (hmac-sha1, hmac-sha256, hmac-sha512, ed25519) at column 7",
            ),
            ("{unhex(a, b)}", "`unhex` is written `unhex(t)` at column 2"),
            ("{hash(hex(a), b)}", "`hash` is written `hash(algorithm, d...)` at column 2"),
            ("{sign(ed25519, k)}", "`sign` is written `sign(algorithm, key, d...)` at column 2"),
            ("{fingerprint(sha1, k, l)}", "`fingerprint` is written `fingerprint(algorithm, private-key)` at column 2"),
            ("{base64()}", "`base64` is written `base64(d...)` at column 2"),
            ("{uuid(a)}", "`uuid` is written `uuid()` at column 2"),
            ("{now()}", "`now` is written `now(format [, plus-seconds])` at column 2"),
            ("{base64(a,b)}", "expected `, ` or `)` at column 10"),
            ("{base64(\"a)}", "a string that does not end at column 9"),
            ("{base64(\"\\t\")}", "an escape that is none of \\n, \\\" and \\\\ at column 11"),
            ("{now(\"%&\")}", "`%&` is no format of a time (unix, unix-ms, http, or strftime in quotes) at column 6"),
            (
                "{now(rfc3339)}",
                "`rfc3339` is no format of a time (unix, unix-ms, http, or strftime in quotes) at column 6",
            ),
            ("{now(unix, a)}", "`now` takes a number of seconds to add, in digits at column 2"),
            ("{now(unix, 4294967296)}", "`now` takes a number of seconds to add, in digits at column 2"),
            ("{1a}", "expected a name at column 2"),
        ] {
            assert_eq!(Template::parse(text).unwrap_err().to_string(), expected, "{text}");
        }
        let error = Template::parse("ü}").unwrap_err();
        assert_eq!((error.at, error.column()), (2, 2));
    }

    #[test]
    fn length_and_depth_are_bounded() {
        let deep = |depth: usize| format!("{{{}a{}}}", "hex(".repeat(depth), ")".repeat(depth));
        assert!(Template::parse(&deep(DEEPEST)).is_ok());
        assert!(Template::parse(&deep(DEEPEST + 1)).is_err());
        assert!(Template::parse(&deep(1000)).is_err());
        assert!(Template::parse(&"a".repeat(LONGEST)).is_ok());
        assert!(Template::parse(&"ü".repeat(LONGEST / 2 + 1)).is_err());
        assert!(Template::parse(&format!("a{}", "ü".repeat(LONGEST))).is_err());
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in ".{0,200}") {
            if let Err(error) = Template::parse(&text) {
                prop_assert!(text.is_char_boundary(error.at));
            }
        }

        #[test]
        fn what_parses_prints_as_it_was_written(pieces in prop::collection::vec(prop::sample::select(vec![
            "{", "}", "{{", "}}", " || ", "a", "(", ")", ", ", "\"", "\\", "base64", "hash", "sha256", "now", "1", "ü",
            "{a}", "{hex(a)}", "{sign(hmac-sha1, k, \"\\n\")}", "{now(\"%Y\", 5)}",
        ]), 0..30)) {
            let text = pieces.concat();
            if let Ok(template) = Template::parse(&text) {
                prop_assert_eq!(template.to_string(), text);
                let json = serde_json::to_string(&template).unwrap();
                let read: Template = serde_json::from_str(&json).unwrap();
                prop_assert_eq!(&read.alternatives, &template.alternatives);
                prop_assert_eq!(read, template);
            }
        }
    }
}
