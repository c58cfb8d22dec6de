// A hook: publishes key and size of each new object.
import { publish } from "aerie:hook/results@1.0.0";

export function onEvent(event) {
  publish(undefined, utf8(JSON.stringify({ key: event.key, size: event.size })));
}

// QuickJS has no TextEncoder.
const utf8 = (text) => Uint8Array.from(unescape(encodeURIComponent(text)), (c) => c.charCodeAt(0));
