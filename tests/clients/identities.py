"""IAM and STS by boto3 and awscli: users, groups, keys, policies, boundaries, roles, and what they may do at S3."""

import json

from world import ACCESS, SECRET, boto, equal, test

STORE = "000000000001"


def client(w, service, credentials=None):
    import boto3
    from botocore.config import Config
    credentials = credentials or {"AccessKeyId": ACCESS, "SecretAccessKey": SECRET}
    return boto3.client(service, endpoint_url=w.endpoint, region_name="us-east-1", config=Config(retries={"max_attempts": 1}),
                        aws_access_key_id=credentials["AccessKeyId"], aws_secret_access_key=credentials["SecretAccessKey"],
                        aws_session_token=credentials.get("SessionToken"))


def policy(*actions, effect="Allow", resource="*", **more):
    return json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": effect, "Action": actions, "Resource": resource, **more}]})


def trust(principal):
    statement = {"Effect": "Allow", "Principal": {"AWS": principal}, "Action": "sts:AssumeRole"}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def refused(code, call, **arguments):
    from botocore.exceptions import ClientError
    try:
        call(**arguments)
    except ClientError as error:
        equal(error.response["Error"]["Code"], code)
        return
    raise AssertionError(f"{code} was expected of {arguments}")


@test
def boto3_iam(w):
    iam, s3 = client(w, "iam"), boto(w)
    s3.create_bucket(Bucket="iam")
    s3.put_object(Bucket="iam", Key="k", Body=b"1")
    iam.create_user(UserName="boto-ann", Path="/crew/", Tags=[{"Key": "team", "Value": "red"}])
    equal(iam.get_user(UserName="boto-ann")["User"]["Arn"], f"arn:aws:iam::{STORE}:user/crew/boto-ann")
    refused("EntityAlreadyExists", iam.create_user, UserName="BOTO-ANN")
    key = iam.create_access_key(UserName="boto-ann")["AccessKey"]
    ann = client(w, "s3", key)
    refused("AccessDenied", ann.get_object, Bucket="iam", Key="k")
    equal(iam.get_access_key_last_used(AccessKeyId=key["AccessKeyId"])["AccessKeyLastUsed"]["ServiceName"], "s3")

    iam.create_group(GroupName="boto-readers")
    iam.put_group_policy(GroupName="boto-readers", PolicyName="own", PolicyDocument=policy("s3:GetObject"))
    iam.add_user_to_group(GroupName="boto-readers", UserName="boto-ann")
    equal(ann.get_object(Bucket="iam", Key="k")["Body"].read(), b"1")
    refused("AccessDenied", ann.put_object, Bucket="iam", Key="k", Body=b"2")
    made = iam.create_policy(PolicyName="boto-writers", PolicyDocument=policy("s3:PutObject"), Tags=[{"Key": "a", "Value": "b"}])
    arn = made["Policy"]["Arn"]
    iam.attach_user_policy(UserName="boto-ann", PolicyArn=arn)
    ann.put_object(Bucket="iam", Key="k", Body=b"2")
    iam.create_policy_version(PolicyArn=arn, PolicyDocument=policy("s3:PutObjectTagging"), SetAsDefault=True)
    refused("AccessDenied", ann.put_object, Bucket="iam", Key="k", Body=b"3")
    iam.set_default_policy_version(PolicyArn=arn, VersionId="v1")
    equal([version["VersionId"] for version in iam.list_policy_versions(PolicyArn=arn)["Versions"]], ["v2", "v1"])
    equal(iam.list_entities_for_policy(PolicyArn=arn)["PolicyUsers"][0]["UserName"], "boto-ann")
    iam.put_user_permissions_boundary(UserName="boto-ann", PermissionsBoundary="arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess")
    refused("AccessDenied", ann.put_object, Bucket="iam", Key="k", Body=b"3")
    iam.delete_user_permissions_boundary(UserName="boto-ann")
    ann.put_object(Bucket="iam", Key="k", Body=b"3")
    iam.update_access_key(UserName="boto-ann", AccessKeyId=key["AccessKeyId"], Status="Inactive")
    refused("InvalidAccessKeyId", ann.get_object, Bucket="iam", Key="k")

    refused("DeleteConflict", iam.delete_user, UserName="boto-ann")
    refused("DeleteConflict", iam.delete_policy, PolicyArn=arn)
    iam.detach_user_policy(UserName="boto-ann", PolicyArn=arn)
    iam.delete_policy_version(PolicyArn=arn, VersionId="v2")
    iam.delete_policy(PolicyArn=arn)
    iam.remove_user_from_group(GroupName="boto-readers", UserName="boto-ann")
    iam.delete_group_policy(GroupName="boto-readers", PolicyName="own")
    iam.delete_group(GroupName="boto-readers")
    iam.delete_access_key(UserName="boto-ann", AccessKeyId=key["AccessKeyId"])
    iam.delete_user(UserName="boto-ann")
    refused("NoSuchEntity", iam.get_user, UserName="boto-ann")


