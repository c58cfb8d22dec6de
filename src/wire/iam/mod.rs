//! IAM and STS as AWS's clients speak them: `POST /` with a form that names an action, XML back.
//!
//! The body is what is signed, so that it is read (bounded) before the caller is known. Each action is allowed by the
//! caller's own policies, on the ARN of what it touches, and touches nothing outside of the caller's account; only a role
//! may be assumed from elsewhere, where its trust policy says so. Absent: web identities, SAML, instance profiles.

mod ask;
mod groups;
mod keys;
mod policies;
mod roles;
mod sts;
mod users;

use http::{HeaderValue, Method, StatusCode, header};

use super::auth::Authenticator;
use super::body::RawBody;
use super::error::{S3Code, S3Error};
use super::query::Query;
use super::request::Parts;
use super::response::{self, Response};
use super::settings::Settings;
use crate::access::AccessError;
use crate::xml::Document;
use ask::Ask;

const IAM: &str = "https://iam.amazonaws.com/doc/2010-05-08/";
const STS: &str = "https://sts.amazonaws.com/doc/2011-06-15/";

/// Whether a request is one of these: no operation of S3 looks like it.
pub fn is_query_request(head: &http::request::Parts) -> bool {
    let form = head.headers.get(header::CONTENT_TYPE).is_some_and(|kind| {
        let kind = kind.as_bytes();
        kind.len() >= FORM.len() && kind[..FORM.len()].eq_ignore_ascii_case(FORM)
    });
    head.method == Method::POST && head.uri.path() == "/" && form
}

const FORM: &[u8] = b"application/x-www-form-urlencoded";

/// What is needed of the service to know who calls.
pub struct Caller<'a> {
    pub authenticator: &'a Authenticator,
    pub settings: &'a Settings,
    pub now_ms: i64,
}

/// Why an action is refused.
#[derive(Debug)]
pub struct Fault {
    status: StatusCode,
    code: String,
    message: String,
}

impl Fault {
    fn new(status: StatusCode, code: &str, message: impl Into<String>) -> Fault {
        Fault { status, code: code.to_owned(), message: message.into() }
    }

    fn invalid(message: impl Into<String>) -> Fault {
        Fault::new(StatusCode::BAD_REQUEST, "ValidationError", message)
    }

    fn denied(message: impl Into<String>) -> Fault {
        Fault::new(StatusCode::FORBIDDEN, "AccessDenied", message)
    }
}

impl From<AccessError> for Fault {
    fn from(error: AccessError) -> Fault {
        let status = match &error {
            AccessError::NoSuchEntity(_) => StatusCode::NOT_FOUND,
            AccessError::EntityAlreadyExists(_) | AccessError::DeleteConflict(_) | AccessError::LimitExceeded(_) => {
                StatusCode::CONFLICT
            }
            AccessError::Malformed(_) | AccessError::Invalid(_) | AccessError::Unmodifiable(_) => {
                StatusCode::BAD_REQUEST
            }
            AccessError::Unavailable(_) => {
                tracing::error!(%error, "a change of identities failed");
                StatusCode::INTERNAL_SERVER_ERROR
            }
        };
        Fault::new(status, error.code(), error.to_string())
    }
}

impl From<S3Error> for Fault {
    fn from(error: S3Error) -> Fault {
        match error.code {
            S3Code::InvalidAccessKeyId | S3Code::InvalidToken => {
                let message = "The security token included in the request is invalid.";
                Fault::new(StatusCode::FORBIDDEN, "InvalidClientTokenId", message)
            }
            S3Code::ExpiredToken => Fault::new(StatusCode::FORBIDDEN, "ExpiredToken", error.message.into_owned()),
            code => Fault::new(code.status(), code.as_str(), error.message.into_owned()),
        }
    }
}

/// An action's result: what stands inside `<ACTIONResult>`; `None` where there is no such element.
type Answer = Result<Option<Document>, Fault>;

/// An answer, and what the audit log has to know of its question.
pub struct Answered {
    pub response: Response,
    /// As event records name it; empty where the caller did not prove who it is.
    pub caller: String,
    pub action: String,
}

/// Whether an action does more than to tell: one that gives out credentials does.
pub fn changes(action: &str) -> bool {
    let tells = action.starts_with("Get") || action.starts_with("List");
    !tells || matches!(action, "GetSessionToken" | "GetFederationToken")
}

