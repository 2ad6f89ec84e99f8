//! What changed since an account's owner agreed: the connector that is approved now may be another than they were shown, or
//! none.

use std::collections::BTreeSet;

use crate::{
    consent::{self, Book, Difference, Pending},
    digest::Digest,
    error::{Kind, Result},
    host::Host,
    sync::lock,
};

impl Host {
    /// How what the approved connector would do with a connection differs from what its owner agreed to. What is new stands
    /// under `widened`, and calls are refused because of it; what it no longer does under `other`.
    ///
    /// # Errors
    /// `not-found`; `approval-needed`, `consent-needed` or `reconnect-needed` where nothing can be compared, with what mends it.
    pub fn changes_since_consent(&self, environment: &str, name: &str) -> Result<Difference> {
        let book = self.book(environment)?;
        let connection = book.connection(name)?;
        let agreed = book
            .consent(connection.id)?
            .ok_or_else(|| Kind::NotFound.error(format!("There is no consent to the connection `{name}`.")))?;
        let manifest = self.manifest(&book.approval(&connection.connector)?)?;
        let (option, mut values) = consent::typed(&manifest, &connection, book.credential(connection.id)?)?;
        if let Some(app) = connection.app.as_deref() {
            book.app(&connection.connector, Some(app))?.give(option, &mut values)?;
        }
        if !option.scheme.is_direct() {
            let captured = book.captured(connection.id)?.unwrap_or_default();
            values = consent::with_captured(&option.scheme.captured(), values, &captured)?;
        }
        let now = consent::resolve(&manifest, option, &values, &connection.discovered, &connection.private)?;
        let sign_in = consent::sign_in_origins(option, &values, &connection.discovered)?;
        let required = option.scheme.oauth2().map(|it| it.scopes.as_slice()).unwrap_or_default();
        let required = required.iter().filter(|scope| scope.required).map(|scope| scope.name.to_string());
        let mut difference = Difference::default();
        let mut compare = |what: &str, before: &[String], after: BTreeSet<String>| {
            let new = after.iter().filter(|it| !before.contains(it));
            difference.widened.extend(new.map(|it| format!("new {what}: {it}")));
            let gone = before.iter().filter(|it| !after.contains(*it));
            difference.other.extend(gone.map(|it| format!("no longer {what}: {it}")));
        };
        compare("origin that receives the credential", &agreed.origins, strings(&now.audience));
        compare("open host", &agreed.open_hosts, strings(&now.open));
        compare("placement", &agreed.placements, option.attach.iter().map(|it| it.place()).collect());
        compare("origin to sign in at", &agreed.sign_in, strings(&sign_in));
        // What was asked for beside the required ones is the owner's choice, and no change.
        let missing = required.filter(|scope| !agreed.scopes.contains(scope));
        difference.widened.extend(missing.map(|scope| format!("new scope: {scope}")));
        Ok(difference)
    }

    /// Keeps what somebody signed in for until it is confirmed.
    ///
    /// # Errors
    /// `approval-needed` where the connector was changed or removed meanwhile; those of the store.
    pub(super) fn keep_pending(&self, book: &Book<'_>, code: Digest, pending: &Pending) -> Result<()> {
        let _keeping = lock(&self.keeping);
        approved_still(book, &pending.drafted.connection.connector, pending.drafted.consent.digest)?;
        book.put_pending(code, pending)
    }
}

/// Whether the connector that is approved is the one that was agreed to. Under [`Host::keeping`] it is not removed until what
/// comes of this is written, and so it is told of what was written when it is; nor is its environment.
///
/// # Errors
/// `approval-needed`.
pub(super) fn approved_still(book: &Book<'_>, connector: &str, agreed: Digest) -> Result<()> {
    match book.find_approval(connector)? {
        Some(approval) if approval.digest == agreed => Ok(()),
        _ => Err(Kind::ApprovalNeeded
            .error("The connector was changed by somebody else in the meantime.")
            .hint("Connect again.")),
    }
}

fn strings(all: &[impl ToString]) -> BTreeSet<String> {
    all.iter().map(ToString::to_string).collect()
}
