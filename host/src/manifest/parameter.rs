//! A parameter: what somebody types when making a connection, and what it must look like.

use regex::{Regex, RegexBuilder};
use url::Url;

use super::{ValueKind, audience, declared};
use crate::{
    error::{Error, Kind, Result},
    text,
};

/// A value that is no secret: a host, a path, a tenant.
const VALUE_BYTES: usize = 4 << 10;
/// A secret may be a PEM key with its certificates.
const SECRET_BYTES: usize = 64 << 10;
/// How deep a pattern's groups and repetitions may stand in each other, the two levels that anchor it included. Compiling goes as
/// deep, on a stack that a hostile manifest must not overflow.
const PATTERN_DEPTH: u32 = 32;
/// Values of one parameter that has several: as many origins as somebody can be expected to read before agreeing.
const MOST_VALUES: usize = 32;

/// One thing that is supplied when making a connection.
#[derive(Debug, Clone)]
pub struct Parameter {
    /// Its name in templates.
    pub name: String,
    /// One line for people.
    pub title: String,
    /// For people.
    pub description: Option<String>,
    /// What kind of text it is.
    pub kind: ValueKind,
    /// Used where nothing is typed.
    pub default: Option<String>,
    /// Allowed values; empty allows any.
    pub choices: Vec<String>,
    /// Anchored at both ends.
    pub pattern: Option<Regex>,
    /// Whether it may be left out.
    pub optional: bool,
    /// Whether the operator gives it once, with the app.
    pub of_app: bool,
    /// Whether it may have more than one value. They are kept as one text, each value a line of it.
    pub several: bool,
}

impl Parameter {
    pub(super) fn check(declared: &declared::Parameter) -> Result<Self> {
        let mut parameter = Self {
            name: declared.name.clone(),
            title: declared.title.clone(),
            description: None,
            kind: declared.kind,
            default: None,
            choices: Vec::new(),
            pattern: None,
            optional: false,
            of_app: false,
            several: false,
        };
        for setting in &declared.settings {
            use declared::ParameterSetting as Its;
            match setting {
                Its::Description(text) => parameter.description = Some(text.clone()),
                Its::Default(value) => parameter.default = Some(value.clone()),
                Its::Choices(choices) if choices.is_empty() => {
                    return Err(invalid("its choices are empty, so no value would fit"));
                }
                Its::Choices(choices) => parameter.choices = choices.clone(),
                Its::Pattern(pattern) => {
                    let anchored = format!("^(?:{pattern})$");
                    let compiled = RegexBuilder::new(&anchored)
                        .nest_limit(PATTERN_DEPTH)
                        .build()
                        .map_err(|error| invalid(&format!("its pattern is no regular expression ({error})")))?;
                    parameter.pattern = Some(compiled);
                }
                Its::Optional => parameter.optional = true,
                Its::OfApp => parameter.of_app = true,
                Its::Several => parameter.several = true,
            }
        }
        if parameter.several && parameter.is_secret() {
            return Err(invalid("a secret has one value: several are for an audience, where no secret may stand"));
        }
        if parameter.several && parameter.groups().next().is_some() {
            return Err(invalid("it has several values, of which its pattern's named groups would have one each"));
        }
        if parameter.kind == ValueKind::Secret && (parameter.default.is_some() || !parameter.choices.is_empty()) {
            return Err(invalid("a secret has no default and no choices, since the manifest is public"));
        }
        if let Some(default) = &parameter.default {
            parameter
                .accept(default)
                .map_err(|error| invalid(&format!("its default does not fit: {}", error.message())))?;
        }
        Ok(parameter)
    }

    /// A value that the host itself knows under this name.
    pub fn known(name: &str, kind: ValueKind) -> Self {
        Self {
            name: name.to_owned(),
            title: name.to_owned(),
            description: None,
            kind,
            default: None,
            choices: Vec::new(),
            pattern: None,
            optional: true,
            of_app: false,
            several: false,
        }
    }

    /// The names that its pattern's groups add: `api_key.dc`.
    pub fn groups(&self) -> impl Iterator<Item = String> {
        let groups = self.pattern.iter().flat_map(|pattern| pattern.capture_names().flatten());
        groups.map(|group| format!("{}.{group}", self.name))
    }

    /// Whether the connector never sees it.
    pub fn is_secret(&self) -> bool {
        self.kind == ValueKind::Secret
    }

    /// Whether nothing stands in for it where nobody types it.
    pub fn must_be_typed(&self) -> bool {
        !self.optional && self.default.is_none()
    }

    /// That it was not typed.
    pub fn missing(&self) -> Error {
        Kind::InvalidInput.error(format!("`{}` ({}) is missing.", self.name, self.title))
    }

    /// How many bytes may be typed for it.
    pub fn longest(&self) -> usize {
        let longest = self.longest_value();
        if self.several { longest * MOST_VALUES } else { longest }
    }

    fn longest_value(&self) -> usize {
        if self.is_secret() { SECRET_BYTES } else { VALUE_BYTES }
    }

    /// Checks what somebody typed.
    ///
    /// # Errors
    /// `invalid-input` with what is wrong; the value itself is never repeated.
    pub fn accept(&self, value: &str) -> Result<()> {
        if !self.several {
            return self.accept_one(value);
        }
        let count = each(value).count();
        if count > MOST_VALUES {
            return Err(Kind::InvalidInput
                .error(format!("`{}` has {count} values; it may have {MOST_VALUES}.", text::foreign(&self.name, 64))));
        }
        each(value).try_for_each(|value| self.accept_one(value))
    }

