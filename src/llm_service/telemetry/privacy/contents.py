"""Prompts and responses as bytes: UTF-8 compressed with zlib; read them with `zlib.decompress(blob)`.

Level 6 was chosen by measurement: benchmarks/TRIED.md.
"""

import zlib
from typing import Final

__all__ = ["pack", "unpack"]

_LEVEL: Final = 6
_PIECE: Final = 262_144
"""Characters encoded at once: encoding holds the GIL, compressing does not."""


def pack(text: str) -> bytes:
    """Compress a text.

    Raises:
        UnicodeEncodeError: for a lone surrogate, which no checked record holds.
    """
    if len(text) <= _PIECE:
        return zlib.compress(text.encode(), _LEVEL)
    compressing = zlib.compressobj(_LEVEL)
    pieces = [compressing.compress(text[at : at + _PIECE].encode()) for at in range(0, len(text), _PIECE)]
    return b"".join([*pieces, compressing.flush()])


def unpack(packed: bytes) -> str:
    """The text that `pack` was given."""
    return zlib.decompress(packed).decode()
