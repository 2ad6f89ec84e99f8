//! Adding a connector: look at the file, show what it would be allowed, and keep it once the operator agrees. The looking
//! and the keeping are two steps, so that nothing is held open while a person reads.

use std::sync::Arc;

use crate::{
    audit::Event,
    consent::{Approval, Book, Connection, Difference, Isolation, Terms, now},
    digest::Digest,
    error::{Kind, Result},
    host::Host,
    manifest::{Manifest, declared},
    outbox::EventType,
    runtime::{Component, Inspected},
    sync::lock,
};

/// A connector that was looked at and is not approved yet.
pub struct Proposal {
    /// What it is.
    pub manifest: Manifest,
    /// What approving it allows.
    pub terms: Terms,
    /// The digest of its bytes.
    pub digest: Digest,
    /// What was approved before under its name, and how this differs.
    pub upgrade: Option<Upgrade>,
    environment: String,
    declared: declared::Connector,
    bytes: Vec<u8>,
    inspected: Inspected,
}

/// What an approval would replace.
#[derive(Debug, Clone)]
pub struct Upgrade {
    /// The version before.
    pub from_version: String,
    /// The digest before.
    pub from_digest: Digest,
    /// What changes.
    pub difference: Difference,
}

impl Proposal {
    /// What it says of itself, as it says it.
    pub fn declared(&self) -> &declared::Connector {
        &self.declared
    }

    /// Whether approving it would let a connector that is there already do more.
    pub fn widens(&self) -> bool {
        self.upgrade.as_ref().is_some_and(|upgrade| !upgrade.difference.widened.is_empty())
    }
}

impl Host {
    /// Looks at a file that somebody wants to add.
    ///
    /// # Errors
    /// `invalid-connector`, `denied` or `connector-failed`, with a sentence that says why it is refused.
    pub async fn propose_connector(&self, environment: &str, bytes: Vec<u8>) -> Result<Proposal> {
        let book = self.book(environment)?;
        let digest = Digest::of(&bytes);
        let inspected = Component::inspect(self.runtime()?, bytes.clone()).await?;
        let manifest = Manifest::check(&inspected.declared)?;
        let terms = Terms::of(&manifest, &inspected.imports);
        let upgrade = book.find_approval(&manifest.name)?.map(|before| Upgrade {
            difference: terms.since(&before.terms),
            from_version: before.version,
            from_digest: before.digest,
        });
        Ok(Proposal {
            terms,
            digest,
            upgrade,
            environment: environment.to_owned(),
            declared: inspected.declared.clone(),
            manifest,
            bytes,
            inspected,
        })
    }

    /// Keeps a connector that the operator has agreed to. Its isolation, where none is given, is that of the version before,
    /// or `call`.
    ///
    /// # Errors
    /// `approval-needed` where another version was approved meanwhile; those of the store.
    pub fn approve_connector(
        &self,
        proposal: &Proposal,
        isolation: Option<Isolation>,
        approved_by: &str,
    ) -> Result<Approval> {
        // Its files are kept in the same go: whoever removes another approval takes those away that none needs.
        let approving = lock(&self.approving);
        let book = self.book(&proposal.environment)?;
        let name = &proposal.manifest.name;
        let before = book.find_approval(name)?;
        if before.as_ref().map(|before| before.digest) != proposal.upgrade.as_ref().map(|upgrade| upgrade.from_digest) {
            return Err(Kind::ApprovalNeeded
                .error(format!("The connector `{name}` was changed by somebody else in the meantime."))
                .hint("Add it again, to be shown the difference from what is there now."));
        }
        let digest = self.library.keep(self.runtime()?, &proposal.bytes, &proposal.inspected)?;
        let approval = Approval {
            connector: name.clone(),
            version: proposal.manifest.version.clone(),
            digest,
            declared: Arc::new(proposal.declared.clone()),
            terms: Arc::new(proposal.terms.clone()),
            approved: now(),
            approved_by: approved_by.to_owned(),
            isolation: isolation
                .unwrap_or_else(|| before.as_ref().map_or(Isolation::default(), |before| before.isolation)),
        };
        self.audit.write(&Event::connector_approved(&proposal.environment, name, digest, approved_by))?;
        book.put_approval(&approval)?;
        if let Some(before) = before.filter(|before| before.digest != digest) {
            self.forget_unused(before.digest)?;
            drop(approving);
            self.tell_of_changes(&book, name)?;
        }
        Ok(approval)
    }

