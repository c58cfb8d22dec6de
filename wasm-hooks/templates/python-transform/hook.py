"""A transform: a GET gives the first KiB of an object in its place."""

import wit_world
from report import reported
from wit_world import Response
from wit_world.imports import object as stored


class WitWorld(wit_world.WitWorld):
    @reported
    def transform(self, bucket, key):
        return Response(stored.describe().content_type, stored.read(0, 1024))
