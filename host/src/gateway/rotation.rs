//! A gateway gets another key: everything that is sealed to it is sealed anew by the gateway itself, box by box, and the host puts
//! all of it in place at once. Nobody types anything again, and what was sealed to the old key is not kept.

use std::{collections::HashMap, time::Duration};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::{
    io::{AsyncRead, AsyncWrite, BufReader},
    time::timeout,
};

use super::{
    Gateway, Member, SealingKey,
    door::{self, read_line, stranger, write_line},
    key::OpeningKey,
    members::member_place,
    sealed::{Sealed, reseal},
    wire::Failed,
};
use crate::{
    audit::Event,
    consent::{AgreedGateway, App, Book, Connection, SealedBox},
    digest::Digest,
    error::{Kind, Result},
    host::Host,
    store::Changes,
};

/// A box: the terms of a manifest's option, and what was typed or captured.
const LONGEST_LINE: u64 = 4 << 20;
/// How long either end may take for one box.
const ANSWERS_WITHIN: Duration = Duration::from_secs(30);

/// What the gateway says first.
#[derive(Serialize, Deserialize)]
struct Wish {
    key: SealingKey,
}

/// What the host says.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Said {
    /// Seal that anew.
    Reseal(Sealed),
    /// All of it is in place.
    Rotated {
        boxes: usize,
    },
    Failed(Failed),
}

/// What the gateway answers.
#[derive(Serialize, Deserialize)]
struct Resealed {
    /// None where the old key did not open it.
    sealed: Option<Sealed>,
}

/// What is sealed to a gateway's key, and where that is kept.
struct Held {
    connections: Vec<(Connection, Option<SealedBox>)>,
    apps: Vec<App>,
}

/// The host's end: gives every box to be sealed anew, and puts them in place.
///
/// # Errors
/// `denied` for a stranger, and where other machines of the gateway would be left without the key.
pub(super) async fn take<S>(host: &Host, stream: S, who: Digest) -> Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let mut line = Line(BufReader::new(stream));
    // Who that is, is not known yet.
    let wish: Wish = line.read(door::LONGEST_LINE).await?;
    let rotated = async {
        let member = host.member(who)?.ok_or_else(stranger)?;
        let gateway = host.gateway(&member.environment, &member.gateway)?;
        if gateway.members.len() > 1 {
            return Err(Kind::Denied
                .error(format!("The gateway `{}` has other machines, which would be left with the old key.", gateway.name))
                .hint(format!(
                    "Remove them (`attache gateway remove {} --member ID`), and let them in again afterwards with the new \
                     recovery key.",
                    gateway.name
                )));
        }
        let mut anew = Anew::default();
        loop {
            resealed(host, &gateway, &member, &wish.key, &mut anew)?;
            while !anew.missing.is_empty() {
                for sealed in std::mem::take(&mut anew.missing) {
                    let before = sealed.digest()?;
                    anew.done.insert(before, line.reseal(sealed).await?);
                }
                resealed(host, &gateway, &member, &wish.key, &mut anew)?;
            }
            // What came meanwhile is sealed anew as well.
            let boxes = host.vault.commit_alone(|| {
                let (changes, boxes) = resealed(host, &gateway, &member, &wish.key, &mut anew)?;
                if !anew.missing.is_empty() {
                    return Ok(None);
                }
                let (old, new) = (gateway.key.fingerprint(), wish.key.fingerprint());
                host.audit.write(&Event::gateway_key_rotated(&gateway.environment, &gateway.name, old, new))?;
                Ok(Some((changes, boxes)))
            })?;
            if let Some(boxes) = boxes {
                return Ok((gateway.name, boxes));
            }
        }
    };
    match rotated.await {
        Ok((name, boxes)) => {
            tracing::info!(gateway = name, boxes, "a gateway has another key");
            line.write(&Said::Rotated { boxes }).await
        }
        Err(error) => {
            line.write(&Said::Failed((&error).into())).await?;
            Err(error)
        }
    }
}

/// The gateway's end. Gives how many boxes there were.
///
/// # Errors
/// Why the host does not want it; `unreachable` where the line broke, so that nobody here knows whether it is done.
pub(super) async fn ask<S>(stream: S, old: &OpeningKey, new: &OpeningKey) -> Result<usize>
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let mut line = Line(BufReader::new(stream));
    line.write(&Wish { key: new.public().clone() }).await?;
    loop {
        match line.read(LONGEST_LINE).await? {
            Said::Reseal(sealed) => line.write(&Resealed { sealed: reseal(&sealed, old, new.public()) }).await?,
            Said::Rotated { boxes } => return Ok(boxes),
            Said::Failed(failed) => return Err(failed.into()),
        }
    }
}

/// What was sealed anew.
#[derive(Default)]
struct Anew {
    /// By what it was before; none where the old key did not open it.
    done: HashMap<Digest, Option<Sealed>>,
    /// What is still to be.
    missing: Vec<Sealed>,
}