/// Answers one request.
pub async fn answer(caller: Caller<'_>, parts: Parts, query: Query, raw: RawBody) -> Answered {
    let request_id = parts.request_id.clone();
    match Ask::read(caller, parts, query, raw).await {
        Ok(ask) => {
            let done = dispatch(&ask).await;
            let response = respond(&request_id, &ask.action, done);
            Answered { response, caller: ask.caller.name_in_events(), action: ask.action }
        }
        Err(fault) => {
            let response = respond(&request_id, "", Err(fault));
            Answered { response, caller: String::new(), action: String::new() }
        }
    }
}

fn respond(request_id: &str, action: &str, done: Answer) -> Response {
    let namespace = if sts::ACTIONS.contains(&action) { STS } else { IAM };
    match done {
        Ok(result) => {
            let inner =
                result.map_or(String::new(), |result| format!("<{action}Result>{}</{action}Result>", result.finish()));
            let text = format!(
                "<{action}Response xmlns=\"{namespace}\">{inner}<ResponseMetadata><RequestId>{request_id}</RequestId></ResponseMetadata></{action}Response>"
            );
            answer_with(StatusCode::OK, text)
        }
        Err(fault) => {
            tracing::debug!(%request_id, action, code = fault.code, message = fault.message, "refused");
            let mut error = Document::fragment();
            error.inside("Error", |error| {
                error.text("Type", if fault.status.is_server_error() { "Receiver" } else { "Sender" });
                error.text("Code", &fault.code);
                error.text("Message", &fault.message);
            });
            error.text("RequestId", request_id);
            let text = format!("<ErrorResponse xmlns=\"{namespace}\">{}</ErrorResponse>", error.finish());
            answer_with(fault.status, text)
        }
    }
}

fn answer_with(status: StatusCode, text: String) -> Response {
    let mut response = response::xml_with_status(status, text);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/xml"));
    response
}

/// A call as a caller who proved who it is makes it: what stands inside the answer, or the fault's code.
#[cfg(test)]
pub(in crate::wire) async fn answer_for_test(
    settings: &Settings,
    caller: std::sync::Arc<crate::access::Principal>,
    parameters: &[(&str, &str)],
) -> Result<String, String> {
    let done = dispatch(&Ask::for_test(settings, caller, parameters)).await;
    done.map(|document| document.map_or(String::new(), Document::finish)).map_err(|fault| fault.code)
}

