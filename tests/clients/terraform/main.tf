# What Terraform's aws provider makes of an Aerie: each resource of S3, IAM and STS that has a counterpart here. `step` is
# changed between two applies. Only the instance metadata of EC2 is not asked; accounts and credentials are checked as on AWS.

terraform {
  required_providers {
    aws = { source = "hashicorp/aws" }
  }
}
variable "endpoint" { type = string }
variable "kms_key" { type = string }
variable "step" {
  type    = string
  default = "one"
}
provider "aws" {
  region                  = "us-east-1"
  s3_use_path_style       = true
  skip_metadata_api_check = true
  endpoints {
    s3  = var.endpoint
    iam = var.endpoint
    sts = var.endpoint
  }
}
data "aws_caller_identity" "me" {}
resource "aws_s3_bucket" "main" {
  bucket        = "tf-main"
  force_destroy = true
  tags          = { purpose = "test", step = var.step }
}
resource "aws_s3_bucket_versioning" "main" {
  bucket = aws_s3_bucket.main.id
  versioning_configuration { status = "Enabled" }
}
resource "aws_s3_object" "one" {
  bucket   = aws_s3_bucket.main.id
  key      = "dir/one"
  content  = "content ${var.step}"
  tags     = { a = "1" }
  metadata = { note = "hello" }
}
resource "aws_s3_object_copy" "two" {
  bucket            = aws_s3_bucket.main.id
  key               = "dir/two"
  source            = "${aws_s3_bucket.main.id}/${aws_s3_object.one.key}"
  tagging_directive = "REPLACE"
  tags              = { b = "2" }
}
data "aws_iam_policy_document" "bucket" {
  statement {
    sid       = "read"
    actions   = ["s3:GetObject"]
    resources = ["${aws_s3_bucket.main.arn}/*"]
    principals {
      type        = "AWS"
      identifiers = [aws_iam_user.ann.arn]
    }
  }
}
resource "aws_s3_bucket_policy" "main" {
  bucket = aws_s3_bucket.main.id
  policy = data.aws_iam_policy_document.bucket.json
}
resource "aws_s3_bucket_ownership_controls" "main" {
  bucket = aws_s3_bucket.main.id
  rule { object_ownership = "BucketOwnerPreferred" }
}
resource "aws_s3_bucket_acl" "main" {
  depends_on = [aws_s3_bucket_ownership_controls.main]
  bucket     = aws_s3_bucket.main.id
  acl        = "private"
}
resource "aws_s3_bucket_public_access_block" "main" {
  bucket                  = aws_s3_bucket.main.id
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = var.step == "one"
  restrict_public_buckets = true
}
resource "aws_s3_bucket_server_side_encryption_configuration" "main" {
  bucket = aws_s3_bucket.main.id
  rule {
    apply_server_side_encryption_by_default { sse_algorithm = "AES256" }
  }
}
resource "aws_s3_bucket" "kms" {
  bucket        = "tf-kms"
  force_destroy = true
}
resource "aws_s3_bucket_server_side_encryption_configuration" "kms" {
  bucket = aws_s3_bucket.kms.id
  rule {
    bucket_key_enabled = true
    apply_server_side_encryption_by_default {
      sse_algorithm     = "aws:kms"
      kms_master_key_id = var.kms_key
    }
  }
}
resource "aws_s3_object" "kms" {
  depends_on = [aws_s3_bucket_server_side_encryption_configuration.kms]
  bucket     = aws_s3_bucket.kms.id
  key        = "sealed"
  content    = "secret"
}
resource "aws_s3_bucket_lifecycle_configuration" "main" {
  bucket = aws_s3_bucket.main.id
  rule {
    id     = "expire"
    status = "Enabled"
    filter { prefix = "logs/" }
    expiration { days = 30 }
    noncurrent_version_expiration {
      noncurrent_days           = 7
      newer_noncurrent_versions = 3
    }
    abort_incomplete_multipart_upload { days_after_initiation = 2 }
  }
  rule {
    id     = "tagged"
    status = "Disabled"
    filter {
      and {
        prefix                   = "tmp/"
        tags                     = { kind = "temporary" }
        object_size_greater_than = 10
      }
    }
    expiration { days = 1 }
  }
}
resource "aws_s3_bucket_cors_configuration" "main" {
  bucket = aws_s3_bucket.main.id
  cors_rule {
    id              = "web"
    allowed_headers = ["*"]
    allowed_methods = ["GET", "PUT"]
    allowed_origins = ["https://example.com"]
    expose_headers  = ["ETag"]
    max_age_seconds = 300
  }
}
resource "aws_s3_bucket" "locked" {
  bucket              = "tf-locked"
  object_lock_enabled = true
  force_destroy       = true
}
resource "aws_s3_bucket_object_lock_configuration" "locked" {
  bucket = aws_s3_bucket.locked.id
  rule {
    default_retention {
      mode = "GOVERNANCE"
      days = 1
    }
  }
}
resource "aws_s3_object" "locked" {
  bucket                        = aws_s3_bucket.locked.id
  key                           = "kept"
  content                       = "kept"
  object_lock_legal_hold_status = "OFF"
  object_lock_mode              = "GOVERNANCE"
  object_lock_retain_until_date = "2099-01-01T00:00:00Z"
  force_destroy                 = true
}
data "aws_s3_bucket" "main" { bucket = aws_s3_bucket.main.id }
data "aws_s3_object" "one" {
  bucket = aws_s3_bucket.main.id
  key    = aws_s3_object.one.key
}
data "aws_s3_objects" "all" {
  depends_on = [aws_s3_object_copy.two]
  bucket     = aws_s3_bucket.main.id
  prefix     = "dir/"
}
data "aws_s3_bucket_policy" "main" {
  depends_on = [aws_s3_bucket_policy.main]
  bucket     = aws_s3_bucket.main.id
}
data "aws_canonical_user_id" "me" {}

