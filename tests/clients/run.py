"""Real S3 clients against a real appliance: each test is one client's everyday work, with its results compared.

Usage: run.py AERIE [NAME...]. Starts `aerie serve` on six temporary folders and a free port, and ends it.
"""

import contextlib
import hashlib
import os
import pathlib
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
import traceback

BIN = pathlib.Path(sys.executable).parent
ACCESS, SECRET = "clientsaccess", "clients-secret-key"
TESTS = []


def test(function):
    TESTS.append(function)
    return function


class Left(Exception):
    """A client that cannot be had here."""


class World:
    def __init__(self, endpoint, folder):
        self.endpoint, self.folder = endpoint, folder
        self.host = endpoint.removeprefix("http://")
        self.env = {
            "PATH": f"{BIN}:{os.environ['PATH']}", "HOME": str(folder), "AWS_ACCESS_KEY_ID": ACCESS,
            "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_DEFAULT_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_ENDPOINT_URL": endpoint, "LANG": "C.UTF-8",
        }
        self.random = random.Random(7)

    def bytes(self, length):
        return self.random.randbytes(length)

    def file(self, name, content):
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return path

    def run(self, *command, **options):
        if shutil.which(command[0], path=self.env["PATH"]) is None:
            raise Left(f"{command[0]} is not installed")
        env = self.env | options.pop("env", {})
        done = subprocess.run(command, env=env, capture_output=True, timeout=120, cwd=self.folder, **options)
        if done.returncode:
            raise AssertionError(f"{' '.join(map(str, command))}\n{done.stdout.decode()}{done.stderr.decode()}")
        return done.stdout.decode()


def equal(got, wanted):
    assert got == wanted, f"got {got!r:.300}, wanted {wanted!r:.300}"


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


def boto(w, **config):
    import boto3
    from botocore.config import Config
    return boto3.client("s3", endpoint_url=w.endpoint, aws_access_key_id=ACCESS, aws_secret_access_key=SECRET,
                        region_name="us-east-1", config=Config(retries={"max_attempts": 1}, **config))


@test
def boto3_everyday(w):
    s3 = boto(w)
    s3.create_bucket(Bucket="boto")
    content = w.bytes(100_000)
    s3.put_object(Bucket="boto", Key="a/b c+ü", Body=content, Metadata={"camera": "left"}, ContentType="image/raw")
    got = s3.get_object(Bucket="boto", Key="a/b c+ü", Range="bytes=10-99999")
    equal(got["Body"].read(), content[10:])
    head = s3.head_object(Bucket="boto", Key="a/b c+ü")
    equal((head["Metadata"], head["ContentType"], head["ContentLength"]), ({"camera": "left"}, "image/raw", 100_000))
    s3.copy_object(Bucket="boto", Key="copy", CopySource={"Bucket": "boto", "Key": "a/b c+ü"})
    for number in range(25):
        s3.put_object(Bucket="boto", Key=f"many/{number:03}/x", Body=b"x")
    pages = list(s3.get_paginator("list_objects_v2").paginate(Bucket="boto", Prefix="many/", Delimiter="/", PaginationConfig={"PageSize": 7}))
    equal(sum(len(page.get("CommonPrefixes", [])) for page in pages), 25)
    gone = s3.delete_objects(Bucket="boto", Delete={"Objects": [{"Key": f"many/{n:03}/x"} for n in range(25)]})
    equal(len(gone["Deleted"]), 25)
    try:
        s3.get_object(Bucket="boto", Key="nothing")
        raise AssertionError("a missing key was found")
    except s3.exceptions.NoSuchKey:
        pass


@test
def boto3_transfer(w):
    import io
    from boto3.s3.transfer import TransferConfig
    s3 = boto(w)
    s3.create_bucket(Bucket="transfer")
    content = w.bytes(31 << 20)
    config = TransferConfig(multipart_threshold=5 << 20, multipart_chunksize=5 << 20, max_concurrency=4)
    for algorithm in ["CRC32", "CRC64NVME", "SHA256"]:
        try:
            s3.upload_fileobj(io.BytesIO(content), "transfer", algorithm, ExtraArgs={"ChecksumAlgorithm": algorithm}, Config=config)
        except Exception as error:
            if "crt" in str(error).lower():
                continue
            raise
        back = io.BytesIO()
        s3.download_fileobj("transfer", algorithm, back, Config=config)
        equal(hashlib.md5(back.getvalue()).hexdigest(), hashlib.md5(content).hexdigest())


