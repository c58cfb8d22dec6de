//! From the words of policies and lists to one decision, as AWS takes it. Pure.
//!
//! An explicit deny wins. Within the account that owns the resource, the identity's policies or the resource's policy
//! suffice; across accounts both sides must allow. What bounds a session bounds all but a grant to that very session.

use super::policy::{Policy, Request, Verdict};
use super::principal::{Policies, Principal};

/// What the caller's own side says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Own {
    pub denied: bool,
    pub granted: bool,
    /// No session policy leaves it out.
    pub within: bool,
}

/// What the owner's side says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owners {
    /// Of the resource's policy.
    pub policy: Verdict,
    /// Access control lists grant it to the caller's account, or to everybody.
    pub listed: bool,
    /// The caller's account owns the resource (or there is none, as for the service itself).
    pub same_account: bool,
}

impl Principal {
    /// What the principal's policies say.
    pub fn own_word(&self, request: Request<'_>) -> Own {
        let granted = self.granted.as_ref().map_or(Verdict::Allow, |policies| word(policies, request));
        let mut own = Own { denied: granted == Verdict::Deny, granted: granted.allows(), within: true };
        if let Some(boundary) = &self.boundary {
            let boundary = word(boundary, request);
            own.denied |= boundary == Verdict::Deny;
            own.granted &= boundary.allows();
            // What a resource's policy gives to a user by name is not bounded; what it gives to a role is.
            own.within &= boundary.allows() || self.role_arn().is_none();
        }
        for bound in &self.bounds {
            let bound = word(bound, request);
            own.denied |= bound == Verdict::Deny;
            own.within &= bound.allows();
        }
        own
    }

    /// Nothing but a resource's policy can deny it anything: no policy need be asked about what it owns.
    pub fn is_unbounded(&self) -> bool {
        self.granted.is_none() && self.bounds.is_empty() && self.boundary.is_none()
    }

    /// Whether the identity's policies alone allow what touches no resource with a policy of its own.
    pub fn may(&self, request: Request<'_>) -> bool {
        let none = Owners { policy: Verdict::Nothing, listed: false, same_account: true };
        decide(Some(self.own_word(request)), none)
    }
}

fn word(policies: &Policies, request: Request<'_>) -> Verdict {
    policies.iter().map(|policy: &std::sync::Arc<Policy>| policy.grants(request)).max().unwrap_or(Verdict::Nothing)
}

/// The decision; `own` is `None` for an anonymous caller.
pub fn decide(own: Option<Own>, owners: Owners) -> bool {
    let Some(own) = own else {
        return owners.policy != Verdict::Deny && (owners.policy.allows() || owners.listed);
    };
    if own.denied || owners.policy == Verdict::Deny {
        return false;
    }
    let by_identity = own.granted && own.within;
    let by_resource = match owners.policy {
        Verdict::AllowSession => true,
        Verdict::Allow => own.within,
        Verdict::Nothing | Verdict::AllowAccount | Verdict::Deny => false,
    };
    match owners.same_account {
        true => by_identity || by_resource,
        false => by_identity && (owners.policy.allows() || owners.listed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decisions_are_those_of_aws() {
        use Verdict::{Allow, AllowAccount, AllowSession, Deny, Nothing};
        let yes = Own { denied: false, granted: true, within: true };
        let no = Own { granted: false, ..yes };
        let outside = Own { within: false, ..yes };
        let denied = Own { denied: true, ..yes };
        for (own, policy, listed, same_account, allowed, story) in [
            (Some(yes), Nothing, false, true, true, "an identity's policy suffices within the account"),
            (Some(no), Nothing, false, true, false, "nobody allows"),
            (Some(no), Allow, false, true, true, "a bucket's policy that names the user suffices, too"),
            (Some(no), AllowAccount, false, true, false, "one that names the account leaves it to the account"),
            (Some(no), Nothing, true, true, false, "a list that names the account, likewise"),
            (Some(denied), Allow, true, true, false, "an identity's deny wins"),
            (Some(yes), Deny, true, true, false, "a bucket's deny wins"),
            (Some(outside), Nothing, false, true, false, "a session's policy leaves it out"),
            (Some(outside), Allow, false, true, false, "also where the bucket's policy allows"),
            (Some(outside), AllowSession, false, true, true, "unless it names the session"),
            (Some(yes), Nothing, false, false, false, "across accounts one's own word is not enough"),
            (Some(yes), Allow, false, false, true, "both allow"),
            (Some(yes), AllowAccount, false, false, true, "both allow, by account"),
            (Some(yes), Nothing, true, false, true, "both allow, by list"),
            (Some(no), Allow, true, false, false, "the other account's word is not enough either"),
            (Some(outside), AllowSession, false, false, false, "nor to a session beyond its policy"),
            (Some(yes), Deny, true, false, false, "a deny holds for other accounts' root"),
            (None, Nothing, false, false, false, "anonymous, nobody allows"),
            (None, Allow, false, false, true, "anonymous, by policy"),
            (None, Nothing, true, false, true, "anonymous, by list"),
            (None, Deny, true, false, false, "anonymous, denied"),
        ] {
            assert_eq!(decide(own, Owners { policy, listed, same_account }), allowed, "{story}");
        }
    }
}
