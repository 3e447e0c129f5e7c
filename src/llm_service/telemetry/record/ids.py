"""UUIDv7 ids: time-ordered, so that the unique index grows only at its end.

Layout after RFC 9562, section 5.7, with the 12 bits of `rand_a` used as a sub-millisecond clock (section 6.2,
method 3) and 62 random bits from the operating system, so that seeded generators and forks never repeat an id.
"""

from collections.abc import Callable
from os import urandom
from time import time_ns

__all__ = ["Uuid7Source"]

_VERSION_7 = 0x7 << 76
_VARIANT_RFC9562 = 0b10 << 62
_MASK_62 = (1 << 62) - 1


class Uuid7Source:
    """Makes UUIDv7 texts of 36 characters that ascend within a process, also when the clock steps back.

    Safe from several threads: two threads may share a tick, never the 62 random bits.
    """

    __slots__ = ("_clock", "_last")

    def __init__(self, clock: Callable[[], int] = time_ns) -> None:
        self._clock = clock
        self._last = 0

    def __call__(self) -> str:
        """The next id."""
        now = self._clock()
        last = self._last
        if now < last + 245:  # noqa: PLR1730 - max() would be a call. 245 ns: a step of the 12-bit clock
            now = last + 245
        self._last = now
        milliseconds, remainder = divmod(now, 1_000_000)
        fraction = (remainder << 12) // 1_000_000
        low = _VARIANT_RFC9562 | (int.from_bytes(urandom(8)) & _MASK_62)
        text = f"{milliseconds << 80 | _VERSION_7 | fraction << 64 | low:032x}"
        return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
