//! GetObjectTagging, PutObjectTagging, DeleteObjectTagging.

use http::StatusCode;

use super::object;
use crate::engine::Tags;
use crate::limits;
use crate::meta::VersionRef;
use crate::wire::auth::circumstances::Said;
use crate::wire::error::S3Error;
use crate::wire::object_headers as headers;
use crate::wire::request::Call;
use crate::wire::response::{self, Response};
use crate::wire::xml::{OBJECT_TAGS, parse_tagging, tagging_document};

pub fn get(call: &Call) -> Result<Response, S3Error> {
    let bucket = call.open_bucket()?;
    let object = object::find(call, &bucket)?;
    let mut response = response::xml(tagging_document(&object.version.attributes.tags));
    headers::insert_version_id(response.headers_mut(), object.version_id.as_deref());
    Ok(response)
}

pub async fn put(call: &mut Call) -> Result<Response, S3Error> {
    let body = call.collect_body(limits::XML_BODY_BYTES_MAX).await?;
    let tags = parse_tagging(&body, OBJECT_TAGS)?;
    call.authorize_saying(Said { tags: Some(&tags), ..Said::default() })?;
    set(call, tags, StatusCode::OK).await
}

pub async fn delete(call: &mut Call) -> Result<Response, S3Error> {
    set(call, Tags::new(), StatusCode::NO_CONTENT).await
}

/// Sets the tags of the version found, so that a newer one that comes meanwhile keeps its own.
async fn set(call: &Call, tags: Tags, status: StatusCode) -> Result<Response, S3Error> {
    let bucket = call.open_bucket()?;
    let object = object::find(call, &bucket)?;
    let version = VersionRef::Numbered(object.version.sequence);
    call.engine.set_tags(&bucket, &call.key, version, tags, call.requester()).await?;
    let mut response = response::empty(status);
    headers::insert_version_id(response.headers_mut(), object.version_id.as_deref());
    Ok(response)
}
