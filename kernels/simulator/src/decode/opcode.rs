//! An opcode and its modifiers, taken one by one; what is left at the end is not known.

use super::{Problem, Result};
use crate::parse::syntax::{Space, Type};

pub(super) struct Opcode<'a> {
    name: &'a str,
    modifiers: Vec<&'a str>,
}

/// Cache operators, memory orders and scopes: they change when memory is seen, which lock-step blocks do not show.
const IGNORED: [&str; 18] = [
    "ca", "cg", "cs", "lu", "cv", "wb", "wt", "nc", "weak", "volatile", "relaxed", "acquire", "release", "acq_rel",
    "cta", "gpu", "sys", "noftz",
];

impl<'a> Opcode<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        let mut parts = text.split('.');
        Self { name: parts.next().unwrap_or(""), modifiers: parts.collect() }
    }

    pub(super) fn name(&self) -> &'a str {
        self.name
    }

    /// Whether the opcode has a modifier, which then is done with.
    pub(super) fn take(&mut self, modifier: &str) -> bool {
        let place = self.modifiers.iter().position(|m| *m == modifier);
        place.map(|place| self.modifiers.remove(place)).is_some()
    }

    /// The value of the first modifier of a list that the opcode has.
    pub(super) fn choose<T: Copy>(&mut self, choices: &[(&str, T)]) -> Option<T> {
        choices.iter().find(|(name, _)| self.take(name)).map(|(_, value)| *value)
    }

    /// Like [`Opcode::choose`], where one of them must be there.
    pub(super) fn require<T: Copy>(&mut self, choices: &[(&str, T)]) -> Result<T> {
        self.choose(choices).ok_or_else(|| {
            let names: Vec<String> = choices.iter().map(|(name, _)| format!(".{name}")).collect();
            self.unknown(format!("it needs one of {}", names.join(", ")))
        })
    }

    pub(super) fn unknown(&self, reason: String) -> Problem {
        Problem::Unknown(reason)
    }

    /// The types at the end.
    pub(super) fn types(&mut self) -> Vec<Type> {
        let start = self.modifiers.iter().rposition(|m| Type::parse(m).is_none()).map_or(0, |place| place + 1);
        self.modifiers.drain(start..).filter_map(Type::parse).collect()
    }

    /// The one type at the end.
    pub(super) fn ty(&mut self) -> Result<Type> {
        match self.types()[..] {
            [ty] => Ok(ty),
            [] => Err(self.unknown("it needs a type".to_owned())),
            _ => Err(self.unknown("it takes one type".to_owned())),
        }
    }

    /// The state space, generic if none is named.
    pub(super) fn space(&mut self) -> Space {
        let spaces = [
            ("global", Space::Global),
            ("shared", Space::Shared),
            ("shared::cta", Space::Shared),
            ("local", Space::Local),
            ("const", Space::Constant),
            ("param", Space::Parameter),
        ];
        self.choose(&spaces).unwrap_or(Space::Generic)
    }

    /// Takes what says how memory is cached and ordered.
    pub(super) fn skip_caching(&mut self) {
        let hint = |m: &str| (m.starts_with("L1::") || m.starts_with("L2::")) && !m.ends_with("cache_hint");
        self.modifiers.retain(|m| !IGNORED.contains(m) && !hint(m));
    }

    /// An error if a modifier is left.
    pub(super) fn finish(self) -> Result<()> {
        match self.modifiers.first() {
            None => Ok(()),
            Some(modifier) => Err(Problem::Unknown(format!("modifier `.{modifier}` of `{}` is not known", self.name))),
        }
    }
}
