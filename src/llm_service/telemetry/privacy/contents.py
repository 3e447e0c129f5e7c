"""Prompts and responses as bytes: UTF-8 compressed with zlib; read them with `zlib.decompress(blob)`.

Level 6 was chosen by measurement: benchmarks/TRIED.md.
"""

import zlib
from typing import Final

__all__ = ["MAX_SHOWN_BYTES", "pack", "unpack", "unpack_for_sql"]

_LEVEL: Final = 6
MAX_SHOWN_BYTES: Final = 16 * 1024 * 1024
"""Of a text in UTF-8 that `content_text` gives: a damaged blob, or one made for it, may unpack to any size."""
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


def unpack_for_sql(packed: object) -> str | None:
    """The text of a stored blob, cut to `MAX_SHOWN_BYTES`; None for NULL, and for what is no such blob."""
    if not isinstance(packed, bytes):
        return None
    unpacking = zlib.decompressobj()
    try:
        raw = unpacking.decompress(packed, MAX_SHOWN_BYTES)
        if unpacking.unconsumed_tail:
            return raw.decode("utf-8", "ignore")  # of a character that was cut
        return raw.decode() if unpacking.eof else None
    except (zlib.error, UnicodeDecodeError):
        return None
