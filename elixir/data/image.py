"""Encoded image bytes to pixels and back: hostile bytes in, 8-bit RGB out."""

import re
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO

import numpy as np
from PIL import ExifTags, Image, ImageFile

from elixir.errors import UnreadableSample

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "PPM", "TIFF", "GIF")
GREY_MODES = ("1", "L", "LA", "La", "I", "F", "I;16", "I;16L", "I;16B", "I;16N")
LONGEST_PROFILE = 2**20  # bytes; Pillow reads no longer one from a PNG
TWELVE_BITS = 4096  # values of 16 bit that stay below are likely to have another scale
FEWEST_LEVELS = 32  # of 8 bit that have to be left of a grey image of more, if it tells more apart
VALUES_A_LEVEL = 2  # from which on it does
STRAY_PIXELS = 0.001  # share of the pixels whose levels do not count

_SIXTEEN = re.compile(";16[BLN]")  # in what Pillow's decoders are told of channels that they cut to the high byte
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
        deep: that channel has 16 bit, of which `rgb` is the high byte.
        orientation: EXIF orientation 1 to 8 that a viewer still has to apply to `rgb`; 1 is none.
        profile: ICC profile of `rgb`, None when the file has none.
    """

    rgb: np.ndarray
    alpha: np.ndarray | None
    grey: bool
    deep: bool
    orientation: int
    profile: bytes | None


class _SilentPillow:
    """While any thread is inside, Pillow's warnings are ignored: about large images and broken metadata, handled here.

    Filters of warnings belong to the whole process. The first to enter sets this one, and the last to leave puts back
    what was there. Where other code may change filters in turn, the thread that it runs in enters around all others.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._filters = warnings.catch_warnings()

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside:
                self._filters = warnings.catch_warnings()
                self._filters.__enter__()
                warnings.filterwarnings("ignore", module=r"PIL\b")
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                self._filters.__exit__(None, None, None)


silent_pillow = _SilentPillow()


def decode(data: bytes, max_pixels: int = 50_000_000) -> Picture:
    """Decode the first frame of an encoded image (PNG, JPEG, WebP, BMP, PPM, TIFF, GIF), whatever its file name says.

    Palette, CMYK and 16-bit images become 8-bit RGB (16 bit by their high byte). Integers of 32 bit may hold values of
    8 or 16 bit. Pixels are not turned by EXIF orientation, except in TIFF, where the decoder does it. Broken EXIF
    counts as none. `max_pixels` is the largest width times height that is decoded, checked on the header alone.

    Raises: UnreadableSample: the bytes are empty, truncated, too large or no image of these formats, or an image of
    more than 8 bit whose values leave its scale open, such as 12 bit in 16, or of which too few levels would be left.
    """
    with _opened(data, max_pixels) as image:
        return _picture(image, _load(image))


def decode_small(data: bytes, size: int, max_pixels: int = 50_000_000) -> tuple[np.ndarray, tuple[int, int]]:
    """An image at one size, uint8 (size, size, 3): `resize(decode(data).rgb, size)`, and its own height and width.

    RGB of 8 bit is not copied at its own size, which would take a tenth of the time, and other threads wait meanwhile.

    Raises: UnreadableSample: as `decode` does.
    """
    with _opened(data, max_pixels) as image:
        deep = _load(image)
        if image.mode == "RGB" and not deep:
            return np.array(_scaled(image, size)), (image.height, image.width)
        rgb = _picture(image, deep).rgb
    return resize(rgb, size), rgb.shape[:2]


def shape(data: bytes, max_pixels: int = 50_000_000) -> tuple[int, int]:
    """Height and width by the header alone. Raises: UnreadableSample: it is broken, or tells more than `max_pixels`."""
    with _opened(data, max_pixels) as image:
        return image.height, image.width


@contextmanager
def _opened(data: bytes, max_pixels: int) -> Iterator[ImageFile.ImageFile]:
    """An image of which the header is read; what goes wrong with the enclosed work on it is an UnreadableSample."""
    if not data:
        raise UnreadableSample("empty file")
    with silent_pillow:
        try:
            with Image.open(BytesIO(data), formats=FORMATS) as image:
                width, height = image.size
                if width * height > max_pixels:
                    raise UnreadableSample(f"{width} x {height} pixels are more than the limit of {max_pixels:,}")
                yield image
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
    """PNG of new pixels, uint8 (h, w, 3), with all else that the picture has; the same bytes every time."""
    if rgb.dtype != np.uint8 or rgb.shape != picture.rgb.shape:
        raise ValueError(f"pixels must be uint8 {picture.rgb.shape}, not {rgb.dtype} {rgb.shape}")
    image = Image.fromarray(np.ascontiguousarray(rgb))
    if picture.grey:
        image = image.convert("L")
    if picture.deep:
        image = Image.fromarray(np.asarray(image).astype(np.uint16) * 257)
    if picture.alpha is not None:
        image.putalpha(Image.fromarray(np.ascontiguousarray(picture.alpha)))
    exif = Image.Exif()
    if picture.orientation != 1:
        exif[ExifTags.Base.Orientation] = picture.orientation
    buffer = BytesIO()
    image.save(buffer, "PNG", exif=exif.tobytes() if exif else b"", icc_profile=picture.profile)
    return buffer.getvalue()


