// minio-js: everyday work, uploads in parts, browser forms, tags, and listening to a bucket's events.
// Endpoint and keys come by AWS's environment names. Ends with an error where something differs.
const assert = require("node:assert/strict");
const crypto = require("node:crypto");
const { Readable } = require("node:stream");
const { buffer } = require("node:stream/consumers");
const Minio = require("minio");

const endpoint = new URL(process.env.AWS_ENDPOINT_URL);
const client = new Minio.Client({
  endPoint: endpoint.hostname,
  port: Number(endpoint.port),
  useSSL: false,
  accessKey: process.env.AWS_ACCESS_KEY_ID,
  secretKey: process.env.AWS_SECRET_ACCESS_KEY,
  partSize: 5 << 20,
});
const bucket = "minio-js";

/** Puts objects until the listener has heard of one: only then is it sure that it listens. */
async function listen() {
  const listener = client.listenBucketNotification(bucket, "heard/", ".txt", ["s3:ObjectCreated:*"]);
  const heard = new Promise((resolve, reject) => {
    listener.on("notification", resolve);
    listener.on("error", reject);
  });
  let record;
  heard.then((found) => (record = found));
  for (let number = 0; !record; number++) {
    assert.ok(number < 300, "nothing was heard");
    await client.putObject(bucket, "heard/other", "x");
    await client.putObject(bucket, "heard/a b.txt", "x");
    await Promise.race([heard, new Promise((resolve) => setTimeout(resolve, 100))]);
  }
  listener.stop();
  assert.equal(record.eventName, "s3:ObjectCreated:Put");
  assert.equal(decodeURIComponent(record.s3.object.key.replaceAll("+", " ")), "heard/a b.txt");
}

async function main() {
  await client.makeBucket(bucket, "us-east-1");
  assert.ok(await client.bucketExists(bucket));
  const large = crypto.randomBytes((11 << 20) + 17);
  await client.putObject(bucket, "dir/large", Readable.from([large]), large.length, { "x-amz-meta-camera": "left" });
  assert.ok(large.equals(await buffer(await client.getObject(bucket, "dir/large"))));
  assert.ok(large.subarray(100, 5100).equals(await buffer(await client.getPartialObject(bucket, "dir/large", 100, 5000))));
  const stat = await client.statObject(bucket, "dir/large");
  assert.deepEqual([stat.size, stat.metaData.camera], [large.length, "left"]);
  await client.putObject(bucket, "dir/ü +.txt", "small");
  await client.copyObject(bucket, "copy", `/${bucket}/dir/large`);
  await client.setObjectTagging(bucket, "copy", { a: "one" });
  assert.deepEqual((await client.getObjectTagging(bucket, "copy")).flat(), [{ Key: "a", Value: "one" }]);
  const listed = await client.listObjectsV2(bucket, "", true).toArray();
  assert.deepEqual(listed.map((found) => found.name), ["copy", "dir/large", "dir/ü +.txt"]);
  const url = await client.presignedGetObject(bucket, "dir/ü +.txt", 60);
  assert.equal(await (await fetch(url)).text(), "small");
  const policy = client.newPostPolicy();
  policy.setBucket(bucket);
  policy.setKey("form");
  policy.setExpires(new Date(Date.now() + 60_000));
  const { postURL, formData } = await client.presignedPostPolicy(policy);
  const form = new FormData();
  Object.entries(formData).forEach(([name, value]) => form.append(name, value));
  form.append("file", new Blob(["by form"]));
  assert.equal((await fetch(postURL, { method: "POST", body: form })).status, 204);
  assert.equal((await buffer(await client.getObject(bucket, "form"))).toString(), "by form");
  await listen();
  const names = (await client.listObjectsV2(bucket, "", true).toArray()).map((found) => found.name);
  await client.removeObjects(bucket, names);
  await client.removeBucket(bucket);
}

// A listener's connection would keep the process alive.
main().then(() => process.exit(0), (error) => {
  console.error(error);
  process.exit(1);
});
