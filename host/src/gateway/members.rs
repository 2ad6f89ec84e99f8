//! Which gateways have joined, and which may. Each belongs to one environment.

use std::time::Duration;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Identity, SealingKey, code::Code};
use crate::{
    audit::Event,
    consent::{now, proper_name},
    digest::Digest,
    error::{Error, Kind, Result},
    host::Host,
    secret::Secret,
    store::{Changes, Place},
    sync::lock,
    text,
};

/// How long a code may be used: long enough to walk to the other machine, short enough that one which is found later opens
/// nothing.
pub const CODE_LASTS: Duration = Duration::from_secs(15 * 60);

/// A gateway: one machine, or several that stand in for each other, since they hold the same key.
#[derive(Debug, Clone)]
pub struct Gateway {
    /// For people, unique in the environment.
    pub name: String,
    /// The only one that it serves.
    pub environment: String,
    /// What its boxes are sealed to.
    pub key: SealingKey,
    /// At least one, in the order in which they joined, by the second.
    pub members: Vec<Member>,
}

/// A machine that joined; one record of the store.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Member {
    /// The gateway's name.
    pub gateway: String,
    /// And the environment that it is in.
    pub environment: String,
    /// What it proves to be itself by.
    pub identity: Digest,
    /// What its boxes are sealed to: the same for all machines of a gateway.
    pub key: SealingKey,
    /// RFC 3339.
    pub joined: String,
    /// Who let it in.
    pub invited_by: String,
}

impl Member {
    /// What people call it by.
    pub fn id(&self) -> String {
        self.identity.short()
    }
}

/// What an operator hands over.
#[derive(Debug)]
pub struct Invited {
    /// Shown this once.
    pub code: Secret,
    /// RFC 3339.
    pub until: String,
}

/// What a code is for. The code itself is not kept.
#[derive(Serialize, Deserialize)]
pub(crate) struct Invitation {
    environment: String,
    name: String,
    /// Whether it is for another machine of a gateway that there is.
    another: bool,
    by: String,
    /// In seconds since 1970.
    until: i64,
    /// Of its secret part, which has 256 bits of randomness: a slow hash would add nothing.
    hash: Digest,
}

/// Where gateways are kept, and the codes of those that may join.
pub(crate) const GATEWAYS: &str = "gateways";
/// See [`GATEWAYS`].
pub(crate) const CODES: &str = "gateway-codes";
/// Apart from what calls depend on: one that is seen again changes nothing for them.
pub(crate) const CONTACTS: &str = "gateway-contacts";

impl Host {
    /// Who this host is to its gateways.
    ///
    /// # Errors
    /// `internal`.
    pub(super) fn gateway_identity(&self) -> Result<Identity> {
        Identity::of_seed(&self.vault.subkey(b"gateway identity"))
    }

    /// Makes a code with which one machine may join under that name; as `another` of a gateway that there is.
    ///
    /// # Errors
    /// `not-found` for the environment or the gateway that there should be, `usage` for the name, `already-exists`.
    pub fn invite_gateway(&self, environment: &str, name: &str, another: bool, caller: &str) -> Result<Invited> {
        let _keeping = lock(&self.keeping);
        self.book(environment)?;
        proper_name(name)?;
        match self.find_gateway(environment, name)? {
            Some(_) if !another => return Err(already(name)),
            None if another => return Err(no_gateway(environment, name)),
            _ => {}
        }
        let code = Code::new(self.gateway_identity()?.public())?;
        let until = Timestamp::now() + jiff::SignedDuration::try_from(CODE_LASTS).unwrap_or_default();
        let invitation = Invitation {
            environment: environment.to_owned(),
            name: name.to_owned(),
            another,
            by: caller.to_owned(),
            until: until.as_second(),
            hash: Digest::of(code.secret.expose()),
        };
        let over = self.codes_over(Timestamp::now())?;
        self.audit.write(&Event::gateway_invited(environment, name, caller))?;
        let changes = over.iter().fold(Changes::new(), |changes, place| changes.delete(place));
        self.vault.commit(changes.put(&code_place(code.id)?, &invitation)?)?;
        Ok(Invited { code: code.text(), until: until.strftime("%Y-%m-%dT%H:%M:%SZ").to_string() })
    }

