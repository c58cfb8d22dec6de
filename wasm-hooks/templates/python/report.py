"""What a hook says of itself: `print` goes to `aerie hook logs`, and so does an exception that nothing caught.

`@reported` makes such an exception the failure of its attempt, with what it says and where it was raised: without it the
interpreter ends in a trap, of which the appliance knows no more than that. It leaves `Err(Failure(…))` as it is.
"""

import io
import sys

from componentize_py_types import Err
from wit_world.imports import log
from wit_world.imports.types import Error_Failed, Failure


def reported(entry):
    def call(*given):
        try:
            return entry(*given)
        except Exception as raised:
            if isinstance(raised, Err) and isinstance(raised.value, Failure):
                raise
            # Of the host's own errors only what it could not do is worth another attempt.
            retry = not isinstance(raised, Err) or isinstance(raised.value, Error_Failed)
            said = raised.value if isinstance(raised, Err) else raised
            raise Err(Failure(f"{type(said).__name__}: {getattr(said, 'value', said)} ({_places(raised)})", retry))

    return call


def _places(raised):
    """Innermost first. `traceback` would look for the source, which is not there."""
    places, at = [], raised.__traceback__.tb_next
    while at is not None:
        code = at.tb_frame.f_code
        places.insert(0, f"{code.co_filename.rsplit('/', 1)[-1]}:{at.tb_lineno} in {code.co_name}")
        at = at.tb_next
    return ", ".join(places[:8])


class _Lines(io.TextIOBase):
    def __init__(self, level):
        self._level, self._begun = level, ""

    def writable(self):
        return True

    def write(self, text):
        *whole, self._begun = (self._begun + text).split("\n")
        for line in whole:
            log.write(self._level, line)
        return len(text)


sys.stdout, sys.stderr = _Lines(log.Level.INFO), _Lines(log.Level.ERROR)