def as_encoded(picture: Picture, rgb: np.ndarray) -> np.ndarray:
    """What `encode` keeps of new pixels, uint8 (h, w, 3): those of a grey picture become three equal channels."""
    if not picture.grey:
        return rgb
    return np.array(Image.fromarray(np.ascontiguousarray(rgb)).convert("L").convert("RGB"))


def resize(rgb: np.ndarray, size: int) -> np.ndarray:
    """Scale uint8 (h, w, 3) to (size, size, 3), bicubic and antialiased, whatever the aspect ratio; always a copy."""
    if rgb.shape[:2] == (size, size):
        return rgb.copy()
    return np.array(_scaled(Image.fromarray(np.ascontiguousarray(rgb)), size))


def extension(data: bytes) -> str:
    """File name extension by content, e.g. ".png"; ".bin" when the first bytes are those of no supported format."""
    return next((suffix for signature, suffix in _SIGNATURES if signature.match(data)), ".bin")


def _scaled(image: Image.Image, size: int) -> Image.Image:
    return image if image.size == (size, size) else image.resize((size, size), Image.Resampling.BICUBIC)


def _load(image: ImageFile.ImageFile) -> bool:
    """Decode the pixels; whether channels have 16 bit that are cut to their high byte."""
    deep = any(_SIXTEEN.search(str(tile[3])) for tile in image.tile)
    image.load()
    return deep


def _picture(image: Image.Image, deep: bool) -> Picture:
    grey = image.mode in GREY_MODES
    orientation = _orientation(image)
    profile = _profile(image, grey)
    if image.mode == "F" or image.mode.startswith("I"):
        intensity, deep = _intensity(image)
        return Picture(np.repeat(intensity[..., None], 3, axis=2), None, grey, deep, orientation, profile)
    mode = "RGBA" if image.has_transparency_data else "RGB"
    pixels = np.array(image if image.mode == mode else image.convert(mode))
    if deep and pixels[..., :3].max() < TWELVE_BITS >> 8:
        what = f"image of 16 bit a channel with values below {TWELVE_BITS}"
        raise UnreadableSample(f"{what}: convert it to 8 bit, or stretch it to the full range of 16, 0 to 65535")
    alpha = np.ascontiguousarray(pixels[..., 3]) if mode == "RGBA" else None
    return Picture(np.ascontiguousarray(pixels[..., :3]), alpha, grey, False, orientation, profile)


def _intensity(image: Image.Image) -> tuple[np.ndarray, bool]:
    """Grey of more than 8 bit as uint8, and whether it has 16.

    Floats count as [0,1] or, where any is larger, as [0,255]; integers as 16 bit, those of 32 bit also as 8.

    Raises: UnreadableSample: the values leave that range, or too little of what they tell apart is left.
    """
    values = np.asarray(image)
    if values.dtype.kind == "f":
        low, high = float(values.min()), float(values.max())
        if not (low >= 0 and high <= 255):  # nor with one that is not a number
            what = f"grey image of floats with values from {low:g} to {high:g}"
            raise UnreadableSample(f"{what}: scale them to [0,1], or convert it to 8 bit")
        intensity = (values * (255.0 if high <= 1 else 1.0)).round().astype(np.uint8)
        if _lossy(values, intensity):
            what = f"grey image of floats from {low:g} to {high:g}, of which 8 bit keep few levels"
            raise UnreadableSample(f"{what}: stretch them to the full range of [0,1], or convert it to 8 bit")
        return intensity, False
    low, high = int(values.min()), int(values.max())
    if image.mode == "I" and image.format != "PPM" and low >= 0 and high <= 255:  # PPM comes stretched to 16 bit
        return values.astype(np.uint8), False
    what = f"grey image of 16 or 32 bit with values from {low} to {high}"
    remedy = "convert it to 8 bit, or stretch it to the full range of 16, 0 to 65535"
    if (
        low < 0 or high > 65535 or (high < TWELVE_BITS and (values % 257).any())
    ):  # what has been 8 bit is multiples of 257
        raise UnreadableSample(f"{what}: {remedy}")
    intensity = (values >> 8).astype(np.uint8)
    if _lossy(values, intensity):
        raise UnreadableSample(f"{what}, of which 8 bit keep few levels: {remedy}")
    return intensity, True


def _lossy(values: np.ndarray, intensity: np.ndarray) -> bool:
    """Whether few levels of 8 bit are left of many values; those of stray pixels, such as hot ones, do not count."""
    counts = np.bincount(intensity.ravel(), minlength=256)
    order = np.argsort(-counts, kind="stable")
    enough = np.searchsorted(np.cumsum(counts[order]), (1 - STRAY_PIXELS) * intensity.size) + 1
    if enough >= FEWEST_LEVELS:
        return False
    told_apart = np.unique(values[np.isin(intensity, order[:enough])])
    return len(told_apart) >= VALUES_A_LEVEL * int(enough)


def _profile(image: Image.Image, grey: bool) -> bytes | None:
    """The file's ICC profile, unless it is of colours that become others here, or longer than a PNG is read with."""
    profile = image.info.get("icc_profile")
    if not isinstance(profile, bytes) or len(profile) > LONGEST_PROFILE:
        return None
    return profile if profile[16:20] == (b"GRAY" if grey else b"RGB ") else None


def _orientation(image: Image.Image) -> int:
    try:
        tag = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # as for pixels: EXIF parsing raises anything on broken bytes
        return 1
    return tag if isinstance(tag, int) and 1 <= tag <= 8 else 1