    fn accept_one(&self, value: &str) -> Result<()> {
        let wrong = |why: &str| {
            Err(Kind::InvalidInput.error(format!("The value for `{}` {why}.", text::foreign(&self.name, 64))))
        };
        let longest = self.longest_value();
        if value.is_empty() {
            return wrong("is empty");
        }
        if value.len() > longest {
            return wrong(&format!("has {} bytes; it may have {longest}", value.len()));
        }
        if !self.is_secret() && each(value).nth(1).is_some() {
            return wrong("has more than one line: this parameter takes one value");
        }
        match self.kind {
            // A secret may be a PEM text of many lines; where it lands decides what it may hold.
            ValueKind::Secret if value.contains('\0') => return wrong("holds a NUL"),
            ValueKind::Secret => {}
            ValueKind::Text if value.chars().any(char::is_control) => return wrong("holds a control character"),
            ValueKind::Text => {}
            ValueKind::Label if !audience::is_label(value) => {
                return wrong(
                    "is not a label of a host name: letters, digits and hyphens, 63 at most, no hyphen at an end",
                );
            }
            ValueKind::Label => {}
            ValueKind::Host if !value.split('.').all(audience::is_label) => return wrong("is not a host name"),
            ValueKind::Host => {}
            ValueKind::Url => {
                if let Err(why) = acceptable_url(value) {
                    return wrong(why);
                }
            }
            ValueKind::Integer if value.parse::<i64>().is_err() => return wrong("is not a whole number"),
            ValueKind::Integer => {}
            ValueKind::Boolean if !matches!(value, "true" | "false") => return wrong("is neither `true` nor `false`"),
            ValueKind::Boolean => {}
        }
        if !self.choices.is_empty() && !self.choices.iter().any(|choice| choice == value) {
            return wrong(&format!("is none of {}", self.choices.join(", ")));
        }
        match &self.pattern {
            Some(pattern) if !pattern.is_match(value) => wrong("does not look as the connector says it must"),
            _ => Ok(()),
        }
    }
}

/// The values in the text of a parameter that has several.
pub fn each(text: &str) -> impl Iterator<Item = &str> {
    text.split('\n')
}

/// The text of a parameter that has these values.
pub fn together(values: &[impl AsRef<str>]) -> String {
    values.iter().map(AsRef::as_ref).collect::<Vec<_>>().join("\n")
}

/// The same as people read it.
pub fn listed(text: &str) -> String {
    each(text).collect::<Vec<_>>().join(", ")
}

fn acceptable_url(value: &str) -> Result<(), &'static str> {
    let url = Url::parse(value).map_err(|_| "is not a URL")?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err("is not an http or https URL");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("holds a user name or password, which a URL must not; credentials have parameters of their own");
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("holds a query or a fragment; it is the beginning of a URL");
    }
    Ok(())
}

fn invalid(why: &str) -> Error {
    Kind::InvalidConnector.error(why)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(kind: ValueKind, settings: &[declared::ParameterSetting]) -> Result<Parameter> {
        Parameter::check(&declared::Parameter {
            name: "tenants".into(),
            title: "Tenants".into(),
            kind,
            settings: settings.to_vec(),
        })
    }

    #[test]
    fn each_of_several_values_fits_as_one_does() {
        use declared::ParameterSetting as Its;
        let settings = [Its::Several, Its::Choices(vec!["a".into(), "b".into()]), Its::Default(together(&["a", "b"]))];
        let tenants = with(ValueKind::Label, &settings).unwrap();
        assert!(tenants.accept("a").is_ok());
        assert!(tenants.accept("b\na").is_ok());
        for unfit in ["", "a\n", "a\n\nb", "a\nc", "a\r\nb", "a, b"] {
            assert_eq!(tenants.accept(unfit).unwrap_err().kind(), Kind::InvalidInput, "{unfit:?}");
        }
        let endless = vec!["a"; MOST_VALUES + 1];
        assert!(tenants.accept(&together(&endless[1..])).is_ok());
        assert!(tenants.accept(&together(&endless)).is_err());
        assert!(with(ValueKind::Label, &[Its::Several, Its::Default("a\n".into())]).is_err());
    }

    #[test]
    fn where_one_value_is_wanted_a_second_line_is_refused() {
        // Regression: URL parsers drop line breaks, so that two URLs were one of another host.
        for (kind, value) in [(ValueKind::Url, "https://a\n.example"), (ValueKind::Text, "a\nb")] {
            let error = with(kind, &[]).unwrap().accept(value).unwrap_err();
            assert!(error.message().ends_with("this parameter takes one value."), "{error}");
        }
    }

    #[test]
    fn neither_secrets_nor_named_groups_have_several_values() {
        use declared::ParameterSetting as Its;
        assert!(with(ValueKind::Secret, &[Its::Several]).is_err());
        assert!(with(ValueKind::Text, &[Its::Several, Its::Pattern("(?<dc>..)-.*".into())]).is_err());
        assert!(with(ValueKind::Text, &[Its::Several, Its::Pattern("(..)-.*".into())]).is_ok());
    }

    #[test]
    fn a_pattern_nested_over_200_deep_is_refused() {
        // Regression: a pattern that fuzzing had kept overflowed a stack of 2 MB; that one is in the corpus.
        let nested = |groups: usize| format!("{}a{}", "(".repeat(groups), ")+".repeat(groups));
        let with_pattern = |pattern| with(ValueKind::Label, &[declared::ParameterSetting::Pattern(pattern)]);
        let error = with_pattern(nested(120)).unwrap_err();
        assert_eq!(error.kind(), Kind::InvalidConnector);
        assert!(error.message().contains("nested"), "{}", error.message());
        assert!(with_pattern(nested(10)).unwrap().accept("aaa").is_ok());
    }
}