@test
def boto3_encrypted(w):
    import io
    from boto3.s3.transfer import TransferConfig
    s3 = boto(w)
    s3.create_bucket(Bucket="sealed")
    rule = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}, "BucketKeyEnabled": False}
    s3.put_bucket_encryption(Bucket="sealed", ServerSideEncryptionConfiguration={"Rules": [rule]})
    equal(s3.get_bucket_encryption(Bucket="sealed")["ServerSideEncryptionConfiguration"]["Rules"], [rule])
    content = w.bytes(12 << 20)
    config = TransferConfig(multipart_threshold=5 << 20, multipart_chunksize=5 << 20, max_concurrency=4)
    asked = {"by-rule": {}, "by-request": {"ServerSideEncryption": "AES256"}}
    for key, arguments in asked.items():
        s3.upload_fileobj(io.BytesIO(content), "sealed", key, ExtraArgs=arguments, Config=config)
        equal(s3.head_object(Bucket="sealed", Key=key)["ServerSideEncryption"], "AES256")
        back = io.BytesIO()
        s3.download_fileobj("sealed", key, back, Config=config)
        equal(hashlib.md5(back.getvalue()).hexdigest(), hashlib.md5(content).hexdigest())
    copied = s3.copy_object(Bucket="sealed", Key="copy", CopySource="sealed/by-rule", ServerSideEncryption="AES256")
    equal(copied["ServerSideEncryption"], "AES256")
    equal(s3.get_object(Bucket="sealed", Key="copy", Range="bytes=6000000-6000099")["Body"].read(), content[6000000:6000100])


@test
def boto3_presigned_and_post(w):
    import urllib.request
    import urllib.error
    import requests
    s3 = boto(w)
    s3.create_bucket(Bucket="presigned")
    put = s3.generate_presigned_url("put_object", Params={"Bucket": "presigned", "Key": "k"}, ExpiresIn=60)
    # urllib would add a content type, which a signature of version 2 covers.
    requests.put(put, data=b"by url", timeout=20).raise_for_status()
    get = s3.generate_presigned_url("get_object", Params={"Bucket": "presigned", "Key": "k"}, ExpiresIn=60)
    equal(urllib.request.urlopen(get, timeout=20).read(), b"by url")
    try:
        urllib.request.urlopen(get.replace("presigned/k", "presigned/other"), timeout=20)
        raise AssertionError("an altered URL was taken")
    except urllib.error.HTTPError as error:
        equal(error.code, 403)
    post = s3.generate_presigned_post("presigned", "form/${filename}", Conditions=[["content-length-range", 1, 100]])
    answer = requests.post(post["url"], data=post["fields"], files={"file": ("f.txt", b"form data")}, timeout=20)
    equal(answer.status_code, 204)
    equal(s3.get_object(Bucket="presigned", Key="form/f.txt")["Body"].read(), b"form data")


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
def minio_py(w):
    import io
    from minio import Minio
    client = Minio(w.host, access_key=ACCESS, secret_key=SECRET, secure=False)
    client.make_bucket("miniopy")
    content = w.bytes(11 << 20)
    client.put_object("miniopy", "large", io.BytesIO(content), length=-1, part_size=5 << 20)
    client.put_object("miniopy", "small", io.BytesIO(b"abc"), 3)
    answer = client.get_object("miniopy", "large")
    equal(hashlib.md5(answer.read()).hexdigest(), hashlib.md5(content).hexdigest())
    answer.close()
    equal(sorted(found.object_name for found in client.list_objects("miniopy", recursive=True)), ["large", "small"])
    client.remove_object("miniopy", "large")
    client.remove_object("miniopy", "small")
    client.remove_bucket("miniopy")


