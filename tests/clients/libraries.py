"""Clients that are Python libraries."""

import hashlib
import io
import threading

from world import ACCESS, SECRET, boto, equal, test


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
def boto3_object_lambda(w):
    """A transform in place of a picture: `lambdaArn` is no parameter of boto3's, so it is added before the signature."""
    import pathlib
    tree = pathlib.Path(__file__).parent.parent.parent
    w.aerie("hook", "add", "thumbnail", str(tree / "wasm-hooks/built/thumbnail.wasm"))
    s3 = boto(w)
    s3.create_bucket(Bucket="album")
    picture = (tree / "tests/pictures/astronaut.jpg").read_bytes()
    s3.put_object(Bucket="album", Key="picture.jpg", Body=picture, ContentType="image/jpeg")

    def through(request, **_):
        request.url += ("&" if "?" in request.url else "?") + "lambdaArn=arn%3Aaerie%3Ahook%3A%3A%3Athumbnail"

    for operation in ["GetObject", "HeadObject"]:
        s3.meta.events.register(f"before-sign.s3.{operation}", through)
    got = s3.get_object(Bucket="album", Key="picture.jpg")
    small = got["Body"].read()
    equal((got["ContentType"], small[:8], small[16:24]), ("image/png", b"\x89PNG\r\n\x1a\n", b"\0\0\1\0\0\0\1\0"))
    head = s3.head_object(Bucket="album", Key="picture.jpg")
    equal((head["ContentType"], head["ContentLength"], head["ETag"]), ("image/png", len(small), got["ETag"]))
    part = s3.get_object(Bucket="album", Key="picture.jpg", Range="bytes=16-23")
    equal((part["Body"].read(), part["ContentRange"]), (small[16:24], f"bytes 16-23/{len(small)}"))
    equal(boto(w).get_object(Bucket="album", Key="picture.jpg")["Body"].read(), picture)


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
    from boto3.s3.transfer import TransferConfig
    s3 = boto(w)
    s3.create_bucket(Bucket="sealed")
    rule = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}, "BucketKeyEnabled": False}
    s3.put_bucket_encryption(Bucket="sealed", ServerSideEncryptionConfiguration={"Rules": [rule]})
    equal(s3.get_bucket_encryption(Bucket="sealed")["ServerSideEncryptionConfiguration"]["Rules"], [rule])
    content = w.bytes(12 << 20)
    config = TransferConfig(multipart_threshold=5 << 20, multipart_chunksize=5 << 20, max_concurrency=4)
    for key, arguments in {"by-rule": {}, "by-request": {"ServerSideEncryption": "AES256"}}.items():
        s3.upload_fileobj(io.BytesIO(content), "sealed", key, ExtraArgs=arguments, Config=config)
        equal(s3.head_object(Bucket="sealed", Key=key)["ServerSideEncryption"], "AES256")
        back = io.BytesIO()
        s3.download_fileobj("sealed", key, back, Config=config)
        equal(hashlib.md5(back.getvalue()).hexdigest(), hashlib.md5(content).hexdigest())
    copied = s3.copy_object(Bucket="sealed", Key="copy", CopySource="sealed/by-rule", ServerSideEncryption="AES256")
    equal(copied["ServerSideEncryption"], "AES256")
    piece = s3.get_object(Bucket="sealed", Key="copy", Range="bytes=6000000-6000099")["Body"].read()
    equal(piece, content[6000000:6000100])


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
def boto3_checksums(w):
    """Both default modes, each algorithm that needs no further library, and what a wrong one is answered."""
    import zlib
    from base64 import b64encode
    from botocore.exceptions import ClientError
    boto(w).create_bucket(Bucket="checksums")
    content = w.bytes(300_000)
    crc32 = b64encode(zlib.crc32(content).to_bytes(4, "big")).decode()
    for mode in ["when_supported", "when_required"]:
        s3 = boto(w, request_checksum_calculation=mode, response_checksum_validation=mode)
        for algorithm in [None, "CRC32", "SHA1", "SHA256"]:
            more = {"ChecksumAlgorithm": algorithm} if algorithm else {}
            s3.put_object(Bucket="checksums", Key=mode, Body=io.BytesIO(content), **more)
            got = s3.get_object(Bucket="checksums", Key=mode, ChecksumMode="ENABLED")
            equal(hashlib.md5(got["Body"].read()).digest(), hashlib.md5(content).digest())
            assert algorithm is None or f"Checksum{algorithm}" in got, got
        s3.put_object(Bucket="checksums", Key="given", Body=content, ChecksumCRC32=crc32)
        equal(s3.head_object(Bucket="checksums", Key="given", ChecksumMode="ENABLED")["ChecksumCRC32"], crc32)
        try:
            s3.put_object(Bucket="checksums", Key="wrong", Body=content + b"x", ChecksumCRC32=crc32)
            raise AssertionError("a wrong checksum was taken")
        except ClientError as error:
            equal(error.response["Error"]["Code"], "BadDigest")


