//! What the holder of a caller key is offered.

use super::{Keys, Offer};
use crate::{callers::Permission, error::Result, host::Host};

impl Keys for Host {
    fn offer(&self, bearer: &str) -> Result<Offer> {
        let key = self.key_shown(bearer)?;
        key.permits(Permission::Call)?;
        let connections = match &key.connections {
            None => None,
            Some(only) => {
                let book = self.book(&key.environment)?;
                let found = only.iter().filter_map(|id| book.connection_of_id(*id).transpose());
                Some(found.map(|connection| Ok(connection?.name)).collect::<Result<Vec<_>>>()?)
            }
        };
        Ok(Offer {
            effects: key.allowed(),
            caller: key.caller(),
            holder: key.id.to_string(),
            environment: key.environment.clone(),
            connections,
        })
    }

    fn stands(&self, holder: &str) -> bool {
        // What cannot be looked at is no reason to go on.
        holder.parse().is_ok_and(|id| self.key_stands(id).unwrap_or(false))
    }
}
