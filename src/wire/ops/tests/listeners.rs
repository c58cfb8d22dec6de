//! Who hears what: listening to all buckets is the account's, and of the account's buckets alone.

use http_body_util::BodyExt;

use super::Store;
use super::rights::root_of;
use crate::wire::auth::Identity;
use crate::wire::error::{S3Code, S3Error};
use crate::wire::response::Response;

async fn run(store: &Store, identity: &Identity, method: &str, target: &str) -> Result<Response, S3Error> {
    let body: &[u8] = if target.ends_with("/k") { b"x" } else { b"" };
    let mut call = store.call(method, target, &[], body).expect("a request of S3's");
    call.identity = identity.clone();
    super::super::run(&mut call).await
}

#[test]
fn a_listener_to_all_buckets_hears_of_its_own_accounts() {
    let store = Store::new();
    let (one, other) = (root_of("111122223333"), root_of("444455556666"));
    // The keep-alive needs a core's timer.
    let mut runtime = monoio::RuntimeBuilder::<monoio::FusionDriver>::new().enable_timer().build().expect("a runtime");
    runtime.block_on(async {
        for (identity, bucket) in [(&one, "mine"), (&other, "others")] {
            run(&store, identity, "PUT", &format!("/{bucket}")).await.expect("a bucket");
        }
        let mut heard = run(&store, &one, "GET", "/?events=s3%3A%2A").await.expect("it listens").into_body();
        for (identity, target) in [(&other, "/others/k"), (&one, "/mine/k")] {
            run(&store, identity, "PUT", target).await.expect("an object");
        }
        let piece = heard.frame().await.expect("a piece").expect("no error").into_data().expect("bytes");
        let text = std::str::from_utf8(&piece).expect("text");
        assert!(text.contains(r#""name":"mine""#) && !text.contains("others"), "{text}");
        let anonymous = run(&store, &Identity::Anonymous, "GET", "/?events=s3%3A%2A").await;
        assert_eq!(anonymous.map(|_| ()).map_err(|error| error.code), Err(S3Code::AccessDenied));
    });
}
