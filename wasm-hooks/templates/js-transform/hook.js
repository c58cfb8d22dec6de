// A transform: a GET gives the first KiB of an object in its place.
import { describe, read } from "aerie:hook/object@1.1.0";

export function transform(bucket, key) {
  return { contentType: describe().contentType, bytes: read(0, 1024) };
}
