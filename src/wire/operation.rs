//! The operations of S3's REST API, and the permission that each needs.

macro_rules! operations {
    ($($name:ident $action:literal;)*) => {
        /// The operations of S3's REST API.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Operation { $($name,)* }

        impl Operation {
            pub const ALL: &[Operation] = &[$(Operation::$name,)*];

            /// As AWS names the operation.
            pub fn as_str(self) -> &'static str {
                match self { $(Operation::$name => stringify!($name),)* }
            }

            /// The permission that it needs, without `s3:`.
            pub fn action(self) -> &'static str {
                match self { $(Operation::$name => $action,)* }
            }
        }
    };
}

operations! {
    AbortMultipartUpload "AbortMultipartUpload";
    CompleteMultipartUpload "PutObject";
    CopyObject "PutObject";
    CreateBucket "CreateBucket";
    CreateBucketMetadataConfiguration "CreateBucketMetadataTableConfiguration";
    CreateMultipartUpload "PutObject";
    CreateSession "CreateSession";
    DeleteBucket "DeleteBucket";
    DeleteBucketAnalyticsConfiguration "PutAnalyticsConfiguration";
    DeleteBucketCors "PutBucketCORS";
    DeleteBucketEncryption "PutEncryptionConfiguration";
    DeleteBucketIntelligentTieringConfiguration "PutIntelligentTieringConfiguration";
    DeleteBucketInventoryConfiguration "PutInventoryConfiguration";
    DeleteBucketLifecycle "PutLifecycleConfiguration";
    DeleteBucketMetadataConfiguration "DeleteBucketMetadataTableConfiguration";
    DeleteBucketMetricsConfiguration "PutMetricsConfiguration";
    DeleteBucketOwnershipControls "PutBucketOwnershipControls";
    DeleteBucketPolicy "DeleteBucketPolicy";
    DeleteBucketReplication "PutReplicationConfiguration";
    DeleteBucketTagging "PutBucketTagging";
    DeleteBucketWebsite "DeleteBucketWebsite";
    DeleteObject "DeleteObject";
    DeleteObjectAnnotation "DeleteObjectAnnotation";
    DeleteObjectTagging "DeleteObjectTagging";
    DeleteObjects "DeleteObject";
    DeletePublicAccessBlock "PutBucketPublicAccessBlock";
    GetBucketAbac "GetBucketAbac";
    GetBucketAccelerateConfiguration "GetAccelerateConfiguration";
    GetBucketAcl "GetBucketAcl";
    GetBucketAnalyticsConfiguration "GetAnalyticsConfiguration";
    GetBucketCors "GetBucketCORS";
    GetBucketEncryption "GetEncryptionConfiguration";
    GetBucketIntelligentTieringConfiguration "GetIntelligentTieringConfiguration";
    GetBucketInventoryConfiguration "GetInventoryConfiguration";
    GetBucketLifecycleConfiguration "GetLifecycleConfiguration";
    GetBucketLocation "GetBucketLocation";
    GetBucketLogging "GetBucketLogging";
    GetBucketMetadataConfiguration "GetBucketMetadataTableConfiguration";
    GetBucketMetricsConfiguration "GetMetricsConfiguration";
    GetBucketNotificationConfiguration "GetBucketNotification";
    GetBucketOwnershipControls "GetBucketOwnershipControls";
    GetBucketPolicy "GetBucketPolicy";
    GetBucketPolicyStatus "GetBucketPolicyStatus";
    GetBucketReplication "GetReplicationConfiguration";
    GetBucketRequestPayment "GetBucketRequestPayment";
    GetBucketTagging "GetBucketTagging";
    GetBucketVersioning "GetBucketVersioning";
    GetBucketWebsite "GetBucketWebsite";
    GetObject "GetObject";
    GetObjectAcl "GetObjectAcl";
    GetObjectAnnotation "GetObjectAnnotation";
    GetObjectAttributes "GetObjectAttributes";
    GetObjectLambda "GetObject";
    GetObjectLegalHold "GetObjectLegalHold";
    GetObjectLockConfiguration "GetBucketObjectLockConfiguration";
    GetObjectRetention "GetObjectRetention";
    GetObjectTagging "GetObjectTagging";
    GetObjectTorrent "GetObjectTorrent";
    GetPublicAccessBlock "GetBucketPublicAccessBlock";
    HeadBucket "ListBucket";
    HeadObject "GetObject";
    ListBucketAnalyticsConfigurations "GetAnalyticsConfiguration";
    ListBucketIntelligentTieringConfigurations "GetIntelligentTieringConfiguration";
    ListBucketInventoryConfigurations "GetInventoryConfiguration";
    ListBucketMetricsConfigurations "GetMetricsConfiguration";
    ListBuckets "ListAllMyBuckets";
    ListMultipartUploads "ListBucketMultipartUploads";
    ListObjectAnnotations "GetObjectAnnotation";
    ListObjectVersions "ListBucketVersions";
    ListObjects "ListBucket";
    ListObjectsV2 "ListBucket";
    ListParts "ListMultipartUploadParts";
    ListenBucketNotification "ListenBucketNotification";
    PostObject "PutObject";
    PreflightRequest "PreflightRequest";
    PutBucketAbac "PutBucketAbac";
    PutBucketAccelerateConfiguration "PutAccelerateConfiguration";
    PutBucketAcl "PutBucketAcl";
    PutBucketAnalyticsConfiguration "PutAnalyticsConfiguration";
    PutBucketCors "PutBucketCORS";
    PutBucketEncryption "PutEncryptionConfiguration";
    PutBucketIntelligentTieringConfiguration "PutIntelligentTieringConfiguration";
    PutBucketInventoryConfiguration "PutInventoryConfiguration";
    PutBucketLifecycleConfiguration "PutLifecycleConfiguration";
    PutBucketLogging "PutBucketLogging";
    PutBucketMetricsConfiguration "PutMetricsConfiguration";
    PutBucketNotificationConfiguration "PutBucketNotification";
    PutBucketOwnershipControls "PutBucketOwnershipControls";
    PutBucketPolicy "PutBucketPolicy";
    PutBucketReplication "PutReplicationConfiguration";
    PutBucketRequestPayment "PutBucketRequestPayment";
    PutBucketTagging "PutBucketTagging";
    PutBucketVersioning "PutBucketVersioning";
    PutBucketWebsite "PutBucketWebsite";
    PutObject "PutObject";
    PutObjectAcl "PutObjectAcl";
    PutObjectAnnotation "PutObjectAnnotation";
    PutObjectLegalHold "PutObjectLegalHold";
    PutObjectLockConfiguration "PutBucketObjectLockConfiguration";
    PutObjectRetention "PutObjectRetention";
    PutObjectTagging "PutObjectTagging";
    PutPublicAccessBlock "PutBucketPublicAccessBlock";
    RenameObject "PutObject";
    RestoreObject "RestoreObject";
    SelectObjectContent "GetObject";
    UpdateBucketMetadataAnnotationTableConfiguration "UpdateBucketMetadataAnnotationTableConfiguration";
    UpdateBucketMetadataInventoryTableConfiguration "UpdateBucketMetadataInventoryTableConfiguration";
    UpdateBucketMetadataJournalTableConfiguration "UpdateBucketMetadataJournalTableConfiguration";
    UpdateObjectEncryption "UpdateObjectEncryption";
    UploadPart "PutObject";
    UploadPartCopy "PutObject";
    WriteGetObjectResponse "WriteGetObjectResponse";
}

impl Operation {
    /// It is authorised in the operation, not before: a form carries its signature inside, a preflight has none, the tags
    /// and the place that a policy may ask for are in the body, and each key that is to be deleted is asked for by itself.
    pub fn asks_for_itself(self) -> bool {
        matches!(
            self,
            Operation::PostObject
                | Operation::PreflightRequest
                | Operation::PutObjectTagging
                | Operation::CreateBucket
                | Operation::DeleteObjects
        )
    }
}