    /// Lets a machine in that shows a code: from now on it is known by its keys.
    ///
    /// # Errors
    /// `denied`, with one sentence for a code that was used, has run out or never was, and another where it has not the key of
    /// the gateway that it is to be another of; `already-exists`.
    pub(super) fn join_gateway(&self, id: Uuid, secret: &Secret, identity: Digest, key: SealingKey) -> Result<Member> {
        // One at a time: a code is used once, for a gateway and an environment that stay until this is written.
        let _keeping = lock(&self.keeping);
        let place = code_place(id)?;
        let shown = Digest::of(secret.expose());
        let invitation = self.vault.get::<Invitation>(&place)?.filter(|invitation| {
            verify_slices_are_equal(invitation.hash.as_bytes(), shown.as_bytes()).is_ok()
                && invitation.until > Timestamp::now().as_second()
        });
        let Invitation { environment, name, another, by, .. } = invitation.ok_or_else(no_code)?;
        self.book(&environment).map_err(|_| no_code())?;
        match self.find_gateway(&environment, &name)? {
            Some(gateway) if another && gateway.key != key => return Err(other_key(&name)),
            Some(_) if !another => return Err(already(&name)),
            _ if self.member(identity)?.is_some() => return Err(already(&name)),
            _ => {}
        }
        let member = Member { gateway: name, environment, identity, key, joined: now(), invited_by: by };
        self.audit.write(&Event::gateway_joined(
            &member.environment,
            &member.gateway,
            member.key.fingerprint(),
            &member.invited_by,
        ))?;
        self.vault.commit(Changes::new().delete(&place).put(&member_place(identity)?, &member)?)?;
        Ok(member)
    }

    /// The gateways of an environment, by name.
    ///
    /// # Errors
    /// `not-found`; those of the store.
    pub fn gateways(&self, environment: &str) -> Result<Vec<Gateway>> {
        self.book(environment)?;
        let mut own: Vec<Member> = self.members()?.into_iter().filter(|it| it.environment == environment).collect();
        own.sort_by(|one, other| {
            (&one.gateway, &one.joined, one.identity).cmp(&(&other.gateway, &other.joined, other.identity))
        });
        let mut all: Vec<Gateway> = Vec::new();
        for member in own {
            match all.last_mut().filter(|gateway| gateway.name == member.gateway) {
                Some(gateway) => gateway.members.push(member),
                None => all.push(Gateway {
                    name: member.gateway.clone(),
                    environment: member.environment.clone(),
                    key: member.key.clone(),
                    members: vec![member],
                }),
            }
        }
        Ok(all)
    }

    /// The gateway of a name.
    ///
    /// # Errors
    /// `not-found`.
    pub fn gateway(&self, environment: &str, name: &str) -> Result<Gateway> {
        self.find_gateway(environment, name)?.ok_or_else(|| no_gateway(environment, name))
    }

    /// The gateway of a name, if there is one.
    ///
    /// # Errors
    /// Those of the store.
    pub(crate) fn find_gateway(&self, environment: &str, name: &str) -> Result<Option<Gateway>> {
        Ok(self.gateways(environment)?.into_iter().find(|gateway| gateway.name == name))
    }

    /// The machine that proves to be itself by this key, if it joined.
    pub(super) fn member(&self, identity: Digest) -> Result<Option<Member>> {
        self.vault.get(&member_place(identity)?)
    }

    /// Removes a gateway, or one machine of it: it is not let in any longer. Connections through one that is gone say what
    /// mends them.
    ///
    /// # Errors
    /// `not-found`.
    pub fn remove_gateway(&self, environment: &str, name: &str, member: Option<&str>, caller: &str) -> Result<()> {
        let mut gateway = self.gateway(environment, name)?;
        if let Some(id) = member {
            gateway.members.retain(|member| member.id() == id);
            if gateway.members.is_empty() {
                return Err(Kind::NotFound
                    .error(format!("The gateway `{name}` has no machine `{}`.", text::foreign(id, 64)))
                    .hint(format!("`attache gateway show {name}` lists them.")));
            }
        }
        let mut changes = Changes::new();
        for member in &gateway.members {
            self.audit.write(&Event::gateway_removed(environment, name, &member.id(), caller))?;
            changes = changes.delete(&member_place(member.identity)?).delete(&contact_place(member.identity)?);
        }
        self.vault.commit(changes)?;
        gateway.members.iter().for_each(|member| self.relay.disconnect(member.identity));
        Ok(())
    }

    /// When something was last heard of a machine that is not connected now; RFC 3339.
    ///
    /// # Errors
    /// Those of the store.
    pub fn last_contact(&self, member: &Member) -> Result<Option<String>> {
        self.vault.get(&contact_place(member.identity)?)
    }

    /// Notes that something is heard of it now, unless it was removed meanwhile.
    pub(super) fn note_contact(&self, identity: Digest) -> Result<()> {
        if self.member(identity)?.is_none() {
            return Ok(());
        }
        self.vault.commit_aside(Changes::new().put(&contact_place(identity)?, &now())?)
    }

