//! Which effects a caller may have: reading always, the others where somebody allowed them.

use super::{Effect, Operation};
use crate::error::{Kind, Result};

/// A set of effects. Neither of the two that change something stands for the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Effects {
    write: bool,
    destructive: bool,
}

impl Effects {
    /// Only what changes nothing.
    pub fn read() -> Self {
        Self::default()
    }

    /// Whatever there is.
    pub fn all() -> Self {
        Self { write: true, destructive: true }
    }

    /// This one too.
    #[must_use]
    pub fn and(self, effect: Effect) -> Self {
        match effect {
            Effect::Read => self,
            Effect::Write => Self { write: true, ..self },
            Effect::Destructive => Self { destructive: true, ..self },
        }
    }

    /// Whether it is one of them.
    pub fn allow(self, effect: Effect) -> bool {
        match effect {
            Effect::Read => true,
            Effect::Write => self.write,
            Effect::Destructive => self.destructive,
        }
    }

    /// Checks an operation.
    ///
    /// # Errors
    /// `denied` where it does more.
    pub fn permit(self, operation: &Operation) -> Result<()> {
        if self.allow(operation.effect) {
            return Ok(());
        }
        let effect = operation.effect.name();
        Err(Kind::Denied
            .error(format!(
                "The operation `{}` is declared `{effect}`, which this caller was not allowed.",
                operation.id
            ))
            .hint(format!("Whoever lets this caller in must allow `{effect}`.")))
    }
}

impl FromIterator<Effect> for Effects {
    fn from_iter<I: IntoIterator<Item = Effect>>(effects: I) -> Self {
        effects.into_iter().fold(Self::read(), Self::and)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reading_is_always_allowed_and_the_others_each_by_its_name() {
        let effects = [Effect::Read, Effect::Write, Effect::Destructive];
        let allowed = |of: Effects| effects.map(|effect| of.allow(effect));
        assert_eq!(allowed(Effects::read()), [true, false, false]);
        assert_eq!(allowed([Effect::Write].into_iter().collect()), [true, true, false]);
        assert_eq!(allowed([Effect::Destructive].into_iter().collect()), [true, false, true]);
        assert_eq!(allowed(Effects::all()), [true, true, true]);
    }
}