async fn dispatch(ask: &Ask) -> Answer {
    use crate::access::Carrier::{Group, Role, User};
    match ask.action.as_str() {
        "CreateUser" => users::create(ask).await,
        "GetUser" => users::get(ask),
        "ListUsers" => users::list(ask),
        "UpdateUser" => users::update(ask).await,
        "DeleteUser" => users::delete(ask).await,
        "TagUser" => users::tag(ask).await,
        "UntagUser" => users::untag(ask).await,
        "ListUserTags" => users::list_tags(ask),
        "ListGroupsForUser" => groups::of_user(ask),
        "CreateAccessKey" => keys::create(ask).await,
        "ListAccessKeys" => keys::list(ask),
        "UpdateAccessKey" => keys::update(ask).await,
        "DeleteAccessKey" => keys::delete(ask).await,
        "GetAccessKeyLastUsed" => keys::last_used(ask),
        "CreateGroup" => groups::create(ask).await,
        "GetGroup" => groups::get(ask),
        "ListGroups" => groups::list(ask),
        "UpdateGroup" => groups::update(ask).await,
        "DeleteGroup" => groups::delete(ask).await,
        "AddUserToGroup" => groups::set_member(ask, true).await,
        "RemoveUserFromGroup" => groups::set_member(ask, false).await,
        "CreateRole" => roles::create(ask).await,
        "GetRole" => roles::get(ask),
        "ListRoles" => roles::list(ask),
        "UpdateRole" => roles::update(ask).await,
        "UpdateRoleDescription" => roles::update_description(ask).await,
        "UpdateAssumeRolePolicy" => roles::update_trust(ask).await,
        "DeleteRole" => roles::delete(ask).await,
        "TagRole" => roles::tag(ask).await,
        "UntagRole" => roles::untag(ask).await,
        "ListRoleTags" => roles::list_tags(ask),
        "PutUserPolicy" => policies::put_inline(ask, User).await,
        "GetUserPolicy" => policies::get_inline(ask, User),
        "ListUserPolicies" => policies::list_inline(ask, User),
        "DeleteUserPolicy" => policies::delete_inline(ask, User).await,
        "PutGroupPolicy" => policies::put_inline(ask, Group).await,
        "GetGroupPolicy" => policies::get_inline(ask, Group),
        "ListGroupPolicies" => policies::list_inline(ask, Group),
        "DeleteGroupPolicy" => policies::delete_inline(ask, Group).await,
        "PutRolePolicy" => policies::put_inline(ask, Role).await,
        "GetRolePolicy" => policies::get_inline(ask, Role),
        "ListRolePolicies" => policies::list_inline(ask, Role),
        "DeleteRolePolicy" => policies::delete_inline(ask, Role).await,
        "AttachUserPolicy" => policies::attach(ask, User).await,
        "DetachUserPolicy" => policies::detach(ask, User).await,
        "ListAttachedUserPolicies" => policies::list_attached(ask, User),
        "AttachGroupPolicy" => policies::attach(ask, Group).await,
        "DetachGroupPolicy" => policies::detach(ask, Group).await,
        "ListAttachedGroupPolicies" => policies::list_attached(ask, Group),
        "AttachRolePolicy" => policies::attach(ask, Role).await,
        "PutUserPermissionsBoundary" => policies::set_boundary(ask, User, true).await,
        "DeleteUserPermissionsBoundary" => policies::set_boundary(ask, User, false).await,
        "PutRolePermissionsBoundary" => policies::set_boundary(ask, Role, true).await,
        "DeleteRolePermissionsBoundary" => policies::set_boundary(ask, Role, false).await,
        "DetachRolePolicy" => policies::detach(ask, Role).await,
        "ListAttachedRolePolicies" => policies::list_attached(ask, Role),
        "CreatePolicy" => policies::create(ask).await,
        "GetPolicy" => policies::get(ask),
        "ListPolicies" => policies::list(ask),
        "DeletePolicy" => policies::delete(ask).await,
        "TagPolicy" => policies::tag(ask).await,
        "UntagPolicy" => policies::untag(ask).await,
        "ListPolicyTags" => policies::list_tags(ask),
        "CreatePolicyVersion" => policies::create_version(ask).await,
        "GetPolicyVersion" => policies::get_version(ask),
        "ListPolicyVersions" => policies::list_versions(ask),
        "SetDefaultPolicyVersion" => policies::set_default(ask).await,
        "DeletePolicyVersion" => policies::delete_version(ask).await,
        "ListEntitiesForPolicy" => policies::list_entities(ask),
        "GetAccountSummary" => users::summary(ask),
        "ListAccountAliases" => users::aliases(ask),
        "ListOpenIDConnectProviders" => users::no_providers(ask),
        "ListMFADevices" => users::none(ask, "MFADevices"),
        "ListVirtualMFADevices" => users::none(ask, "VirtualMFADevices"),
        "ListSSHPublicKeys" => users::none(ask, "SSHPublicKeys"),
        "ListSigningCertificates" => users::none(ask, "Certificates"),
        "ListServiceSpecificCredentials" => users::none(ask, "ServiceSpecificCredentials"),
        "GetLoginProfile" | "DeleteLoginProfile" => users::no_login(ask),
        // What Terraform and others ask of a role by habit.
        "ListInstanceProfilesForRole" => roles::no_profiles(ask),
        "GetCallerIdentity" => sts::caller_identity(ask),
        "GetSessionToken" => sts::session_token(ask),
        "AssumeRole" => sts::assume_role(ask),
        "AssumeRoleWithWebIdentity" | "AssumeRoleWithSAML" | "GetFederationToken" => {
            Err(Fault::new(StatusCode::NOT_IMPLEMENTED, "NotImplemented", format!("{} is not implemented", ask.action)))
        }
        other => {
            let message = format!("Could not find operation {other}");
            Err(Fault::new(StatusCode::BAD_REQUEST, "InvalidAction", message))
        }
    }
}
