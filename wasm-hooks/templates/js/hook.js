// A hook: publishes key and size of each new object.
import { publish } from "aerie:hook/results@1.0.0";

export function onEvent(event) {
  const message = JSON.stringify({ key: event.key, size: Number(event.size) });
  publish(undefined, new TextEncoder().encode(message));
}
