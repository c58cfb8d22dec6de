"""A hook: publishes key and size of each new object."""

import json

import wit_world
from wit_world.imports import results


class WitWorld(wit_world.WitWorld):
    def on_event(self, event):
        message = {"key": event.key, "size": event.size}
        results.publish(None, json.dumps(message).encode())
