//! A host inside this process, as somebody has it who embeds the library: what one process does over several calls shows
//! only here.

use std::{fs, sync::Arc};

use attache::{
    Error, Host,
    apps::AppRequest,
    call::Call,
    connect::{ConnectProposal, ConnectRequest, Made, SignedIn, Trip},
    consent::{CameBack, Connection, Isolation},
    egress::Preview,
    manifest::Effects,
    secret::Secret,
    settings::{Given, Settings, Source, Sourced},
    transport::PrivateAllowed,
};
use serde_json::Value;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use url::Url;

use crate::{Browser, Page, connector, service::Service};

/// Where people are sent back to. Nothing listens there.
pub const CALLBACK: &str = "http://127.0.0.1:1/callback";

/// A host on a data directory of its own, with one connector.
pub struct Embedded {
    runtime: Runtime,
    host: Arc<Host>,
    connector: String,
    folder: TempDir,
}

impl Embedded {
    /// With this connector, isolated so.
    pub fn new(guest: &str, isolation: Isolation) -> Self {
        Self::with(guest, isolation, |_| {})
    }

    /// As [`Embedded::new`], with other settings.
    pub fn with(guest: &str, isolation: Isolation, change: impl FnOnce(&mut Settings)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let given = |value| Some(Sourced { value, source: Source::Flag });
        let key = format!("file:{}", folder.path().join("key").display());
        let mut settings = Settings::load(Given {
            data_dir: given(folder.path().join("data")),
            key: Some(Sourced { value: key, source: Source::Flag }),
            environment: None,
        })
        .unwrap();
        change(&mut settings);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let host = Host::open(&settings).unwrap();
        runtime.block_on(async {
            let proposal = host.propose_connector("default", fs::read(connector(guest)).unwrap()).await.unwrap();
            host.approve_connector(&proposal, Some(isolation), "tester").unwrap();
        });
        Self { runtime, host: Arc::new(host), connector: guest.to_owned(), folder }
    }

    /// Connects it to a service. `values` are parameters, those that begin with `!` secrets.
    pub fn connect(
        &self,
        name: &str,
        option: &str,
        service: &Service,
        values: &[(&str, &str)],
    ) -> Result<Connection, Error> {
        self.connect_private(name, option, service, &[], values)
    }

    /// As [`Embedded::connect`], with more services on this machine that may be reached.
    pub fn connect_private(
        &self,
        name: &str,
        option: &str,
        service: &Service,
        others: &[&Service],
        values: &[(&str, &str)],
    ) -> Result<Connection, Error> {
        let mut request = self.request(name, option)?;
        request.private =
            PrivateAllowed::parse(others.iter().chain([&service]).map(|service| service.authority())).unwrap();
        request.parameters.insert("base".into(), service.base());
        for (name, value) in values {
            match name.strip_prefix('!') {
                Some(name) => drop(request.secrets.insert(name.into(), Secret::new(*value))),
                None => drop(request.parameters.insert((*name).into(), (*value).into())),
            }
        }
        self.make(request)
    }

    /// Registers an app with a provider's origin.
    pub fn set_app(&self, client: (&str, &str), origin: &str) {
        self.host.set_app(self.app(client, origin)).unwrap();
    }

    /// What an operator says of such an app.
    pub fn app(&self, client: (&str, &str), origin: &str) -> AppRequest {
        AppRequest {
            environment: "default".into(),
            connector: self.connector.clone(),
            client_id: Some(client.0.into()),
            origins: vec![origin.into()],
            secrets: [("client_secret".to_owned(), Secret::new(client.1))].into(),
            caller: "tester".into(),
            ..AppRequest::default()
        }
    }

    /// Tells webhooks what happens, from now on.
    pub fn deliver_webhooks(&self) {
        self.runtime.spawn(self.host.clone().deliver_webhooks());
    }

    /// What somebody would connect who signs in at a provider, which is the service too.
    pub fn propose(&self, name: &str, option: &str, provider: &str) -> Result<ConnectProposal, Error> {
        let mut request = self.request(name, option)?;
        request.private = PrivateAllowed::parse([provider.trim_start_matches("http://")]).unwrap();
        request.parameters = [("base", provider), ("issuer", provider)].map(|(k, v)| (k.into(), v.into())).into();
        self.runtime.block_on(self.host.propose_connection(request))
    }

    /// Connects by signing in there. `agree` is what the person does on the provider's page, if there is one.
    pub fn sign_in(
        &self,
        name: &str,
        option: &str,
        provider: &str,
        agree: impl FnOnce(&Browser, Page) -> Page,
    ) -> Result<Made, Error> {
        self.go_through(self.propose(name, option, provider)?, agree)
    }

    /// Connects what was proposed by going to a page and coming back.
    pub fn go_through(
        &self,
        proposal: ConnectProposal,
        agree: impl FnOnce(&Browser, Page) -> Page,
    ) -> Result<Made, Error> {
        let trip = self.send_away(&proposal)?;
        let browser = Browser::that_stops_at(CALLBACK);
        let page = agree(&browser, browser.open(trip.url.as_str()));
        self.arrive(&proposal, trip, came(&page.url))
    }

