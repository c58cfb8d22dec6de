// A transform: a GET gives the first KiB of an object in its place.
import { describe, read } from "aerie:hook/object@1.1.0";

export const transform = reported((bucket, key) => {
  return { contentType: describe().contentType, bytes: read(0, 1024) };
});

// An exception that nothing caught becomes the failure of its attempt, with what it says and where it was thrown: without
// this QuickJS ends in a trap, of which the appliance knows no more than that.
function reported(entry) {
  return (...given) => {
    try {
      return entry(...given);
    } catch (thrown) {
      if (typeof thrown?.retry === "boolean") throw thrown;
      // Of the host's own errors only what it could not do is worth another attempt.
      const { tag, val } = thrown?.payload ?? {};
      const places = (thrown?.stack ?? "").match(/\S+ \([^)]*\)/g) ?? [];
      throw { message: [tag ? `${tag}: ${val}` : String(thrown), ...places.slice(0, 8)].join(", at "), retry: !tag || tag === "failed" };
    }
  };
}
