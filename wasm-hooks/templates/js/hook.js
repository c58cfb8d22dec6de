// A hook: publishes key, size and number of lines of each new object.
import { open } from "aerie:hook/object@1.1.0";
import { publish } from "aerie:hook/results@1.1.0";

export const onEvent = reported((event) => {
  let lines = 0;
  for (const piece of pieces()) {
    for (let at = piece.indexOf(10); at >= 0; at = piece.indexOf(10, at + 1)) lines++;
  }
  publish(undefined, utf8(JSON.stringify({ key: event.key, size: event.size, lines })));
});

// The event's object from front to back, however large it is: only one piece lies in the hook's memory.
function* pieces(offset = 0, length = undefined) {
  const reader = open(offset, length);
  try {
    for (let piece; (piece = reader.read(256 << 10)).length > 0; ) yield piece;
  } finally {
    reader[Symbol.dispose]();
  }
}

// QuickJS has no TextEncoder.
const utf8 = (text) => Uint8Array.from(unescape(encodeURIComponent(text)), (c) => c.charCodeAt(0));

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