@test
def s3fs_files(w):
    import s3fs
    fs = s3fs.S3FileSystem(key=ACCESS, secret=SECRET, client_kwargs={"endpoint_url": w.endpoint, "region_name": "us-east-1"})
    fs.mkdir("s3fs-files")
    content = w.bytes(7 << 20)
    with fs.open("s3fs-files/dir/data", "wb", block_size=5 << 20) as file:
        file.write(content)
    with fs.open("s3fs-files/dir/data", "rb") as file:
        file.seek(1 << 20)
        equal(file.read(1000), content[1 << 20:(1 << 20) + 1000])
    equal(fs.ls("s3fs-files/dir"), ["s3fs-files/dir/data"])
    fs.rm("s3fs-files", recursive=True)


@test
def pyarrow_parquet(w):
    import pyarrow
    import pyarrow.fs
    import pyarrow.parquet
    fs = pyarrow.fs.S3FileSystem(access_key=ACCESS, secret_key=SECRET, endpoint_override=w.host, scheme="http",
                                 region="us-east-1", allow_bucket_creation=True)
    fs.create_dir("pyarrow")
    table = pyarrow.table({"a": list(range(100_000))})
    pyarrow.parquet.write_table(table, "pyarrow/t.parquet", filesystem=fs)
    equal(pyarrow.parquet.read_table("pyarrow/t.parquet", filesystem=fs).num_rows, 100_000)


OBJECT_STORE = {"aws_access_key_id": ACCESS, "aws_secret_access_key": SECRET, "aws_region": "us-east-1"}


@test
def polars_parquet(w):
    import polars
    boto(w).create_bucket(Bucket="polars")
    options = OBJECT_STORE | {"aws_endpoint_url": w.endpoint, "aws_allow_http": "true"}
    frame = polars.DataFrame({"a": list(range(1000))})
    frame.write_parquet("s3://polars/t.parquet", storage_options=options)
    equal(polars.read_parquet("s3://polars/t.parquet", storage_options=options)["a"].sum(), 499_500)


@test
def deltalake_table(w):
    import deltalake
    import pyarrow
    boto(w).create_bucket(Bucket="delta")
    options = OBJECT_STORE | {"aws_endpoint_url": w.endpoint, "aws_allow_http": "true", "aws_conditional_put": "etag"}
    for number in range(3):
        deltalake.write_deltalake("s3://delta/t", pyarrow.table({"a": [number]}), mode="append", storage_options=options)
    equal(deltalake.DeltaTable("s3://delta/t", storage_options=options).version(), 2)


@contextlib.contextmanager
def appliance(aerie):
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        for number in range(1, 7):
            (folder / f"d{number}").mkdir()
        env = os.environ | {"AERIE_ROOT_ACCESS_KEY": ACCESS, "AERIE_ROOT_SECRET_KEY": SECRET}
        with open(folder / "log", "wb") as log:
            server = subprocess.Popen([aerie, "serve", "--parity", "2", "--address", "127.0.0.1:0", f"{folder}/d{{1..6}}"],
                                      stdout=subprocess.PIPE, stderr=log, env=env)
        try:
            line = server.stdout.readline().decode()
            found = re.search(r"http://[^ ,)]+", line)
            if not found:
                raise SystemExit(f"the appliance did not start: {line}{(folder / 'log').read_text()}")
            (folder / "work").mkdir()
            yield World(found[0], folder / "work"), folder / "log"
            if server.poll() is not None:
                raise SystemExit(f"the appliance ended by itself: {(folder / 'log').read_text()[-3000:]}")
        finally:
            server.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                server.wait(30)
            server.kill()


def main():
    aerie, names = sys.argv[1], sys.argv[2:]
    passed = failed = skipped = 0
    with appliance(aerie) as (world, log):
        for function in TESTS:
            if names and function.__name__ not in names:
                continue
            started = time.monotonic()
            try:
                function(world)
                outcome, passed = "ok", passed + 1
            except (Left, ImportError) as left:
                outcome, skipped = f"left out: {left}", skipped + 1
            except Exception:
                outcome, failed = "FAILED\n" + traceback.format_exc(limit=-3), failed + 1
            print(f"{function.__name__:26} {time.monotonic() - started:6.1f} s  {outcome}", flush=True)
        if failed:
            print(log.read_text()[-2000:])
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
