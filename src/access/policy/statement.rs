//! One statement of a policy: whom, what, on what, and under which conditions.

use super::condition::Condition;
use super::pattern::Pattern;
use super::principal::Names;
use super::{Request, Verdict, public};
use crate::access::Principal;

/// `Action`, `NotAction`, `Resource` or `NotResource`.
#[derive(Debug, Clone, PartialEq)]
pub struct Patterns {
    pub patterns: Vec<Pattern>,
    pub not: bool,
}

impl Patterns {
    fn matches(&self, text: &str, request: Request<'_>) -> bool {
        self.patterns.iter().any(|pattern| pattern.matches(text, request.context)) != self.not
    }
}

/// A compiled statement.
#[derive(Debug, PartialEq)]
pub struct Statement {
    pub(super) deny: bool,
    /// Only in policies of resources and roles.
    pub(super) names: Option<Names>,
    pub(super) actions: Patterns,
    /// A role's trust policy has none: the role is the resource.
    pub(super) resources: Option<Patterns>,
    pub(super) conditions: Vec<Condition>,
}

impl Statement {
    pub fn denies(&self) -> bool {
        self.deny
    }

    /// Action, resource and conditions fit the request.
    pub fn applies(&self, request: Request<'_>) -> bool {
        self.actions.matches(request.action, request)
            && self.resources.as_ref().is_none_or(|resources| resources.matches(request.resource, request))
            && self.conditions.iter().all(|condition| condition.holds(request.context))
    }

    /// How the statement concerns a caller (`Nothing`, `AllowAccount`, `Allow`, `AllowSession`), whatever its effect.
    pub fn concerns(&self, caller: Option<&Principal>) -> Verdict {
        self.names.as_ref().map_or(Verdict::Nothing, |names| names.concern(caller))
    }

    /// It gives something to everybody.
    pub fn is_public(&self) -> bool {
        let everybody = self.names.as_ref().is_some_and(|names| names.not || names.has_anyone());
        !self.deny && everybody && !self.conditions.iter().any(public::narrows)
    }
}
