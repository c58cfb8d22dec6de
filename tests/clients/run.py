"""Real S3 clients against a real appliance: each test is one client's everyday work, with its results compared.

Usage: run.py AERIE [NAME...]. Starts `aerie serve` on six temporary folders and a free port, and ends it.
AERIE_CLIENTS_NODE_MODULES names the folder of the JavaScript clients.
"""

import sys
import time
import traceback

import commands  # noqa: F401
import identities  # noqa: F401
import libraries  # noqa: F401
import terraform  # noqa: F401
from world import TESTS, Left, appliance


def main():
    aerie, names = sys.argv[1], sys.argv[2:]
    passed = failed = skipped = 0
    with appliance(aerie) as (world, log):
        for function in TESTS:
            if names and function.__name__ not in names:
                continue
            started = time.monotonic()
            try:
                function(world)
                outcome, passed = "ok", passed + 1
            except (Left, ImportError) as left:
                outcome, skipped = f"left out: {left}", skipped + 1
            except Exception:
                outcome, failed = "FAILED\n" + traceback.format_exc(limit=-3), failed + 1
            print(f"{function.__name__:26} {time.monotonic() - started:6.1f} s  {outcome}", flush=True)
        if failed:
            print(log.read_text()[-2000:])
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
