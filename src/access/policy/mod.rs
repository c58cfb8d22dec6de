//! AWS's policy language: documents compiled once, evaluated without parsing. Pure.
//!
//! `parse` reads a document and says in AWS's words what is wrong with it; `Policy::grants` and
//! `Policy::resource_grants` evaluate it for a request whose facts a `Context` gives. Wildcards, variables, not-forms
//! and every condition operator are AWS's. Absent: what other services than S3, IAM and STS define.

mod actions;
mod condition;
mod document;
mod json;
mod pattern;
mod principal;
mod public;
mod statement;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::fmt;

pub use document::{PolicyFault, Use, parse};
pub use principal::Name;
use statement::Statement;

use super::Principal;

/// Values that a request has for a condition key; `None` where it has none.
pub type Values<'a> = Option<Vec<Cow<'a, str>>>;

/// Facts of a request. Keys come in lower case up to the first `/`, and as written behind it (`s3:existingobjecttag/Team`).
pub trait Context {
    fn values(&self, key: &str) -> Values<'_>;
}

/// What is asked for.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// `s3:GetObject`; case does not matter.
    pub action: &'a str,
    /// ARN.
    pub resource: &'a str,
    pub context: &'a dyn Context,
}

impl fmt::Debug for Request<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} on {}", self.action, self.resource)
    }
}

/// What a policy says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    Nothing,
    /// A resource's policy allows the account as a whole: its own policies decide who in it may.
    AllowAccount,
    /// The policy allows this caller.
    Allow,
    /// A resource's policy names the very session.
    AllowSession,
    Deny,
}

impl Verdict {
    pub fn allows(self) -> bool {
        !matches!(self, Verdict::Nothing | Verdict::Deny)
    }
}

/// A compiled policy.
#[derive(Debug, PartialEq)]
pub struct Policy {
    statements: Vec<Statement>,
}

impl Policy {
    /// What an identity's policy says: `Nothing`, `Allow` or `Deny`.
    pub fn grants(&self, request: Request<'_>) -> Verdict {
        let verdict = |statement: &Statement| match statement.applies(request) {
            true if statement.denies() => Verdict::Deny,
            true => Verdict::Allow,
            false => Verdict::Nothing,
        };
        self.statements.iter().map(verdict).max().unwrap_or(Verdict::Nothing)
    }

    /// What a resource's policy says to a caller; `None` is anonymous.
    pub fn resource_grants(&self, request: Request<'_>, caller: Option<&Principal>) -> Verdict {
        let verdict = |statement: &Statement| match statement.concerns(caller) {
            Verdict::Nothing => Verdict::Nothing,
            _ if !statement.applies(request) => Verdict::Nothing,
            _ if statement.denies() => Verdict::Deny,
            strength => strength,
        };
        self.statements.iter().map(verdict).max().unwrap_or(Verdict::Nothing)
    }

    /// Whom a resource's policy names, excepted ones included.
    pub fn names(&self) -> impl Iterator<Item = &Name> {
        self.statements.iter().filter_map(|statement| statement.names.as_ref()).flat_map(|names| &names.names)
    }

    /// Whether a resource's policy opens something to everybody, as S3 defines public.
    pub fn is_public(&self) -> bool {
        self.statements.iter().any(Statement::is_public)
    }
}
