"""Clients with a command line, and the JavaScript ones, which run as scripts of their own."""

import hashlib
import os
import pathlib
import re

from world import ACCESS, SECRET, Left, boto, equal, test

HERE = pathlib.Path(__file__).parent


@test
def awscli(w):
    small, large = w.file("a/small", b"hello"), w.file("a/large", w.bytes(20 << 20))
    w.run("aws", "s3", "mb", "s3://awscli")
    w.run("aws", "s3", "cp", str(small), "s3://awscli/dir/small")
    w.run("aws", "s3", "cp", str(large), "s3://awscli/dir/large")
    assert "small" in w.run("aws", "s3", "ls", "s3://awscli/dir/")
    w.run("aws", "s3", "cp", "s3://awscli/dir/large", "back")
    equal(hashlib.sha256((w.folder / "back").read_bytes()).digest(), hashlib.sha256(large.read_bytes()).digest())
    w.run("aws", "s3", "sync", "a", "s3://awscli/sync/")
    w.run("aws", "s3", "mv", "s3://awscli/dir/small", "s3://awscli/moved")
    equal(w.run("aws", "s3", "cp", "s3://awscli/moved", "-"), "hello")
    url = w.run("aws", "s3", "presign", "s3://awscli/moved").strip()
    import urllib.request
    equal(urllib.request.urlopen(url, timeout=20).read(), b"hello")
    w.run("aws", "s3", "rb", "--force", "s3://awscli")


@test
def awscli_api(w):
    w.run("aws", "s3api", "create-bucket", "--bucket", "awsapi")
    w.run("aws", "s3api", "put-bucket-versioning", "--bucket", "awsapi", "--versioning-configuration", "Status=Enabled")
    body = w.file("v", b"one")
    w.run("aws", "s3api", "put-object", "--bucket", "awsapi", "--key", "k", "--body", str(body), "--checksum-algorithm", "SHA256")
    w.run("aws", "s3api", "delete-object", "--bucket", "awsapi", "--key", "k")
    listed = w.run("aws", "s3api", "list-object-versions", "--bucket", "awsapi")
    assert '"DeleteMarkers"' in listed and '"Versions"' in listed
    w.run("aws", "s3api", "get-bucket-location", "--bucket", "awsapi")


@test
def s3cmd(w):
    common = ["s3cmd", f"--host={w.host}", f"--host-bucket={w.host}", "--no-ssl", f"--access_key={ACCESS}", f"--secret_key={SECRET}", "--config=/dev/null"]
    source = w.file("s3cmd-source", w.bytes(18 << 20))
    w.run(*common, "mb", "s3://s3cmd")
    w.run(*common, "put", str(source), "s3://s3cmd/dir/file")
    assert "dir/file" in w.run(*common, "ls", "-r", "s3://s3cmd")
    w.run(*common, "get", "--force", "s3://s3cmd/dir/file", "s3cmd-back")
    equal((w.folder / "s3cmd-back").read_bytes() == source.read_bytes(), True)
    w.run(*common, "cp", "s3://s3cmd/dir/file", "s3://s3cmd/copy")
    w.run(*common, "del", "-r", "--force", "s3://s3cmd/")
    w.run(*common, "rb", "s3://s3cmd")


@test
def rclone(w):
    env = {"RCLONE_CONFIG_A_TYPE": "s3", "RCLONE_CONFIG_A_PROVIDER": "Other", "RCLONE_CONFIG_A_ENDPOINT": w.endpoint,
           "RCLONE_CONFIG_A_ACCESS_KEY_ID": ACCESS, "RCLONE_CONFIG_A_SECRET_ACCESS_KEY": SECRET}
    for number in range(20):
        w.file(f"rclone/d{number % 3}/f{number}", w.bytes(1000 * number))
    w.file("rclone/large", w.bytes(12 << 20))
    w.run("rclone", "mkdir", "a:rclone", env=env)
    w.run("rclone", "sync", "rclone", "a:rclone/x", "--s3-upload-cutoff", "5M", env=env)
    w.run("rclone", "check", "rclone", "a:rclone/x", env=env)
    w.run("rclone", "sync", "a:rclone/x", "rclone-back", env=env)
    w.run("diff", "-r", "rclone", "rclone-back")
    w.run("rclone", "purge", "a:rclone", env=env)


