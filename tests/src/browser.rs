//! A browser without a window: it follows redirects, keeps cookies, and sends the forms that a page has.

use std::{collections::BTreeMap, fs, path::Path, time::Duration};

use reqwest::{
    Certificate,
    blocking::{Client, RequestBuilder, Response},
    redirect::Policy,
};
use url::Url;

/// One person's browser, with cookies of its own.
pub struct Browser {
    client: Client,
    stops_at: Option<String>,
}

/// What it shows.
#[derive(Debug)]
pub struct Page {
    /// In the address bar.
    pub url: Url,
    /// Of the last answer.
    pub status: u16,
    /// By lower-case name, of the last answer.
    pub headers: BTreeMap<String, String>,
    /// Its source.
    pub html: String,
    /// Every address on the way here.
    pub through: Vec<Url>,
}

impl Browser {
    /// A fresh one.
    pub fn new() -> Self {
        Self::that_trusts(None)
    }

    /// One that trusts this certificate too.
    pub fn that_trusts(certificate: Option<&Path>) -> Self {
        let client = Client::builder().cookie_store(true).redirect(Policy::none()).timeout(Duration::from_secs(60));
        let trusted = certificate.map(|path| Certificate::from_pem(&fs::read(path).unwrap()).unwrap());
        Self { client: client.tls_certs_merge(trusted).build().unwrap(), stops_at: None }
    }

    /// One that goes no further than an address that begins so: what is there is looked at, and not opened.
    pub fn that_stops_at(address: &str) -> Self {
        Self { stops_at: Some(address.to_owned()), ..Self::new() }
    }

    /// Opens an address and follows where it leads.
    #[track_caller]
    pub fn open(&self, url: &str) -> Page {
        self.follow(self.client.get(url), Url::parse(url).unwrap())
    }

    /// Opens an address and stays there.
    #[track_caller]
    pub fn look(&self, url: &str) -> Page {
        page(self.client.get(url).send().unwrap(), Vec::new())
    }

    /// Sends a page's form, with these fields over its own, and follows where that leads.
    #[track_caller]
    pub fn submit(&self, page: &Page, fields: &[(&str, &str)]) -> Page {
        let (request, url) = self.form(page, fields);
        self.follow(request, url)
    }

    /// Sends a page's form, and stays with the answer.
    #[track_caller]
    pub fn submit_only(&self, shown: &Page, fields: &[(&str, &str)]) -> Page {
        page(self.form(shown, fields).0.send().unwrap(), Vec::new())
    }

    #[track_caller]
    fn form(&self, page: &Page, fields: &[(&str, &str)]) -> (RequestBuilder, Url) {
        assert!(page.html.contains("<form"), "there is no form on {}: {}", page.url, page.html);
        let action = attribute(page.html.split("<form").nth(1).unwrap().split('>').next().unwrap(), "action");
        let url = action.map_or_else(|| page.url.clone(), |action| page.url.join(&action).unwrap());
        let mut all: BTreeMap<String, String> = BTreeMap::new();
        for input in page.html.split("<input").skip(1).map(|rest| rest.split('>').next().unwrap()) {
            if let Some(name) = attribute(input, "name") {
                all.insert(name, attribute(input, "value").unwrap_or_default());
            }
        }
        all.extend(fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        (self.client.post(url.clone()).form(&all), url)
    }

    #[track_caller]
    fn follow(&self, request: RequestBuilder, mut url: Url) -> Page {
        let mut answer = request.send().unwrap();
        let mut through = vec![url.clone()];
        for _ in 0..20 {
            let redirects = answer.status().is_redirection();
            let shown = page(answer, through.clone());
            let location = shown.headers.get("location").filter(|_| redirects).cloned();
            let Some(location) = location.or_else(|| refresh(&shown.html)) else { return shown };
            url = url.join(&location).unwrap();
            through.push(url.clone());
            if self.stops_at.as_ref().is_some_and(|stop| url.as_str().starts_with(stop)) {
                return Page { url, through, ..shown };
            }
            answer = self.client.get(url.clone()).send().unwrap_or_else(|error| panic!("{url}: {error}"));
        }
        panic!("redirected without end, through {through:?}");
    }
}

impl Default for Browser {
    fn default() -> Self {
        Self::new()
    }
}

fn page(answer: Response, through: Vec<Url>) -> Page {
    let headers = answer.headers().iter();
    Page {
        url: answer.url().clone(),
        status: answer.status().as_u16(),
        headers: headers.map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned())).collect(),
        html: answer.text().unwrap(),
        through,
    }
}

/// Where a page sends a browser by itself.
fn refresh(html: &str) -> Option<String> {
    let tag = html.split("<meta http-equiv=\"refresh\"").nth(1)?.split('>').next()?;
    Some(attribute(tag, "content")?.split_once("url=")?.1.to_owned())
}

fn attribute(tag: &str, name: &str) -> Option<String> {
    let value = tag.split(&format!("{name}=\"")).nth(1)?.split('"').next()?;
    let value = value.replace("&amp;", "&").replace("&#38;", "&").replace("&quot;", "\"");
    Some(value.replace("&#34;", "\"").replace("&#39;", "'"))
}