impl Anew {
    fn of(&mut self, sealed: Sealed) -> Result<Option<Sealed>> {
        if let Some(done) = self.done.get(&sealed.digest()?) {
            return Ok(done.clone());
        }
        self.missing.push(sealed);
        Ok(None)
    }
}

/// Everything that is kept for a gateway, sealed to its new key; where nothing is missing, that is all of it.
fn resealed(
    host: &Host,
    gateway: &Gateway,
    member: &Member,
    key: &SealingKey,
    anew: &mut Anew,
) -> Result<(Changes, usize)> {
    let book = host.book(&gateway.environment)?;
    let now = AgreedGateway { name: gateway.name.clone(), key: key.fingerprint() };
    let Held { connections, apps } = held(&book, gateway)?;
    let mut changes = Changes::new();
    let mut boxes = 0;
    for (connection, sealed) in connections {
        let (mut credential, mut captured) = (book.credential(connection.id)?, book.captured(connection.id)?);
        let Some(mut consent) = book.consent(connection.id)? else { continue };
        if let (Some(credential), Some(sealed)) = (&mut credential, &sealed) {
            boxes += 1;
            match anew.of(Sealed::of_connection(sealed))? {
                Some(resealed) => credential.sealed = Some(SealedBox::of(&sealed.terms, resealed.text)),
                // It opened nothing before, and says so when it is used.
                None => continue,
            }
        }
        if let (Some(of_captured), Some(sealed)) = (captured.as_mut().and_then(|it| it.sealed.as_mut()), &sealed) {
            boxes += 1;
            if let Some(resealed) = anew.of(Sealed::of_captured(&of_captured.text, &sealed.terms))? {
                of_captured.text = resealed.text;
            }
        }
        consent.gateway = Some(now.clone());
        let connection = Connection { gateway: Some(now.clone()), ..connection };
        changes = changes.and(book.kept_anew(&connection, credential.as_ref(), captured.as_ref(), &consent)?);
    }
    for mut app in apps {
        let Some(sealed) = app.sealed.take() else { continue };
        boxes += 1;
        let Some(resealed) = anew.of(Sealed::of_app(&sealed))? else { continue };
        app.sealed = Some(SealedBox::of(&sealed.terms, resealed.text));
        app.gateway = Some(now.clone());
        changes = changes.and(book.app_changes(&app)?);
    }
    // One that was removed meanwhile stays away.
    let member = Member { key: key.clone(), ..host.member(member.identity)?.ok_or_else(stranger)? };
    Ok((changes.put(&member_place(member.identity)?, &member)?, boxes))
}

fn held(book: &Book<'_>, gateway: &Gateway) -> Result<Held> {
    let is_its = |it: &Option<AgreedGateway>| {
        it.as_ref().is_some_and(|it| it.name == gateway.name && it.key == gateway.key.fingerprint())
    };
    let mut connections = Vec::new();
    for connection in book.connections()?.into_iter().filter(|it| is_its(&it.gateway)) {
        let sealed = book.credential(connection.id)?.and_then(|credential| credential.sealed);
        connections.push((connection, sealed));
    }
    let mut apps = Vec::new();
    for approval in book.approvals()? {
        apps.extend(book.apps(&approval.connector)?.into_iter().filter(|it| is_its(&it.gateway)));
    }
    Ok(Held { connections, apps })
}

/// What is said with a gateway that gets another key; neither end waits for the other for long.
struct Line<S>(BufReader<S>);

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Line<S> {
    async fn reseal(&mut self, sealed: Sealed) -> Result<Option<Sealed>> {
        self.write(&Said::Reseal(sealed)).await?;
        Ok(self.read::<Resealed>(LONGEST_LINE).await?.sealed)
    }

    async fn read<T: DeserializeOwned>(&mut self, longest: u64) -> Result<T> {
        let read = timeout(ANSWERS_WITHIN, read_line(&mut self.0, longest)).await;
        read.unwrap_or_else(|_| Err(Kind::Timeout.error(format!("Nothing was said within {ANSWERS_WITHIN:?}."))))
    }

    async fn write(&mut self, what: &impl Serialize) -> Result<()> {
        write_line(&mut self.0, what).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{consent::now, testing};

    #[test]
    fn a_gateway_that_is_removed_while_it_gets_another_key_stays_away() {
        // Regression: it was put in place with the other key, as if nobody had removed it.
        let (host, _home) = testing::host();
        let key = || OpeningKey::generate().unwrap().public().clone();
        let member = Member {
            gateway: "plant".into(),
            environment: "default".into(),
            identity: Digest::of(b"first"),
            key: key(),
            joined: now(),
            invited_by: "tester".into(),
        };
        host.vault.commit(Changes::new().put(&member_place(member.identity).unwrap(), &member).unwrap()).unwrap();
        let (gateway, new) = (host.gateway("default", "plant").unwrap(), key());
        let reseal = || resealed(&host, &gateway, &member, &new, &mut Anew::default());
        reseal().unwrap();
        host.remove_gateway("default", "plant", None, "tester").unwrap();
        assert_eq!(reseal().unwrap_err().kind(), Kind::Denied);
    }
}
