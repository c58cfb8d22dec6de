//! Who may do what: accounts apart from each other, and nobody without a name.

use std::sync::Arc;

use super::Store;
use crate::access::{Account, Principal};
use crate::wire::auth::Identity;
use crate::wire::error::S3Code;

pub(super) fn root_of(id: &str) -> Identity {
    let account = Account { id: id.to_owned(), canonical_id: format!("{id:0>64}"), ..Account::store() };
    Identity::Signed(Arc::new(Principal::root(Arc::new(account))))
}

#[test]
fn what_an_account_owns_is_closed_to_others() {
    let store = Store::with_bucket("pictures");
    let ask = |identity: &Identity, bucket: &str| {
        let mut call = store.call("GET", &format!("/{bucket}/k"), &[], b"").unwrap();
        call.identity = identity.clone();
        call.authorize("GetObject", &call.bucket, &call.key).map_err(|error| error.code)
    };
    let own = Identity::Signed(Arc::new(Principal::root(Arc::new(Account::store()))));
    assert_eq!(ask(&own, "pictures"), Ok(()));
    assert_eq!(ask(&own, ".aerie"), Err(S3Code::AccessDenied));
    assert_eq!(ask(&root_of("111122223333"), "pictures"), Err(S3Code::AccessDenied));
    assert_eq!(ask(&Identity::Anonymous, "pictures"), Err(S3Code::AccessDenied));
}

#[test]
fn a_bucket_is_its_makers_at_once() {
    let store = Store::new();
    let (one, other) = (root_of("111122223333"), root_of("444455556666"));
    let run = |identity: &Identity, method: &str, target: &str| {
        let mut call = store.call(method, target, &[], b"").unwrap();
        call.identity = identity.clone();
        call.authorize(call.operation.action(), &call.bucket, &call.key)
            .and_then(|()| pollster::block_on(super::super::run(&mut call)))
            .map(|response| response.status().as_u16())
            .map_err(|error| error.code)
    };
    assert_eq!(run(&one, "PUT", "/pictures"), Ok(200));
    assert_eq!(run(&one, "PUT", "/pictures"), Ok(200), "us-east-1 answers so to the owner");
    assert_eq!(run(&other, "PUT", "/pictures"), Err(S3Code::BucketAlreadyExists));
    assert_eq!(run(&other, "GET", "/pictures"), Err(S3Code::AccessDenied));
    assert_eq!(run(&one, "GET", "/pictures"), Ok(200));
    assert_eq!(run(&one, "DELETE", "/pictures"), Ok(204));
    assert_eq!(run(&other, "PUT", "/pictures"), Ok(200));
    assert_eq!(run(&other, "GET", "/pictures"), Ok(200), "what was remembered of the bucket is forgotten");
}
