"""The event's object as a file, however large it is: only one piece lies in the hook's memory.

`Stream()` is what `zipfile`, `gzip`, `wave` and `hashlib.file_digest` take; `io.BufferedReader(Stream())` gives lines.
"""

import io

from wit_world.imports import object as stored

PIECE_BYTES = 256 << 10


class Stream(io.RawIOBase):
    def __init__(self):
        self._at, self._reader = 0, None

    def pieces(self):
        return iter(lambda: self.read(PIECE_BYTES), b"")

    def readable(self):
        return True

    def seekable(self):
        return True

    def readinto(self, into):
        if self._reader is None:
            self._reader = stored.open(self._at, None)
        piece = self._reader.read(min(len(into), PIECE_BYTES))
        into[: len(piece)] = piece
        self._at += len(piece)
        return len(piece)

    def seek(self, offset, whence=io.SEEK_SET):
        size = stored.describe().size if whence == io.SEEK_END else 0
        at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: size}[whence]
        if at != self._at:
            self._drop()
            self._at = at
        return at

    def tell(self):
        return self._at

    def close(self):
        self._drop()
        super().close()

    def _drop(self):
        # An invocation has four readers at most.
        if self._reader is not None:
            self._reader.__exit__(None, None, None)
            self._reader = None