    /// Where the gateways of an environment are kept, and the codes for it.
    pub(crate) fn gateway_places(&self, environment: &str) -> Result<Vec<Place>> {
        let mut places = Vec::new();
        for member in self.gateways(environment)?.into_iter().flat_map(|gateway| gateway.members) {
            places.extend([member_place(member.identity)?, contact_place(member.identity)?]);
        }
        let codes = self.vault.list::<Invitation>(&Place::new([CODES])?)?.into_iter();
        places.extend(codes.filter(|(_, code)| code.environment == environment).map(|(place, _)| place));
        Ok(places)
    }

    fn members(&self) -> Result<Vec<Member>> {
        Ok(self.vault.list::<Member>(&Place::new([GATEWAYS])?)?.into_iter().map(|(_, member)| member).collect())
    }

    fn codes_over(&self, now: Timestamp) -> Result<Vec<Place>> {
        let all = self.vault.list::<Invitation>(&Place::new([CODES])?)?.into_iter();
        Ok(all.filter(|(_, code)| code.until <= now.as_second()).map(|(place, _)| place).collect())
    }
}

pub(super) fn member_place(identity: Digest) -> Result<Place> {
    Place::new([GATEWAYS, &identity.to_string()])
}

fn contact_place(identity: Digest) -> Result<Place> {
    Place::new([CONTACTS, &identity.to_string()])
}

fn code_place(id: Uuid) -> Result<Place> {
    Place::new([CODES, &id.simple().to_string()])
}

fn already(name: &str) -> Error {
    Kind::AlreadyExists.error(format!("There is a gateway `{name}` already.")).hint(format!(
        "Choose another name; `attache gateway enroll {name} --another` lets one more machine of it in, and `attache gateway \
         remove {name}` ends it."
    ))
}

fn no_gateway(environment: &str, name: &str) -> Error {
    Kind::NotFound
        .error(format!("There is no gateway `{}` in the environment `{environment}`.", text::foreign(name, 64)))
        .hint("`attache gateway list` shows them; `attache gateway enroll NAME` lets one in.")
}

fn other_key(name: &str) -> Error {
    Kind::Denied
        .error(format!("This machine has another key than the gateway `{name}`, so that it could not open its credentials."))
        .hint("Join with `--recovery-key SOURCE`, which `attache gateway recovery-key` writes on a machine of that gateway.")
}