@test
def boto3_over_crt(w):
    """AWS's common runtime: its own HTTP client, signatures, parallel parts, checksums in trailers."""
    import awscrt  # noqa: F401
    from boto3.s3.transfer import TransferConfig
    s3 = boto(w)
    s3.create_bucket(Bucket="overcrt")
    content = w.bytes(31 << 20)
    source = w.file("crt-source", content)
    config = TransferConfig(preferred_transfer_client="crt", multipart_threshold=5 << 20, multipart_chunksize=5 << 20)
    for algorithm in ["CRC32C", "CRC64NVME", "SHA1"]:
        s3.upload_file(str(source), "overcrt", algorithm, ExtraArgs={"ChecksumAlgorithm": algorithm}, Config=config)
        back = w.folder / f"crt-{algorithm}"
        s3.download_file("overcrt", algorithm, str(back), Config=config)
        equal(back.read_bytes() == content, True)
        head = s3.head_object(Bucket="overcrt", Key=algorithm, ChecksumMode="ENABLED")
        assert f"Checksum{algorithm}" in head, head


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
def minio_py_listens(w):
    from minio import Minio
    client = Minio(w.host, access_key=ACCESS, secret_key=SECRET, secure=False)
    client.make_bucket("listens")
    put = lambda key: client.put_object("listens", key, io.BytesIO(b"abc"), 3)
    # Only what happens while somebody listens is told: puts until the first event has come.
    heard, listening = [], threading.Event()

    def feed():
        while not listening.wait(0.1):
            put("in/first.jpg")
        put("in/other.txt")
        put("in/a b.jpg")
        client.remove_object("listens", "in/a b.jpg")

    feeder = threading.Thread(target=feed)
    feeder.start()
    wanted = ["s3:ObjectCreated:*", "s3:ObjectRemoved:*"]
    try:
        with client.listen_bucket_notification("listens", prefix="in/", suffix=".jpg", events=wanted) as events:
            for event in events:
                listening.set()
                record = event["Records"][0]
                if record["s3"]["object"]["key"] != "in/first.jpg":
                    heard.append((record["eventName"], record["s3"]["object"]["key"]))
                if len(heard) == 2:
                    break
    finally:
        listening.set()
    feeder.join()
    equal(heard, [("s3:ObjectCreated:Put", "in/a+b.jpg"), ("s3:ObjectRemoved:Delete", "in/a+b.jpg")])


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


@test
def duckdb_httpfs(w):
    import duckdb
    import duckdb_extension_httpfs
    import pathlib
    boto(w).create_bucket(Bucket="duckdb")
    bundled = pathlib.Path(duckdb_extension_httpfs.__file__).parent.rglob("httpfs.duckdb_extension")
    db = duckdb.connect()
    db.execute(f"LOAD '{next(bundled)}'")
    db.execute(f"CREATE SECRET (TYPE s3, KEY_ID '{ACCESS}', SECRET '{SECRET}', ENDPOINT '{w.host}', URL_STYLE 'path', USE_SSL false, REGION 'us-east-1')")
    db.execute("COPY (SELECT range AS a, range % 7 AS b FROM range(2000000)) TO 's3://duckdb/t.parquet' (FORMAT parquet)")
    equal(db.execute("SELECT count(*), sum(a) FROM 's3://duckdb/t.parquet' WHERE b = 3").fetchall(), [(285714, 285713571429)])
    db.execute("COPY (SELECT range AS a, range % 7 AS b FROM range(2000)) TO 's3://duckdb/parts' (FORMAT parquet, PARTITION_BY (b))")
    equal(db.execute("SELECT count(*) FROM read_parquet('s3://duckdb/parts/*/*.parquet')").fetchall(), [(2000,)])


