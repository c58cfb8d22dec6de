// AWS SDK for JavaScript, version 3: everyday work with its default checksums, uploads in parts, conditions, presigned URLs.
// Endpoint and keys come by AWS's environment names. Ends with an error where something differs.
const assert = require("node:assert/strict");
const crypto = require("node:crypto");
const { Readable } = require("node:stream");
const s3 = require("@aws-sdk/client-s3");
const { Upload } = require("@aws-sdk/lib-storage");
const { getSignedUrl } = require("@aws-sdk/s3-request-presigner");

const client = new s3.S3Client({ endpoint: process.env.AWS_ENDPOINT_URL, forcePathStyle: true, maxAttempts: 1 });
const Bucket = "aws-sdk-v3";
const send = (Command, input) => client.send(new s3[`${Command}Command`]({ Bucket, ...input }));

async function refused(promise, name) {
  await assert.rejects(promise, (error) => error.name === name || assert.fail(`${error.name} instead of ${name}`));
}

async function main() {
  await send("CreateBucket");
  const put = await send("PutObject", { Key: "a/b c+ü", Body: "hello", Metadata: { camera: "left" }, ContentType: "text/x" });
  assert.match(put.ChecksumCRC32, /^.{8}$/, "the default checksum comes back");
  const got = await send("GetObject", { Key: "a/b c+ü", Range: "bytes=1-3" });
  assert.equal(await got.Body.transformToString(), "ell");
  assert.deepEqual([got.Metadata, got.ContentType, got.ContentRange], [{ camera: "left" }, "text/x", "bytes 1-3/5"]);
  for (const ChecksumAlgorithm of ["CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256"]) {
    const body = crypto.randomBytes(100_000);
    await send("PutObject", { Key: ChecksumAlgorithm, Body: Readable.from([body]), ContentLength: body.length, ChecksumAlgorithm });
    const back = await send("GetObject", { Key: ChecksumAlgorithm, ChecksumMode: "ENABLED" });
    assert.ok(back[`Checksum${ChecksumAlgorithm}`], ChecksumAlgorithm);
    assert.ok(body.equals(Buffer.from(await back.Body.transformToByteArray())), ChecksumAlgorithm);
  }

  const large = crypto.randomBytes((11 << 20) + 17);
  const upload = new Upload({ client, params: { Bucket, Key: "large", Body: Readable.from([large]) }, partSize: 5 << 20 });
  await upload.done();
  const head = await send("HeadObject", { Key: "large" });
  assert.equal(head.ContentLength, large.length);
  assert.match(head.ETag, /-3"$/);
  const part = await send("GetObject", { Key: "large", PartNumber: 2 });
  assert.equal(part.ContentLength, 5 << 20);
  assert.ok(large.subarray(5 << 20, 10 << 20).equals(Buffer.from(await part.Body.transformToByteArray())));
  const attributes = await send("GetObjectAttributes", { Key: "large", ObjectAttributes: ["ObjectParts", "ObjectSize", "Checksum"] });
  assert.deepEqual([attributes.ObjectSize, attributes.ObjectParts.TotalPartsCount], [large.length, 3]);

  await refused(send("PutObject", { Key: "large", Body: "x", IfNoneMatch: "*" }), "PreconditionFailed");
  await refused(send("GetObject", { Key: "nothing" }), "NoSuchKey");
  await refused(send("HeadObject", { Key: "nothing" }), "NotFound");
  await send("CopyObject", { Key: "copy", CopySource: `${Bucket}/${encodeURIComponent("a/b c+ü")}` });
  await refused(send("CopyObject", { Key: "copy", CopySource: `${Bucket}/large`, CopySourceIfMatch: '"no"' }), "PreconditionFailed");

  const url = await getSignedUrl(client, new s3.GetObjectCommand({ Bucket, Key: "copy" }), { expiresIn: 60 });
  assert.equal(await (await fetch(url)).text(), "hello");
  const putUrl = await getSignedUrl(client, new s3.PutObjectCommand({ Bucket, Key: "by-url" }), { expiresIn: 60 });
  assert.equal((await fetch(putUrl, { method: "PUT", body: "by url" })).status, 200);

  const keys = [];
  for await (const page of s3.paginateListObjectsV2({ client, pageSize: 2 }, { Bucket })) keys.push(...page.Contents.map((o) => o.Key));
  assert.deepEqual(keys, ["CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256", "a/b c+ü", "by-url", "copy", "large"]);
  const gone = await send("DeleteObjects", { Delete: { Objects: keys.map((Key) => ({ Key })) } });
  assert.equal(gone.Deleted.length, keys.length);
  await send("DeleteBucket");
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