    /// Begins the trip to a page.
    pub fn send_away(&self, proposal: &ConnectProposal) -> Result<Trip, Error> {
        self.runtime.block_on(self.host.send_away(proposal, &CALLBACK.parse().unwrap()))
    }

    /// Connects with what a browser brought back.
    pub fn arrive(&self, proposal: &ConnectProposal, trip: Trip, came: CameBack) -> Result<Made, Error> {
        self.runtime.block_on(self.host.connect(proposal, SignedIn::CameBack { trip, came }))
    }

    /// As [`Embedded::arrive`], with this query.
    pub fn come_back(&self, proposal: ConnectProposal, trip: Trip, query: String) -> Result<Made, Error> {
        self.arrive(&proposal, trip, CameBack { below: None, query })
    }

    /// Waits for something that the host does.
    pub fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    /// Connects it by an option that has no parameters.
    pub fn connect_bare(&self, name: &str, option: &str) -> Result<Connection, Error> {
        self.make(self.request(name, option)?)
    }

    /// What somebody would connect, before anything is typed.
    pub fn request(&self, name: &str, option: &str) -> Result<ConnectRequest, Error> {
        Ok(ConnectRequest {
            environment: "default".into(),
            connector: self.connector.clone(),
            name: name.into(),
            option: option.into(),
            caller: "tester".into(),
            again: self.host.book("default")?.find_connection(name)?.is_some(),
            ..ConnectRequest::default()
        })
    }

    /// Connects without a person.
    pub fn make(&self, request: ConnectRequest) -> Result<Connection, Error> {
        self.runtime.block_on(async {
            let proposal = self.host.propose_connection(request).await?;
            Ok(self.host.connect(&proposal, SignedIn::Agreed).await?.connection)
        })
    }

    /// Calls an operation as somebody.
    pub fn call_as(&self, caller: &str, connection: &str, operation: &str, input: Value) -> Result<Value, Error> {
        self.runtime.block_on(self.host.call(&call(caller, connection, operation, input)))
    }

    /// Calls an operation.
    pub fn call(&self, connection: &str, operation: &str, input: Value) -> Result<Value, Error> {
        self.call_as("tester", connection, operation, input)
    }

    /// Shows an operation's first request.
    pub fn dry_run(&self, connection: &str, operation: &str, input: Value) -> Result<Preview, Error> {
        self.runtime.block_on(self.host.dry_run(&call("tester", connection, operation, input), Effects::all()))
    }

    /// Calls an operation many times at once, and gives what came of each.
    pub fn call_at_once(
        &self,
        times: usize,
        connection: &str,
        operation: &str,
        input: &Value,
    ) -> Vec<Result<Value, Error>> {
        self.calls_at_once(operation, (0..times).map(|_| (connection.to_owned(), input.clone())))
    }

    /// Calls an operation of several connections at once, and gives what came of each.
    pub fn calls_at_once(
        &self,
        operation: &str,
        calls: impl IntoIterator<Item = (String, Value)>,
    ) -> Vec<Result<Value, Error>> {
        self.runtime.block_on(async {
            let calls: Vec<_> = calls
                .into_iter()
                .map(|(connection, input)| {
                    let (host, call) = (self.host.clone(), call("tester", &connection, operation, input));
                    tokio::spawn(async move { host.call(&call).await })
                })
                .collect();
            let mut ended = Vec::new();
            for call in calls {
                ended.push(call.await.unwrap());
            }
            ended
        })
    }

    /// Asks the connector whose account a connection is of.
    pub fn check(&self, connection: &str) -> Result<String, Error> {
        self.runtime.block_on(self.host.check_connection("default", connection, "tester"))
    }

    /// Begins a call and drops it once `until` says so.
    pub fn drop_call(&self, connection: &str, operation: &str, input: Value, until: impl Fn() -> bool) {
        self.runtime.block_on(async {
            let (host, call) = (self.host.clone(), call("tester", connection, operation, input));
            let running = tokio::spawn(async move { host.call(&call).await });
            while !until() {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
            running.abort();
            assert!(running.await.unwrap_err().is_cancelled());
        });
    }

    /// The host, for something that listens.
    pub(crate) fn shared(&self) -> Arc<Host> {
        self.host.clone()
    }

    /// The host itself.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// The same, for whoever keeps it.
    pub fn shared_host(&self) -> Arc<Host> {
        self.host.clone()
    }

    /// The folder with everything that it wrote.
    pub fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }
}

/// How somebody came back who is at this address below [`CALLBACK`].
pub fn came(url: &Url) -> CameBack {
    let below = url.path().strip_prefix("/callback/").map(str::to_owned);
    CameBack { below, query: url.query().unwrap_or_default().to_owned() }
}

fn call(caller: &str, connection: &str, operation: &str, input: Value) -> Call {
    Call {
        environment: "default".into(),
        connection: connection.into(),
        id: None,
        operation: operation.into(),
        input,
        caller: caller.into(),
    }
}
