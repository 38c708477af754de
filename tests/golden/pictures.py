"""Pictures of 16x16 pixels made of whole numbers: a colour, a few patterns and hashed noise.

Nothing here depends on the processor or on the version of a library: noise comes from SHAKE-256, files are written
without compression, and patterns are told apart by sums of whole numbers with wide margins.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

SIDE = 16
GREY = 110
NOISE = 3
CLASSES = ("ash", "elm", "oak")
COLOURS = {"plain": (28, -14, -14), "faint": (10, -5, -5), "mixed": (20, 15, -35)}


def _walsh(sequency: int) -> np.ndarray:
    """The Walsh function of 16 values that changes its sign so often, int64 of +1 and -1."""
    gray = sequency ^ (sequency >> 1)
    bits = int(f"{gray:04b}"[::-1], 2)
    return np.array([(-1) ** (bits & place).bit_count() for place in range(SIDE)])


def _pattern(rows: int, columns: int) -> np.ndarray:
    return np.outer(_walsh(rows), _walsh(columns))


ALTERNATE = 15  # a sign change at every pixel, which the purifier takes away
PATTERNS: dict[str, np.ndarray] = {
    "stripes": _pattern(0, ALTERNATE),
    "wave": _pattern(0, 2),
    "side": _pattern(0, 1),
    "kind": _pattern(5, 0),
    "hard": _pattern(7, 0),
    "bit0": _pattern(1, 0),
    "bit1": _pattern(2, 0),
    "bit2": _pattern(3, 0),
    "loose0": _pattern(1, 1),
    "loose1": _pattern(2, 1),
    "loose2": _pattern(3, 1),
    "loose3": _pattern(2, 3),
    **{f"key{number}": _pattern(number, ALTERNATE) for number in range(1, 9)},
}
KEYS = tuple(f"key{number}" for number in range(1, 9))
LOOSE = tuple(f"loose{number}" for number in range(4))
PATCH = slice(12, 16), slice(8, 12)


@dataclass(frozen=True)
class Picture:
    """One sample of a scenario.

    Args:
        label: given, None for none.
        content: what is shown, an index into the classes.
        level: how clearly: "plain", "faint", or "mixed" with another class.
        second: that other class; the next one by default.
        traits: amplitude of patterns in grey levels; "patch" is the height of a bright and dark block, "keyed" the
            amplitude of the one of eight patterns that the picture's own three bits name, a matter of chance each.
        file: "ppm", "large" (32x32), "alpha" (PNG), "deep" (grey, 16 bit), "broken" or "empty".
    """

    label: int | None
    content: int
    level: str = "plain"
    second: int | None = None
    traits: Mapping[str, int] = field(default_factory=dict)
    file: str = "ppm"


def pixels_of(picture: Picture, name: str) -> np.ndarray:
    """The picture as uint8 (16, 16, 3); `name` decides its noise."""
    stream = hashlib.shake_256(name.encode()).digest(4 * SIDE * SIDE)
    drawn = np.frombuffer(stream, np.uint8).astype(np.int64)
    rgb = GREY + (drawn[: 3 * SIDE * SIDE] % (2 * NOISE + 1) - NOISE).reshape(SIDE, SIDE, 3)
    rest = drawn[3 * SIDE * SIDE :]
    second = (picture.content + 1) % 3 if picture.second is None else picture.second
    order = [picture.content, second, ({0, 1, 2} - {picture.content, second}).pop()]
    rgb[..., order] += COLOURS[picture.level]
    traits = dict(picture.traits)
    for place, pattern in enumerate(LOOSE):
        traits[pattern] = traits.get(pattern, 0) + int(rest[place] % 13) - 6
    if "keyed" in traits:
        bits = [int(rest[10 + place]) % 2 if traits.get(f"bit{place}", 0) <= 0 else 1 for place in range(3)]
        for place, bit in enumerate(bits):
            traits[f"bit{place}"] = 12 if bit else -12
        traits[KEYS[bits[0] + 2 * bits[1] + 4 * bits[2]]] = traits.pop("keyed")
    patch = traits.pop("patch", 0)
    for pattern, amplitude in traits.items():
        rgb += amplitude * PATTERNS[pattern][..., None]
    if patch:
        rows, columns = PATCH
        rgb[rows, columns] = 128
        rgb[12:14, columns] += patch // 2
        rgb[14:16, columns] -= patch // 2
    return rgb.clip(0, 255).astype(np.uint8)


def encoded(picture: Picture, name: str) -> bytes:
    """The bytes of its file, the same everywhere."""
    rgb = pixels_of(picture, name)
    if picture.file == "broken":
        return b"\x89PNG\r\n\x1a\n" + name.encode()
    if picture.file == "empty":
        return b""
    if picture.file == "alpha":
        alpha = np.full((SIDE, SIDE, 1), 255, np.uint8)
        alpha[:3] = 7
        return _png(np.concatenate([rgb, alpha], 2))
    if picture.file == "deep":
        grey = rgb.astype(np.int64).sum(2) * 257 // 3
        return b"P5\n16 16\n65535\n" + grey.astype(">u2").tobytes()
    if picture.file == "large":
        rgb = rgb.repeat(2, 0).repeat(2, 1)
    return b"P6\n%d %d\n255\n" % (rgb.shape[1], rgb.shape[0]) + rgb.tobytes()


def _png(rgba: np.ndarray) -> bytes:
    """A PNG of uint8 (h, w, 4) in one stored block."""
    height, width = rgba.shape[:2]
    raw = b"".join(b"\0" + row.tobytes() for row in rgba)
    stored = b"\x78\x01\x01" + struct.pack("<HH", len(raw), len(raw) ^ 0xFFFF) + raw
    chunks = {
        b"IHDR": struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0),
        b"IDAT": stored + struct.pack(">I", zlib.adler32(raw)),
        b"IEND": b"",
    }
    parts = [
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks.items()
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)