    /// Looks at every connection of a connector, where somebody wants to know whether one needs its owner now.
    fn tell_of_changes(&self, book: &Book<'_>, connector: &str) -> Result<()> {
        let environment = book.environment();
        if self.outbox.endpoints(environment)?.iter().any(|it| it.wants(EventType::NeedsReconnect)) {
            for connection in book.connections()?.iter().filter(|it| it.connector == connector) {
                // One that cannot be used is told of by that very attempt.
                drop(self.make_ready(environment, &connection.name, self.vault.revision()));
            }
        }
        Ok(())
    }

    /// Chooses how a connector's instances are kept apart.
    ///
    /// # Errors
    /// `not-found`; those of the store.
    pub fn isolate_connector(
        &self,
        environment: &str,
        name: &str,
        isolation: Isolation,
        caller: &str,
    ) -> Result<Approval> {
        let _approving = lock(&self.approving);
        let book = self.book(environment)?;
        let approval = Approval { isolation, ..book.approval(name)? };
        self.audit.write(&Event::connector_isolated(environment, name, approval.digest, isolation.name(), caller))?;
        book.put_approval(&approval)?;
        Ok(approval)
    }

    /// Removes a connector that no connection uses.
    ///
    /// # Errors
    /// `not-found`; `denied` while connections use it, or sign-ins of which one may come.
    pub fn remove_connector(&self, environment: &str, name: &str, caller: &str) -> Result<()> {
        let _approving = lock(&self.approving);
        let book = self.book(environment)?;
        let approval = book.approval(name)?;
        // What is kept from now on finds that it is gone.
        let keeping = lock(&self.keeping);
        unused(&book, name)?;
        self.audit.write(&Event::connector_removed(environment, name, approval.digest, caller))?;
        book.remove_approval(name)?;
        drop(keeping);
        self.forget_unused(approval.digest)
    }

    /// Removes the files of a digest that no environment has approved any longer.
    fn forget_unused(&self, digest: Digest) -> Result<()> {
        for environment in self.environments()? {
            if self.book(&environment.name)?.approvals()?.iter().any(|approval| approval.digest == digest) {
                return Ok(());
            }
        }
        self.library.remove(digest)
    }
}

/// Whether nothing is left that would be another's who takes a connector's name.
///
/// # Errors
/// `denied`, with what is left.
fn unused(book: &Book<'_>, name: &str) -> Result<()> {
    let users: Vec<String> =
        book.connections()?.into_iter().filter(|it: &Connection| it.connector == name).map(|it| it.name).collect();
    if !users.is_empty() {
        return Err(Kind::Denied
            .error(format!("The connector `{name}` is used by {}.", users.join(", ")))
            .hint("Remove the connections first: `attache connection remove NAME`."));
    }
    let waiting = book.pending()?.iter().filter(|(_, it)| it.drafted.connection.connector == name).count();
    if waiting > 0 {
        return Err(Kind::Denied
            .error(format!(
                "{waiting} sign-ins for the connector `{name}` wait to be confirmed: what they brought would be left at the \
                 provider."
            ))
            .hint("`attache serve` ends those that nobody confirms within ten minutes."));
    }
    // Another component of that name would be given the app's secrets without a word.
    match book.apps(name)?.first() {
        Some(app) => Err(Kind::Denied
            .error(format!("The connector `{name}` has the app `{}`, with its secrets.", app.name))
            .hint(format!("Remove it first: `attache app remove {name} --name {}`.", app.name))),
        None => Ok(()),
    }
}
