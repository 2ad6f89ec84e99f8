//! Where people may be sent to when they come back: URLs that the operator names, looked at before anybody is sent there.

use url::Url;

use crate::{
    error::{Kind, Result},
    origin::Origin,
    text,
};

/// What the host adds to the query.
const OURS: [&str; 2] = ["attache_code", "state"];
/// Schemes that lead to no application: a browser runs or shows what is in them itself.
const OF_BROWSERS: [&str; 9] =
    ["about", "blob", "data", "file", "filesystem", "ftp", "javascript", "vbscript", "view-source"];
/// As long as every browser and every proxy takes.
const LONGEST: usize = 2_000;

/// Refuses a URL with which an application would not safely get what the host adds.
///
/// # Errors
/// `usage`, with what is wrong with it.
pub(super) fn refuse_unfit(url: &Url) -> Result<()> {
    let wrong = |why: &str| {
        let shown = text::foreign(url.as_str(), 200);
        Err(Kind::Usage.error(format!("People cannot be sent back to `{shown}`: {why}.")))
    };
    if OF_BROWSERS.contains(&url.scheme()) {
        return wrong("a browser opens no application with that");
    }
    if url.as_str().len() > LONGEST {
        return wrong(&format!("it has more than {LONGEST} bytes"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return wrong("a name or password stands in it, which may look like a host");
    }
    if url.fragment().is_some() {
        return wrong("what stands behind the `#` is sent to nobody (RFC 6749, 3.1.2)");
    }
    match url.query_pairs().find(|(name, _)| OURS.contains(&&**name)) {
        Some((name, _)) => {
            wrong(&format!("the host adds `{name}` itself, and of two an application may take the other"))
        }
        None => Ok(()),
    }
}

/// The same for one that the operator names, where others may be on the way to it.
///
/// # Errors
/// `usage`, with what would allow it.
pub(super) fn refuse_unsafe(url: &Url, may_be_clear: bool) -> Result<()> {
    refuse_unfit(url)?;
    if url.scheme() == "http" && !may_be_clear && !Origin::of(url)?.is_loopback() {
        return Err(Kind::Usage
            .error(format!(
                "`{}` is not https, so that codes would travel in the clear.",
                text::foreign(url.as_str(), 200)
            ))
            .hint("Name an https URL, or say `--insecure` where that may be."));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(url: &str) -> Option<String> {
        refuse_unsafe(&Url::parse(url).unwrap(), false).err().map(|error| error.message().to_owned())
    }

    #[test]
    fn people_are_sent_back_to_applications_and_nothing_that_looks_like_one() {
        for good in [
            "https://app.example.com/connected",
            "https://app.example.com/connected?tenant=7&code=x",
            "http://127.0.0.1:1/connected",
            "http://[::1]:1/",
            "http://localhost:3000/",
            "com.example.app:/connected",
            "com.example.app:connected",
        ] {
            assert_eq!(refused(good), None, "{good}");
        }
        let long = format!("https://app.example.com/{}", "x".repeat(LONGEST));
        for (bad, why) in [
            ("javascript:alert(1)", "opens no application"),
            ("JavaScript:alert(1)", "opens no application"),
            ("data:text/html,x", "opens no application"),
            ("file:///etc/passwd", "opens no application"),
            ("view-source:https://app.example.com/", "opens no application"),
            ("https://app.example.com/#x", "`#`"),
            ("https://app.example.com/#", "`#`"),
            ("https://app.example.com@evil.example/", "look like a host"),
            ("https://:x@evil.example/", "look like a host"),
            ("https://app.example.com/?state=x", "`state`"),
            ("https://app.example.com/?a=b&attache%5Fcode=x", "`attache_code`"),
            ("http://app.example.com/", "in the clear"),
            ("http://127.0.0.1.evil.example/", "in the clear"),
            ("http://localhost./", "in the clear"),
            (&long, "2000 bytes"),
        ] {
            let said = refused(bad).unwrap_or_else(|| panic!("{bad}"));
            assert!(said.contains(why), "{bad}: {said}");
        }
        assert!(refuse_unsafe(&Url::parse("http://app.example.com/").unwrap(), true).is_ok());
    }
}
