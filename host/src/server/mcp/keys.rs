//! What the holder of a caller key is offered.

use super::{Keys, Offer};
use crate::{callers::Permission, error::Result, host::Host};

impl Keys for Host {
    fn offer(&self, bearer: &str) -> Result<Offer> {
        let key = self.key_shown(bearer)?;
        key.permits(Permission::Call)?;
        Ok(Offer {
            effects: key.allowed(),
            caller: key.caller(),
            holder: key.id.to_string(),
            environment: key.environment.clone(),
            connections: key.connections.clone(),
        })
    }

    fn stands(&self, holder: &str) -> bool {
        // What cannot be looked at is no reason to go on.
        holder.parse().is_ok_and(|id| self.key_stands(id).unwrap_or(false))
    }
}