resource "aws_iam_user" "ann" {
  name          = "tf-ann"
  force_destroy = true
  path          = "/crew/"
  tags          = { step = var.step }
}
resource "aws_iam_user" "bob" {
  name                 = "tf-bob"
  permissions_boundary = aws_iam_policy.read.arn
}
resource "aws_iam_access_key" "ann" { user = aws_iam_user.ann.name }
resource "aws_iam_group" "crew" { name = "tf-crew" }
resource "aws_iam_group" "ops" { name = "tf-ops" }
resource "aws_iam_group_membership" "crew" {
  name  = "crew"
  group = aws_iam_group.crew.name
  users = [aws_iam_user.ann.name]
}
resource "aws_iam_user_group_membership" "bob" {
  user   = aws_iam_user.bob.name
  groups = [aws_iam_group.ops.name]
}
data "aws_iam_policy_document" "read" {
  statement {
    actions   = var.step == "one" ? ["s3:GetObject"] : ["s3:GetObject", "s3:ListBucket"]
    resources = ["*"]
  }
}
resource "aws_iam_policy" "read" {
  name        = "tf-read"
  description = "reads"
  policy      = data.aws_iam_policy_document.read.json
  tags        = { a = "1" }
}
resource "aws_iam_user_policy" "ann" {
  name   = "inline"
  user   = aws_iam_user.ann.name
  policy = data.aws_iam_policy_document.read.json
}
resource "aws_iam_user_policy_attachment" "ann" {
  user       = aws_iam_user.ann.name
  policy_arn = aws_iam_policy.read.arn
}
resource "aws_iam_group_policy" "crew" {
  name   = "inline"
  group  = aws_iam_group.crew.name
  policy = data.aws_iam_policy_document.read.json
}
resource "aws_iam_group_policy_attachment" "crew" {
  group      = aws_iam_group.crew.name
  policy_arn = "arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess"
}
data "aws_iam_policy_document" "trust" {
  statement {
    actions = ["sts:AssumeRole"]
    principals {
      type        = "AWS"
      identifiers = [data.aws_caller_identity.me.account_id]
    }
  }
}
resource "aws_iam_role" "reader" {
  name                 = "tf-reader"
  description          = "reads ${var.step}"
  assume_role_policy   = data.aws_iam_policy_document.trust.json
  max_session_duration = 7200
  permissions_boundary = aws_iam_policy.read.arn
  tags                 = { a = var.step }
}
resource "aws_iam_role_policy" "reader" {
  name   = "inline"
  role   = aws_iam_role.reader.name
  policy = data.aws_iam_policy_document.read.json
}
resource "aws_iam_role_policy_attachment" "reader" {
  role       = aws_iam_role.reader.name
  policy_arn = aws_iam_policy.read.arn
}
resource "aws_iam_policy_attachment" "read" {
  name       = "everybody"
  policy_arn = aws_iam_policy.both.arn
  users      = [aws_iam_user.bob.name]
  groups     = [aws_iam_group.ops.name]
  roles      = [aws_iam_role.reader.name]
}
resource "aws_iam_policy" "both" {
  name   = "tf-both"
  policy = data.aws_iam_policy_document.read.json
}
data "aws_iam_user" "ann" { user_name = aws_iam_user.ann.name }
data "aws_iam_role" "reader" { name = aws_iam_role.reader.name }
data "aws_iam_policy" "read" { arn = aws_iam_policy.read.arn }
data "aws_iam_group" "crew" {
  depends_on = [aws_iam_group_membership.crew]
  group_name = aws_iam_group.crew.name
}
output "account" { value = data.aws_caller_identity.me.account_id }
output "keys" { value = data.aws_s3_objects.all.keys }
resource "aws_s3_bucket_request_payment_configuration" "main" {
  bucket = aws_s3_bucket.main.id
  payer  = "BucketOwner"
}
resource "aws_s3_bucket_notification" "main" {
  bucket = aws_s3_bucket.main.id
  lambda_function {
    id                  = "look"
    lambda_function_arn = "arn:aws:lambda:us-east-1:000000000001:function:look"
    events              = ["s3:ObjectCreated:Put"]
    filter_suffix       = ".jpg"
  }
  topic {
    id            = "all"
    topic_arn     = "arn:aerie:mqtt:::tf"
    events        = ["s3:ObjectCreated:*"]
    filter_prefix = "in/"
  }
}