@test
def restic(w):
    w.file("restic/a", w.bytes(3_000_000))
    boto(w).create_bucket(Bucket="restic")
    env = {"RESTIC_REPOSITORY": f"s3:{w.endpoint}/restic", "RESTIC_PASSWORD": "x"}
    w.run("restic", "init", env=env)
    w.run("restic", "backup", "restic", env=env)
    w.run("restic", "check", "--read-data", env=env)
    w.run("restic", "restore", "latest", "--target", "restic-back", env=env)
    w.run("restic", "forget", "--keep-last", "1", "--prune", env=env)


@test
def awscli_2(w):
    aws = "/usr/bin/aws"
    version = w.run(aws, "--version") if os.path.exists(aws) else "none"
    if not version.startswith("aws-cli/2."):
        raise Left("the system's awscli is not version 2")
    # Older ones know no AWS_ENDPOINT_URL.
    aws = [aws, "--endpoint-url", w.endpoint]
    large = w.file("awscli2/large", w.bytes(20 << 20))
    w.run(*aws, "s3", "mb", "s3://awscli2")
    w.run(*aws, "s3", "cp", str(large), "s3://awscli2/dir/large")
    w.run(*aws, "s3", "cp", "s3://awscli2/dir/large", "s3://awscli2/dir/copy")
    w.run(*aws, "s3", "sync", "s3://awscli2/dir/", "awscli2-back")
    equal((w.folder / "awscli2-back/copy").read_bytes() == large.read_bytes(), True)
    w.run(*aws, "s3api", "put-object", "--bucket", "awscli2", "--key", "k", "--body", str(large), "--checksum-algorithm", "CRC32C")
    attributes = w.run(*aws, "s3api", "get-object-attributes", "--bucket", "awscli2", "--key", "k", "--object-attributes", "Checksum", "ObjectSize")
    assert "ChecksumCRC32C" in attributes, attributes
    w.run(*aws, "s3", "rb", "--force", "s3://awscli2")


@test
def s5cmd(w):
    for number in range(40):
        w.file(f"s5cmd/f{number}", w.bytes(500 * number))
    large = w.file("s5cmd-large", w.bytes(23 << 20))
    s5cmd = ["s5cmd", "--endpoint-url", w.endpoint, "--retry-count", "0"]
    w.run(*s5cmd, "mb", "s3://s5cmd")
    w.run(*s5cmd, "cp", "s5cmd/*", "s3://s5cmd/d/")
    w.run(*s5cmd, "cp", "-p", "5", str(large), "s3://s5cmd/large")
    w.run(*s5cmd, "cp", "s3://s5cmd/large", "s3://s5cmd/copy")
    w.run(*s5cmd, "cp", "-p", "5", "s3://s5cmd/copy", "s5cmd-back")
    equal((w.folder / "s5cmd-back").read_bytes() == large.read_bytes(), True)
    w.run(*s5cmd, "sync", "s5cmd/", "s3://s5cmd/d/")
    equal(len(w.run(*s5cmd, "ls", "s3://s5cmd/d/*").splitlines()), 40)
    w.run(*s5cmd, "mv", "s3://s5cmd/d/f1", "s3://s5cmd/moved")
    w.run(*s5cmd, "rm", "s3://s5cmd/*")
    w.run(*s5cmd, "rb", "s3://s5cmd")


def node(w, script):
    modules = os.environ.get("AERIE_CLIENTS_NODE_MODULES")
    if not modules:
        raise Left("npm did not install its packages")
    w.run("node", str(HERE / script), env={"NODE_PATH": modules, "AWS_REGION": "us-east-1"})


@test
def aws_sdk_js_v3(w):
    node(w, "aws_sdk_v3.cjs")


@test
def minio_js(w):
    node(w, "minio_js.cjs")