fn no_code() -> Error {
    Kind::Denied
        .error("This code opens nothing: it was used, has run out, or never was.")
        .hint("`attache gateway enroll NAME` on the host gives a new one. If nobody of yours used it, somebody else did: remove that gateway.")
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::{
        gateway::key::OpeningKey,
        testing::{self, at_once},
    };

    pub(in crate::gateway) struct Story {
        pub(in crate::gateway) host: Host,
        _folder: tempfile::TempDir,
    }

    pub(in crate::gateway) fn story() -> Story {
        let (host, _folder) = testing::host();
        Story { host, _folder }
    }

    impl Story {
        pub(in crate::gateway) fn invite(&self, environment: &str, name: &str) -> Code {
            let invited = self.host.invite_gateway(environment, name, false, "tester").unwrap();
            String::from_utf8(invited.code.expose().to_vec()).unwrap().parse().unwrap()
        }

        fn join(&self, code: &Code, who: &[u8]) -> Result<Member> {
            let key = OpeningKey::generate().unwrap().public().clone();
            self.host.join_gateway(code.id, &code.secret, Digest::of(who), key)
        }
    }

    #[test]
    fn a_code_lets_one_gateway_in_once_into_its_environment() {
        let story = story();
        story.host.create_environment("other").unwrap();
        let code = story.invite("other", "plant");
        assert_eq!(code.host, story.host.gateway_identity().unwrap().public());
        let joined = story.join(&code, b"first").unwrap();
        assert_eq!((joined.environment.as_str(), joined.gateway.as_str()), ("other", "plant"));
        assert!(story.host.gateways("default").unwrap().is_empty());
        assert_eq!(story.host.member(Digest::of(b"first")).unwrap().unwrap().gateway, "plant");
        let error = story.join(&code, b"second").unwrap_err();
        assert_eq!(error.kind(), Kind::Denied, "{error}");
    }

    #[test]
    fn a_code_that_is_wrong_lets_nobody_in_and_stays_good() {
        let story = story();
        let code = story.invite("default", "plant");
        let guessed = Code { secret: Secret::new(vec![0; 32]), ..Code::new(code.host).unwrap() };
        let guessed = Code { id: code.id, ..guessed };
        assert_eq!(story.join(&guessed, b"thief").unwrap_err().kind(), Kind::Denied);
        story.join(&code, b"first").unwrap();
    }

    #[test]
    fn a_code_that_ran_out_lets_nobody_in() {
        let story = story();
        let code = story.invite("default", "plant");
        let place = code_place(code.id).unwrap();
        let invitation: Invitation = story.host.vault.get(&place).unwrap().unwrap();
        let over = Invitation { until: Timestamp::now().as_second(), ..invitation };
        story.host.vault.commit(Changes::new().put(&place, &over).unwrap()).unwrap();
        assert_eq!(story.join(&code, b"late").unwrap_err().kind(), Kind::Denied);
        // The next one takes it away.
        story.invite("default", "another");
        assert!(story.host.vault.get::<Invitation>(&place).unwrap().is_none());
    }

    #[test]
    fn of_two_codes_for_one_name_one_is_used() {
        let story = story();
        let (one, two) = (story.invite("default", "plant"), story.invite("default", "plant"));
        story.join(&one, b"first").unwrap();
        assert_eq!(story.join(&two, b"second").unwrap_err().kind(), Kind::AlreadyExists);
        let error = story.host.invite_gateway("default", "plant", false, "tester").unwrap_err();
        assert_eq!(error.kind(), Kind::AlreadyExists);
    }

    #[test]
    fn another_machine_of_a_gateway_has_its_key_or_is_not_let_in() {
        let story = story();
        let first = story.join(&story.invite("default", "plant"), b"first").unwrap();
        let another = || {
            let invited = story.host.invite_gateway("default", "plant", true, "tester").unwrap();
            String::from_utf8(invited.code.expose().to_vec()).unwrap().parse::<Code>().unwrap()
        };
        let code = another();
        assert_eq!(story.join(&code, b"second").unwrap_err().kind(), Kind::Denied);
        story.host.join_gateway(code.id, &code.secret, Digest::of(b"second"), first.key.clone()).unwrap();
        let gateways = story.host.gateways("default").unwrap();
        assert_eq!((gateways.len(), gateways[0].members.len()), (1, 2));
        assert_eq!(story.host.invite_gateway("default", "nobody", true, "tester").unwrap_err().kind(), Kind::NotFound);
        story.host.remove_gateway("default", "plant", Some(&first.id()), "tester").unwrap();
        assert_eq!(story.host.gateway("default", "plant").unwrap().members.len(), 1);
        assert!(story.host.member(first.identity).unwrap().is_none());
        assert_eq!(
            story.host.remove_gateway("default", "plant", Some("none"), "tester").unwrap_err().kind(),
            Kind::NotFound
        );
    }

    #[test]
    fn an_environment_goes_with_its_gateways_and_codes() {
        let story = story();
        story.host.create_environment("other").unwrap();
        let (joined, waiting) = (story.invite("other", "plant"), story.invite("other", "later"));
        story.join(&joined, b"first").unwrap();
        story.host.note_contact(Digest::of(b"first")).unwrap();
        story.host.remove_environment("other").unwrap();
        assert!(story.host.member(Digest::of(b"first")).unwrap().is_none());
        story.host.create_environment("other").unwrap();
        assert_eq!(story.join(&waiting, b"second").unwrap_err().kind(), Kind::Denied);
        for folder in [GATEWAYS, CODES, CONTACTS] {
            assert!(story.host.vault.places_below(&Place::new([folder]).unwrap()).unwrap().is_empty(), "{folder}");
        }
    }

    #[test]
    fn no_gateway_that_joins_while_its_environment_is_removed_is_one_of_the_next_one_of_that_name() {
        // Regression: one that was kept after the look at which there are was left, and a code as well.
        let story = story();
        for round in 0..10 {
            story.host.create_environment("other").unwrap();
            let (code, who) = (story.invite("other", "plant"), [round]);
            let (_, removed) = at_once(|| story.join(&code, &who), || story.host.remove_environment("other"));
            removed.unwrap();
            assert!(story.host.member(Digest::of(&who)).unwrap().is_none());
            story.host.create_environment("other").unwrap();
            let invite = || story.host.invite_gateway("other", "plant", false, "tester").map(drop);
            let (_, removed) = at_once(invite, || story.host.remove_environment("other"));
            removed.unwrap();
            assert!(story.host.vault.places_below(&Place::new([CODES]).unwrap()).unwrap().is_empty());
        }
    }
}