@test
def boto3_sts(w):
    iam, sts, s3 = client(w, "iam"), client(w, "sts"), boto(w)
    s3.create_bucket(Bucket="sts")
    s3.put_object(Bucket="sts", Key="k", Body=b"1")
    equal(sts.get_caller_identity()["Account"], STORE)
    role = iam.create_role(RoleName="boto-reader", AssumeRolePolicyDocument=trust(STORE))["Role"]
    iam.put_role_policy(RoleName="boto-reader", PolicyName="own", PolicyDocument=policy("s3:GetObject", "s3:ListBucket"))
    assumed = sts.assume_role(RoleArn=role["Arn"], RoleSessionName="flight", DurationSeconds=900)
    equal(assumed["AssumedRoleUser"]["Arn"], f"arn:aws:sts::{STORE}:assumed-role/boto-reader/flight")
    reader = client(w, "s3", assumed["Credentials"])
    equal(reader.get_object(Bucket="sts", Key="k")["Body"].read(), b"1")
    refused("AccessDenied", reader.put_object, Bucket="sts", Key="k", Body=b"2")
    narrow = sts.assume_role(RoleArn=role["Arn"], RoleSessionName="narrow", Policy=policy("s3:ListBucket"))["Credentials"]
    equal(client(w, "s3", narrow).list_objects_v2(Bucket="sts")["KeyCount"], 1)
    refused("AccessDenied", client(w, "s3", narrow).get_object, Bucket="sts", Key="k")
    stolen = dict(narrow, SessionToken=assumed["Credentials"]["SessionToken"])
    refused("InvalidToken", client(w, "s3", stolen).get_object, Bucket="sts", Key="k")
    session = sts.get_session_token(DurationSeconds=900)["Credentials"]
    equal(client(w, "sts", session).get_caller_identity()["Account"], STORE)
    refused("AccessDenied", client(w, "iam", session).create_user, UserName="boto-bob")
    iam.delete_role_policy(RoleName="boto-reader", PolicyName="own")
    iam.delete_role(RoleName="boto-reader")
    refused("InvalidToken", reader.get_object, Bucket="sts", Key="k")

    # A role of another account: both must agree.
    made = json.loads(w.aerie("account", "create", "boto-other"))
    other = client(w, "iam", {"AccessKeyId": made["access_key"], "SecretAccessKey": made["secret_key"]})
    role = other.create_role(RoleName="guest", AssumeRolePolicyDocument=trust(STORE))["Role"]
    other.put_role_policy(RoleName="guest", PolicyName="own", PolicyDocument=policy("s3:ListAllMyBuckets"))
    iam.create_user(UserName="boto-eve")
    eve = client(w, "sts", iam.create_access_key(UserName="boto-eve")["AccessKey"])
    refused("AccessDenied", eve.assume_role, RoleArn=role["Arn"], RoleSessionName="guest")
    iam.put_user_policy(UserName="boto-eve", PolicyName="own", PolicyDocument=policy("sts:AssumeRole", resource=role["Arn"]))
    guest = eve.assume_role(RoleArn=role["Arn"], RoleSessionName="guest")["Credentials"]
    equal(client(w, "s3", guest).list_buckets()["Buckets"], [])


@test
def awscli_iam(w):
    def aws(*arguments):
        return json.loads(w.run("aws", "--output", "json", *arguments) or "{}")

    aws("iam", "create-user", "--user-name", "cli-ann")
    key = aws("iam", "create-access-key", "--user-name", "cli-ann")["AccessKey"]
    document = w.file("cli-policy.json", policy("s3:ListAllMyBuckets", "sts:AssumeRole").encode())
    aws("iam", "put-user-policy", "--user-name", "cli-ann", "--policy-name", "own", "--policy-document", f"file://{document}")
    env = {"AWS_ACCESS_KEY_ID": key["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"]}
    equal(json.loads(w.run("aws", "sts", "get-caller-identity", env=env))["Arn"], f"arn:aws:iam::{STORE}:user/cli-ann")
    w.run("aws", "s3", "ls", env=env)
    trusted = w.file("cli-trust.json", trust(STORE).encode())
    role = aws("iam", "create-role", "--role-name", "cli-role", "--assume-role-policy-document", f"file://{trusted}")["Role"]
    aws("iam", "attach-role-policy", "--role-name", "cli-role", "--policy-arn", "arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess")
    assume = ["aws", "sts", "assume-role", "--role-arn", role["Arn"], "--role-session-name", "cli"]
    session = json.loads(w.run(*assume, env=env))["Credentials"]
    env = {"AWS_ACCESS_KEY_ID": session["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": session["SecretAccessKey"],
           "AWS_SESSION_TOKEN": session["SessionToken"]}
    w.run("aws", "s3", "ls", env=env)
    equal([user["UserName"] for user in aws("iam", "list-users", "--max-items", "100")["Users"] if user["UserName"].startswith("cli-")], ["cli-ann"])
    for action in [
        ["detach-role-policy", "--role-name", "cli-role", "--policy-arn", "arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess"],
        ["delete-role", "--role-name", "cli-role"], ["delete-user-policy", "--user-name", "cli-ann", "--policy-name", "own"],
        ["delete-access-key", "--user-name", "cli-ann", "--access-key-id", key["AccessKeyId"]],
        ["delete-user", "--user-name", "cli-ann"],
    ]:
        w.run("aws", "iam", *action)
