//! From a template's text to its parts.

use std::fmt;

use super::function::{Algorithm, Format, Function};

/// A template is a line of configuration, not a document.
const LONGEST: usize = 8 << 10;
/// Functions in functions in functions.
const DEEPEST: usize = 16;

/// A template that parsed. It prints as it was written.
#[derive(Debug, Clone)]
pub struct Template {
    text: String,
    pub(in crate::manifest) alternatives: Vec<Vec<Part>>,
}

/// A piece of one alternative.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::manifest) enum Part {
    /// As the author wrote it, with `{{` and `}}` undone.
    Literal(String),
    /// Filled in.
    Value(Expression),
}

/// Something with a value.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::manifest) enum Expression {
    Name(String),
    Literal(String),
    Call(Function, Vec<Expression>),
}

/// What is wrong with a template, and at which byte of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseError {
    /// From 0.
    pub at: usize,
    what: String,
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at column {}", self.what, self.at + 1)
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
            return Err(ParseError { at: LONGEST, what: format!("it is longer than {LONGEST} bytes") });
        }
        let alternatives = Parser { text, at: 0 }.template()?;
        Ok(Self { text: text.to_owned(), alternatives })
    }

    /// Every name that it uses; a name that is used twice comes twice.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let mut names = Vec::new();
        for part in self.alternatives.iter().flatten() {
            if let Part::Value(expression) = part {
                expression.collect_names(&mut names);
            }
        }
        names.into_iter()
    }
}

impl Expression {
    fn collect_names<'a>(&'a self, names: &mut Vec<&'a str>) {
        match self {
            Expression::Name(name) => names.push(name),
            Expression::Literal(_) => {}
            Expression::Call(_, arguments) => arguments.iter().for_each(|argument| argument.collect_names(names)),
        }
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
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

    fn value(&mut self, depth: usize) -> Result<Expression, ParseError> {
        if depth > DEEPEST {
            return Err(self.wrong("functions are nested too deep"));
        }
        let began = self.at;
        let name = self.name()?;
        if !self.eat("(") {
            return Ok(Expression::Name(name));
        }
        let mut arguments = Vec::new();
        if !self.eat(")") {
            loop {
                arguments.push(self.argument(depth)?);
                if self.eat(")") {
                    break;
                }
                if !self.eat(", ") {
                    return Err(self.wrong("expected `, ` or `)`"));
                }
            }
        }
        call(&name, arguments).map_err(|what| ParseError { at: began, what })
    }

    fn argument(&mut self, depth: usize) -> Result<Expression, ParseError> {
        match self.peek() {
            Some('"') => self.string().map(Expression::Literal),
            Some(digit) if digit.is_ascii_digit() => {
                let digits: String = self.text[self.at..].chars().take_while(char::is_ascii_digit).collect();
                self.at += digits.len();
                Ok(Expression::Literal(digits))
            }
            _ => self.value(depth + 1),
        }
    }

    fn string(&mut self) -> Result<String, ParseError> {
        let began = self.at;
        self.at += 1;
        let mut text = String::new();
        loop {
            let Some(next) = self.peek() else {
                return Err(ParseError { at: began, what: "a string that does not end".into() });
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
        ParseError { at: self.at, what: what.to_owned() }
    }
}

fn push_literal(parts: &mut Vec<Part>, literal: &mut String) {
    if !literal.is_empty() {
        parts.push(Part::Literal(std::mem::take(literal)));
    }
}

/// Makes a call of a function's name and arguments; the words among the arguments (algorithms, formats) become part of
/// the function.
fn call(name: &str, mut arguments: Vec<Expression>) -> Result<Expression, String> {
    let mut word = |what: &str| -> Result<String, String> {
        if arguments.is_empty() {
            return Err(format!("`{name}` takes {what} first"));
        }
        match arguments.remove(0) {
            Expression::Name(word) | Expression::Literal(word) => Ok(word),
            Expression::Call(..) => Err(format!("`{name}` takes {what} first, not a function")),
        }
    };
    let (function, at_least, at_most) = match name {
        "base64" => (Function::Base64, 1, usize::MAX),
        "hex" => (Function::Hex, 1, usize::MAX),
        "unbase64" => (Function::Unbase64, 1, 1),
        "unhex" => (Function::Unhex, 1, 1),
        "hash" => (Function::Hash(Algorithm::of_hash(&word("an algorithm")?)?), 1, usize::MAX),
        "sign" => (Function::Sign(Algorithm::of_signature(&word("an algorithm")?)?), 2, usize::MAX),
        "fingerprint" => (Function::Fingerprint(Algorithm::of_hash(&word("an algorithm")?)?), 1, 1),
        "now" => (Function::Now(Format::of(&word("a format")?)?), 0, 1),
        "uuid" => (Function::Uuid, 0, 0),
        _ => return Err(format!("there is no function `{name}`")),
    };
    if !(at_least..=at_most).contains(&arguments.len()) {
        return Err(format!("`{name}` does not take {} such arguments", arguments.len()));
    }
    if let Function::Now(_) = function
        && arguments.iter().any(|it| !matches!(it, Expression::Literal(seconds) if seconds.parse::<u32>().is_ok()))
    {
        return Err("`now` takes a number of seconds to add".into());
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
    }

    #[test]
    fn what_is_wrong_is_said_with_its_column() {
        for (text, expected) in [
            ("{", "expected a name at column 2"),
            ("{a", "expected `}` at column 3"),
            ("a}b", "a `}` that closes nothing (write `}}` for the character) at column 2"),
            ("{f(a)}", "there is no function `f` at column 2"),
            ("{hash(md5, a)}", "there is no hash `md5` (sha1, sha256, sha512) at column 2"),
            (
                "{sign(sha256, k, d)}",
                "there is no signature `sha256` (hmac-sha1, hmac-sha256, hmac-sha512, ed25519) at column 2",
            ),
            ("{unhex(a, b)}", "`unhex` does not take 2 such arguments at column 2"),
            ("{base64(a,b)}", "expected `, ` or `)` at column 10"),
            ("{base64(\"a)}", "a string that does not end at column 9"),
            ("{base64(\"\\t\")}", "an escape that is none of \\n, \\\" and \\\\ at column 11"),
            ("{now(\"%&\")}", "`%&` is no format of a time at column 2"),
            ("{now(unix, a)}", "`now` takes a number of seconds to add at column 2"),
            ("{1a}", "expected a name at column 2"),
        ] {
            assert_eq!(Template::parse(text).unwrap_err().to_string(), expected, "{text}");
        }
        let deep = format!("{{{}a{}}}", "hex(".repeat(40), ")".repeat(40));
        assert!(Template::parse(&deep).is_err());
        assert!(Template::parse(&"a".repeat(LONGEST + 1)).is_err());
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in ".{0,200}") {
            let _ = Template::parse(&text);
        }

        #[test]
        fn nor_one_made_of_its_own_pieces(pieces in prop::collection::vec(prop::sample::select(vec![
            "{", "}", "{{", "}}", " || ", "a", "(", ")", ", ", "\"", "\\", "base64", "hash", "sha256", "now", "1", "ü",
        ]), 0..30)) {
            let text = pieces.concat();
            if let Ok(template) = Template::parse(&text) {
                prop_assert_eq!(template.to_string(), text);
            }
        }
    }
}
