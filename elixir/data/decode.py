"""Encoded image bytes to pixels and back: hostile bytes in, 8-bit RGB out."""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass
from io import BytesIO

import numpy as np
from PIL import ExifTags, Image

from elixir.errors import UnreadableSample

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "PPM", "TIFF", "GIF")
GREY_MODES = ("1", "L", "LA", "La", "I", "F", "I;16", "I;16L", "I;16B", "I;16N")

_SIGNATURES = (
    (re.compile(rb"\x89PNG\r\n\x1a\n"), ".png"),
    (re.compile(rb"\xff\xd8\xff"), ".jpg"),
    (re.compile(rb"RIFF....WEBP", re.DOTALL), ".webp"),
    (re.compile(rb"GIF8[79]a"), ".gif"),
    (re.compile(rb"II[\x2a\x2b]\x00|MM\x00[\x2a\x2b]"), ".tif"),
    (re.compile(rb"BM.{12}[\x0c\x28\x34\x38\x40\x6c\x7c]\x00\x00\x00", re.DOTALL), ".bmp"),
    (re.compile(rb"P[14]\s+(#[^\n]*\n\s*)*\d+\s"), ".pbm"),
    (re.compile(rb"P[25]\s+(#[^\n]*\n\s*)*\d+\s"), ".pgm"),
    (re.compile(rb"P[36]\s+(#[^\n]*\n\s*)*\d+\s"), ".ppm"),
)


@dataclass(frozen=True)
class Picture:
    """One decoded image.

    Attributes:
        rgb: uint8 (h, w, 3); three equal channels for a grey image.
        alpha: uint8 (h, w), None when the file has no transparency.
        grey: the file holds one channel of intensity.
        orientation: EXIF orientation 1 to 8 that a viewer still has to apply to `rgb`; 1 is none.
    """

    rgb: np.ndarray
    alpha: np.ndarray | None
    grey: bool
    orientation: int


def decode(data: bytes, max_pixels: int = 50_000_000) -> Picture:
    """Decode the first frame of an encoded image (PNG, JPEG, WebP, BMP, PPM, TIFF, GIF), whatever its file name says.

    Palette, CMYK and 16-bit images become 8-bit RGB (16 bit by their high byte). Pixels are not turned by EXIF
    orientation, except in TIFF, where the decoder does it. Broken EXIF counts as none.

    Args:
        data: the file's bytes.
        max_pixels: largest width times height that is decoded; checked on the header alone.

    Raises:
        UnreadableSample: the bytes are empty, truncated, too large or no image of these formats.
    """
    if not data:
        raise UnreadableSample("empty file")
    with warnings.catch_warnings():  # Pillow warns about large images and broken metadata, both handled here
        warnings.simplefilter("ignore")
        try:
            with Image.open(BytesIO(data), formats=FORMATS) as image:
                width, height = image.size
                if width * height > max_pixels:
                    raise UnreadableSample(f"{width} x {height} pixels are more than the limit of {max_pixels:,}")
                image.load()
                return _picture(image)
        except UnreadableSample:
            raise
        except Image.DecompressionBombError:
            raise UnreadableSample(f"more pixels than the limit of {max_pixels:,}") from None
        except Image.UnidentifiedImageError:
            what = "broken header" if extension(data) != ".bin" else "not an image of a supported format"
            raise UnreadableSample(what) from None
        except Exception as error:  # Pillow's decoders raise anything from struct.error to SyntaxError on broken bytes
            reason = " ".join(str(error).split()) or type(error).__name__
            raise UnreadableSample(f"cannot be decoded: {reason}") from error


def encode(picture: Picture, rgb: np.ndarray) -> bytes:
    """Lossless PNG of new pixels with the picture's alpha, greyness and orientation tag; the same bytes every time.

    Args:
        picture: what the pixels replace.
        rgb: uint8 (h, w, 3) of the picture's height and width.
    """
    if rgb.dtype != np.uint8 or rgb.shape != picture.rgb.shape:
        raise ValueError(f"pixels must be uint8 {picture.rgb.shape}, not {rgb.dtype} {rgb.shape}")
    image = Image.fromarray(np.ascontiguousarray(rgb))
    if picture.grey:
        image = image.convert("L")
    if picture.alpha is not None:
        image.putalpha(Image.fromarray(np.ascontiguousarray(picture.alpha)))
    exif = Image.Exif()
    if picture.orientation != 1:
        exif[ExifTags.Base.Orientation] = picture.orientation
    buffer = BytesIO()
    image.save(buffer, "PNG", exif=exif.tobytes() if exif else b"")
    return buffer.getvalue()


def resize(rgb: np.ndarray, size: int) -> np.ndarray:
    """Scale to a square by bicubic interpolation with antialiasing; a copy when it has that size already.

    Args:
        rgb: uint8 (h, w, 3).
        size: height and width of the result.

    Returns:
        uint8 (size, size, 3); the aspect ratio is not kept.
    """
    if rgb.shape[:2] == (size, size):
        return rgb.copy()
    return np.array(Image.fromarray(np.ascontiguousarray(rgb)).resize((size, size), Image.Resampling.BICUBIC))


def extension(data: bytes) -> str:
    """File name extension by content, e.g. ".png"; ".bin" when the first bytes are those of no supported format."""
    return next((suffix for signature, suffix in _SIGNATURES if signature.match(data)), ".bin")


def _picture(image: Image.Image) -> Picture:
    grey = image.mode in GREY_MODES
    orientation = _orientation(image)
    if image.mode == "F" or image.mode.startswith("I"):
        intensity = _eight_bit(np.asarray(image))
        return Picture(np.repeat(intensity[..., None], 3, axis=2), None, grey, orientation)
    if image.has_transparency_data:
        pixels = np.array(image.convert("RGBA"))
        return Picture(np.ascontiguousarray(pixels[..., :3]), np.ascontiguousarray(pixels[..., 3]), grey, orientation)
    return Picture(np.array(image.convert("RGB")), None, grey, orientation)


def _eight_bit(intensity: np.ndarray) -> np.ndarray:
    """Integers count as 16 bit; floats as [0,1] or, where any is larger, as [0,255]."""
    if intensity.dtype.kind == "f":
        intensity = np.nan_to_num(intensity)
        scale = 255.0 if intensity.max() <= 1 else 1.0
        return (intensity * scale).round().clip(0, 255).astype(np.uint8)
    return (intensity.clip(0, 65535).astype(np.uint16) >> 8).astype(np.uint8)


def _orientation(image: Image.Image) -> int:
    try:
        tag = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # as for pixels: EXIF parsing raises anything on broken bytes
        return 1
    return tag if isinstance(tag, int) and 1 <= tag <= 8 else 1