@test
def lancedb_table(w):
    import lancedb
    boto(w).create_bucket(Bucket="lancedb")
    options = {"endpoint": w.endpoint, "aws_access_key_id": ACCESS, "aws_secret_access_key": SECRET, "region": "us-east-1", "allow_http": "true"}
    db = lancedb.connect("s3://lancedb/db", storage_options=options)
    table = db.create_table("t", [{"id": number, "vector": [float(number), 1.0]} for number in range(300)])
    table.add([{"id": 1000, "vector": [5.2, 5.0]}])
    equal(table.search([5.2, 5.0]).limit(1).to_list()[0]["id"], 1000)
    table.delete("id < 10")
    table.optimize()
    equal(db.open_table("t").count_rows(), 291)


@test
def obstore_object_store(w):
    import obstore
    from obstore.exceptions import AlreadyExistsError, PreconditionError
    from obstore.store import S3Store
    boto(w).create_bucket(Bucket="obstore")
    store = S3Store("obstore", endpoint=w.endpoint, access_key_id=ACCESS, secret_access_key=SECRET, region="us-east-1",
                    virtual_hosted_style_request=False, client_options={"allow_http": True})
    content = w.bytes(23 << 20)
    obstore.put(store, "a/large", content, chunk_size=5 << 20, use_multipart=True)
    equal(bytes(obstore.get(store, "a/large").bytes()) == content, True)
    equal(bytes(obstore.get_range(store, "a/large", start=10, end=20)), content[10:20])
    made = obstore.put(store, "a/new", b"one", mode="create")
    for mode, expected in [("create", AlreadyExistsError), ({"e_tag": '"no"'}, PreconditionError)]:
        try:
            obstore.put(store, "a/new", b"two", mode=mode)
            raise AssertionError(f"{mode} was no condition")
        except expected:
            pass
    obstore.put(store, "a/new", b"two", mode={"e_tag": made["e_tag"]})
    obstore.copy(store, "a/new", "b/copy")
    obstore.rename(store, "b/copy", "b/moved")
    listed = [entry["path"] for page in obstore.list(store) for entry in page]
    equal(sorted(listed), ["a/large", "a/new", "b/moved"])
    equal(obstore.list_with_delimiter(store)["common_prefixes"], ["a", "b"])
    obstore.delete(store, listed)
    equal(list(obstore.list(store)), [])


@test
def s3torchconnector_client(w):
    """The client below s3torchconnector (Mountpoint's), and PyTorch's data set where torch is installed."""
    import os
    from s3torchconnectorclient._mountpoint_s3_client import MountpointS3Client
    boto(w).create_bucket(Bucket="torch")
    os.environ |= {"AWS_ACCESS_KEY_ID": ACCESS, "AWS_SECRET_ACCESS_KEY": SECRET}
    client = MountpointS3Client(region="us-east-1", endpoint=w.endpoint, force_path_style=True, part_size=5 << 20, user_agent_prefix="test")
    content = w.bytes(12 << 20)
    writer = client.put_object("torch", "dir/a")
    writer.write(content)
    writer.close()
    equal(b"".join(client.get_object("torch", "dir/a")) == content, True)
    equal([found.key for page in client.list_objects("torch", prefix="dir/") for found in page.object_info], ["dir/a"])
    client.copy_object("torch", "dir/a", "torch", "dir/b")
    equal(client.head_object("torch", "dir/b").size, len(content))
    client.delete_object("torch", "dir/a")
    try:
        from s3torchconnector import S3ClientConfig, S3MapDataset
    except ImportError:
        return
    config = S3ClientConfig(force_path_style=True)
    data = S3MapDataset.from_prefix("s3://torch/dir/", region="us-east-1", endpoint=w.endpoint, s3client_config=config)
    equal([len(item.read()) for item in data], [len(content)])
