"""Decoding of every supported format and of broken bytes; the PNG of changed pixels."""

import re
import struct
import warnings
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from io import BytesIO

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from elixir.data.image import FEWEST_LEVELS, LONGEST_PROFILE, decode, decode_small, encode, extension, resize, shape
from elixir.errors import UnreadableSample

from .conftest import image_bytes, warning_jpeg

RGB = np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8)
GREY = RGB[..., 0]
GREY16 = GREY.astype(np.uint16) * 257


def save(image: Image.Image, kind: str, **options) -> bytes:
    buffer = BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png_chunk(content: bytes) -> bytes:
    return struct.pack(">I", len(content) - 4) + content + struct.pack(">I", zlib.crc32(content))


def png_header(width: int, height: int) -> bytes:
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + png_chunk(header) + png_chunk(b"IDAT" + zlib.compress(b"\0" * 99))


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "BMP", "PPM", "TIFF"])
def test_lossless_formats(kind: str) -> None:
    picture = decode(save(Image.fromarray(RGB), kind, **({"lossless": True} if kind == "WEBP" else {})))
    np.testing.assert_array_equal(picture.rgb, RGB)
    assert picture.rgb.dtype == np.uint8
    assert (picture.alpha, picture.grey, picture.orientation) == (None, False, 1)


def test_jpeg() -> None:
    data = save(Image.fromarray(RGB), "JPEG")
    np.testing.assert_array_equal(decode(data).rgb, np.array(Image.open(BytesIO(data))))


@pytest.mark.parametrize("kind", ["PNG", "PPM", "BMP", "TIFF"])
def test_grey(kind: str) -> None:
    picture = decode(save(Image.fromarray(GREY), kind))
    assert picture.grey
    np.testing.assert_array_equal(picture.rgb, np.repeat(GREY[..., None], 3, axis=2))


@pytest.mark.parametrize("kind", ["PNG", "PPM", "TIFF"])
def test_sixteen_bit(kind: str) -> None:
    picture = decode(save(Image.fromarray(GREY16), kind))
    assert picture.grey
    np.testing.assert_array_equal(picture.rgb[..., 1], GREY)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_twelve_bit_in_sixteen_is_not_taken_for_black(kind: str) -> None:
    for top in (1, 255, 4095):
        values = np.linspace(0, top, 63).reshape(9, 7)
        with pytest.raises(UnreadableSample, match=f"with values from 0 to {top}: convert it to 8 bit, or stretch it"):
            decode(save(Image.fromarray(values.astype(np.uint16)), kind))


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM"])
def test_dark_sixteen_bit(kind: str) -> None:
    for top in (0, 1, 15):
        dark = np.minimum(GREY, top)
        picture = decode(save(Image.fromarray(dark.astype(np.uint16) * 257), kind))
        np.testing.assert_array_equal(picture.rgb[..., 0], dark)


def test_thirty_two_bit() -> None:
    for scale in (1, 256, 257):
        data = save(Image.fromarray(GREY.astype(np.int32) * scale), "TIFF")
        with Image.open(BytesIO(data)) as image:
            assert image.mode == "I"
        picture = decode(data)
        np.testing.assert_array_equal(picture.rgb[..., 0], GREY)
        assert picture.deep == (scale > 1)
    for low, high in ((0, 256), (0, 4095), (0, 65536), (-1, 200), (-40000, 40000)):
        values = np.linspace(low, high, 9).astype(np.int32)[None]
        with pytest.raises(UnreadableSample, match=f"with values from {low} to {high}: convert it to 8 bit"):
            decode(save(Image.fromarray(values), "TIFF"))


def test_float_tiff() -> None:
    np.testing.assert_array_equal(decode(save(Image.fromarray(GREY / np.float32(255)), "TIFF")).rgb[..., 2], GREY)


def grey(values: np.ndarray, kind: str = "TIFF") -> bytes:
    return save(Image.fromarray(values), kind)


PHOTO = (np.indices((64, 64)).sum(0) * 2 + np.random.default_rng(2).integers(0, 3, (64, 64))).astype(np.uint16)  # 8 bit


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM"])
def test_a_narrow_range_high_up_is_set_aside(kind: str) -> None:
    """Such as CT values, -1024 to 3071, plus 32768: 16 grey levels would be left of 4096 values."""
    scan = (np.random.default_rng(3).integers(-1024, 3072, (64, 64)) + 32768).astype(np.uint16)
    padded, hot = scan.copy(), np.tile(scan, (4, 4))
    padded[:, :20] = 0
    hot[7, :60] = np.linspace(0, 65535, 60)
    for values in (scan, padded, hot):
        with pytest.raises(UnreadableSample, match="few levels: convert it to 8 bit, or stretch it to the full range"):
            decode(grey(values, kind))
    stretched = ((scan.astype(np.uint32) - 31744) * 16).astype(np.uint16)
    np.testing.assert_array_equal(decode(grey(stretched, kind)).rgb[..., 0], stretched >> 8)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_photographs_of_sixteen_bit_are_read(kind: str) -> None:
    noise = np.random.default_rng(4).integers(0, 256, PHOTO.shape, dtype=np.uint16)
    for values in (PHOTO * 257, PHOTO * 256, PHOTO * 256 + noise, PHOTO // 9 * 257, (PHOTO > 90) * np.uint16(65535)):
        np.testing.assert_array_equal(decode(grey(values.astype(np.uint16), kind)).rgb[..., 1], values >> 8)


def test_few_levels_that_are_all_there_were() -> None:
    levels = np.repeat(np.arange(31, dtype=np.uint16) * 256 + 4096, 8)[None]
    assert len(np.unique(decode(grey(levels)).rgb)) == 31
    with pytest.raises(UnreadableSample, match="few levels"):
        decode(grey(levels + np.arange(levels.size, dtype=np.uint16)[None] % 2 * 100))
    more = np.repeat(np.arange(FEWEST_LEVELS, dtype=np.uint16) * 256 + 4096, 8)[None]
    decode(grey(more + np.arange(more.size, dtype=np.uint16)[None] % 2 * 100))


@pytest.mark.parametrize("top", [1, 3, 255])
def test_a_mask_of_sixteen_bit_is_not_taken_for_black(top: int) -> None:
    with pytest.raises(UnreadableSample, match=f"with values from 0 to {top}: convert it to 8 bit"):
        decode(grey(np.eye(8, dtype=np.uint16) * top, "PNG"))


def png_of_sixteen_bit(values: np.ndarray) -> bytes:
    """Pillow writes none of colours."""
    height, width, channels = values.shape
    kind = {2: 4, 3: 2, 4: 6}[channels]
    lines = b"".join(b"\0" + line.astype(">u2").tobytes() for line in values)
    chunks = [
        b"IHDR" + struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0),
        b"IDAT" + zlib.compress(lines),
        b"IEND",
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(chunk) for chunk in chunks)


@pytest.mark.parametrize("channels", [2, 3, 4])
def test_colours_of_sixteen_bit(channels: int) -> None:
    values = np.random.default_rng(5).integers(0, 65536, (6, 5, channels))
    colours = values[..., :3] if channels > 2 else values[..., :1].repeat(3, 2)
    np.testing.assert_array_equal(decode(png_of_sixteen_bit(values)).rgb, colours >> 8)
    with pytest.raises(UnreadableSample, match="16 bit a channel with values below 4096: convert it to 8 bit"):
        decode(png_of_sixteen_bit(values >> 4))


def test_a_dark_bitmap_of_five_bits_a_channel() -> None:
    header = (
        b"BM" + struct.pack("<IHHI", 66 + 16, 0, 0, 66) + struct.pack("<IiiHHIIiiII", 40, 2, 2, 1, 16, 3, 8, 0, 0, 0, 0)
    )
    bmp = header + struct.pack("<III", 0xF800, 0x07E0, 0x001F) + struct.pack("<HHHH", 0x0841, 0, 0, 0)
    assert decode(bmp).rgb.max() == 8


@pytest.mark.parametrize(
    ("low", "high"), [(-1, 1), (-0.1, 200), (0, 256), (0, 65535), (0, np.inf), (-np.inf, 1), (np.nan, np.nan)]
)
def test_floats_of_another_range_are_set_aside(low: float, high: float) -> None:
    values = np.full((4, 4), 0.5, np.float32)
    values[0, :2] = low, high
    range_found = re.escape(f"with values from {low:g} to {high:g}: scale them to [0,1]")
    with pytest.raises(UnreadableSample, match=range_found):
        decode(grey(values))


def test_floats_of_few_levels_are_set_aside() -> None:
    noise = np.random.default_rng(6).random(PHOTO.shape).astype(np.float32)
    for values in (noise / 10, noise / 20 + 0.9, noise * 1.5 + 1, noise * 15 + 200):
        with pytest.raises(UnreadableSample, match=r"8 bit keep few levels: stretch them to the full range of \[0,1\]"):
            decode(grey(values.astype(np.float32)))


def test_floats_of_photographs_are_read() -> None:
    dark = PHOTO // 9
    noise = np.random.default_rng(7).uniform(-0.4, 0.4, PHOTO.shape)
    for pixels in (PHOTO, dark, (PHOTO > 90) * np.uint16(255)):
        for values in (pixels / 255, pixels):
            np.testing.assert_array_equal(decode(grey(values.astype(np.float32))).rgb[..., 0], pixels)
    for values in ((PHOTO + noise).clip(0, 255), (PHOTO + noise).clip(0, 255) / 255):
        np.testing.assert_array_equal(decode(grey(values.astype(np.float32))).rgb[..., 0], PHOTO)


def test_cmyk() -> None:
    picture = decode(save(Image.fromarray(RGB).convert("CMYK"), "TIFF"))
    np.testing.assert_array_equal(picture.rgb, RGB)
    assert decode(save(Image.fromarray(RGB).convert("CMYK"), "JPEG")).rgb.shape == RGB.shape


def test_palette() -> None:
    image = Image.fromarray(RGB).quantize(16)
    picture = decode(save(image, "PNG"))
    np.testing.assert_array_equal(picture.rgb, np.array(image.convert("RGB")))
    assert (picture.grey, picture.alpha) == (False, None)


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_alpha(mode: str) -> None:
    image = Image.fromarray(RGB).convert(mode)
    image.putalpha(Image.fromarray(GREY))
    picture = decode(save(image, "PNG"))
    assert picture.alpha is not None
    np.testing.assert_array_equal(picture.alpha, GREY)
    assert picture.grey == (mode == "LA")


def test_transparent_palette_colour_becomes_alpha() -> None:
    image = Image.fromarray(RGB).quantize(4)
    picture = decode(save(image, "PNG", transparency=0))
    assert picture.alpha is not None
    np.testing.assert_array_equal(picture.alpha == 0, np.array(image) == 0)


def test_animation_gives_its_first_frame() -> None:
    frames = [Image.fromarray(np.full((4, 5, 3), value, np.uint8)) for value in (10, 200)]
    picture = decode(save(frames[0], "GIF", save_all=True, append_images=frames[1:]))
    assert picture.rgb.shape == (4, 5, 3)
    assert (picture.rgb == 10).all()


def test_one_pixel() -> None:
    picture = decode(save(Image.new("RGB", (1, 1), (1, 2, 3)), "PNG"))
    assert picture.rgb.tolist() == [[[1, 2, 3]]]


def test_orientation_is_kept_and_not_applied() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    picture = decode(save(Image.fromarray(RGB), "PNG", exif=exif))
    assert picture.orientation == 6
    np.testing.assert_array_equal(picture.rgb, RGB)
    again = decode(encode(picture, 255 - RGB))
    assert again.orientation == 6
    np.testing.assert_array_equal(again.rgb, 255 - RGB)


@pytest.mark.parametrize(
    "exif", [b"Exif\0\0garbage", b"Exif\0\0MM\0*\xff\xff\xff\xff", b"Exif\0\0II*\0\x08\0\0\0\xff\xff"]
)
def test_broken_exif_is_no_error(exif: bytes) -> None:
    picture = decode(save(Image.fromarray(RGB), "JPEG", exif=exif))
    assert picture.orientation == 1


@pytest.mark.parametrize("orientation", [0, 9, 4711])
def test_orientation_out_of_range_counts_as_none(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert decode(save(Image.fromarray(RGB), "JPEG", exif=exif)).orientation == 1


def test_size_is_checked_in_the_header() -> None:
    bmp = save(Image.new("RGB", (1, 1)), "BMP")
    bmp = bmp[:18] + struct.pack("<ii", 20_000, 20_000) + bmp[26:]
    for data in (png_header(20_000, 20_000), png_header(10_000, 10_000), bmp, b"P6\n20000 20000\n255\n"):
        with pytest.raises(UnreadableSample, match="limit of 50,000,000"):
            decode(data)
    with pytest.raises(UnreadableSample, match="7 x 9"):
        decode(save(Image.fromarray(RGB), "PNG"), max_pixels=62)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty file"),
        (b"a shopping list", "not an image"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not an image"),
        (b"\x89PNG\r\n\x1a\n\0\0", "broken header|cannot be decoded"),
        (png_header(8, 8), "cannot be decoded"),
        (b"II*\0\x08\0\0\0", "broken header|cannot be decoded"),
    ],
)
def test_no_image(data: bytes, reason: str) -> None:
    with pytest.raises(UnreadableSample, match=reason):
        decode(data)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP", "PPM", "TIFF", "GIF"])
def test_truncated(kind: str) -> None:
    noise = Image.fromarray(np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    data = save(noise, kind)
    for share in (0.02, 0.3, 0.6):
        with pytest.raises(UnreadableSample):
            decode(data[: int(len(data) * share)])


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_broken_bytes_are_read_or_refused(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(["PNG", "JPEG", "WEBP", "BMP", "PPM", "TIFF", "GIF"]))
    encoded = bytearray(save(Image.fromarray(RGB), kind))
    for place in data.draw(st.lists(st.integers(0, len(encoded) - 1), min_size=1, max_size=8)):
        encoded[place] = data.draw(st.integers(0, 255))
    with suppress(UnreadableSample):
        picture = decode(bytes(encoded), max_pixels=10_000)
        assert picture.rgb.shape[2:] == (3,)
        assert picture.rgb.dtype == np.uint8


@settings(max_examples=30, deadline=None)
@given(st.booleans(), st.booleans(), st.integers(1, 8), st.integers(0, 255))
def test_encode_keeps_what_is_not_colour(grey: bool, alpha: bool, orientation: int, value: int) -> None:
    image = Image.fromarray(GREY if grey else RGB)
    if alpha:
        image.putalpha(Image.fromarray(GREY))
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture = decode(save(image, "PNG", exif=exif))
    new = np.full_like(RGB, value) if grey else np.roll(RGB, value, 0)
    data = encode(picture, new)
    assert data == encode(picture, new)
    again = decode(data)
    np.testing.assert_array_equal(again.rgb, new)
    assert (again.grey, again.orientation, again.alpha is not None) == (grey, orientation, alpha)
    if alpha:
        np.testing.assert_array_equal(again.alpha, GREY)


@pytest.mark.parametrize("value", [0, 1, 15, 16, 200, 255])
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM"])
def test_sixteen_bit_stays_so(kind: str, value: int) -> None:
    picture = decode(save(Image.fromarray(GREY16), kind))
    data = encode(picture, np.full_like(RGB, value))
    with Image.open(BytesIO(data)) as image:
        assert image.mode == "I;16"
        assert (np.asarray(image) == 257 * value).all()
    again = decode(data)
    assert (again.rgb == value).all()
    assert (again.grey, again.deep) == (True, True)


def profile(space: bytes, size: int = 200) -> bytes:
    return b"\0" * 16 + space + b"\0" * (size - 20)


@pytest.mark.parametrize("grey", [False, True])
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF"])
def test_colour_profile_is_kept(kind: str, grey: bool) -> None:
    icc = profile(b"GRAY" if grey else b"RGB ")
    picture = decode(save(Image.fromarray(GREY if grey else RGB), kind, icc_profile=icc))
    data = encode(picture, picture.rgb)
    assert data == encode(picture, picture.rgb)
    with Image.open(BytesIO(data)) as image:
        assert image.info["icc_profile"] == icc


def test_colour_profile_of_other_colours_is_not() -> None:
    cmyk = Image.fromarray(RGB).convert("CMYK")
    for image, icc in (
        (cmyk, profile(b"CMYK")),
        (Image.fromarray(RGB), profile(b"GRAY")),
        (Image.fromarray(GREY), profile(b"RGB ")),
        (Image.fromarray(RGB), profile(b"RGB ", LONGEST_PROFILE + 1)),
        (Image.fromarray(RGB), b"RGB "),
    ):
        picture = decode(save(image, "TIFF", icc_profile=icc))
        assert picture.profile is None
        np.testing.assert_array_equal(decode(encode(picture, picture.rgb)).rgb, picture.rgb)
    assert decode(save(Image.fromarray(RGB), "TIFF", tiffinfo={34675: 7})).profile is None
    longest = decode(save(Image.fromarray(RGB), "TIFF", icc_profile=profile(b"RGB ", LONGEST_PROFILE)))
    assert decode(encode(longest, RGB)).profile == longest.profile


def test_encode_refuses_another_shape() -> None:
    picture = decode(save(Image.fromarray(RGB), "PNG"))
    with pytest.raises(ValueError, match="must be uint8"):
        encode(picture, RGB[:-1])


def test_resize() -> None:
    square = RGB[:7]
    same = resize(square, 7)
    np.testing.assert_array_equal(same, square)
    assert not np.shares_memory(same, square)
    assert resize(RGB, 32).shape == (32, 32, 3)
    checks = np.indices((64, 64)).sum(0)[..., None].repeat(3, 2) % 2 * 255
    assert np.abs(resize(checks.astype(np.uint8), 8).astype(int) - 127).max() <= 2  # no aliasing


@pytest.mark.parametrize(
    ("kind", "suffix"),
    [
        ("PNG", ".png"),
        ("JPEG", ".jpg"),
        ("WEBP", ".webp"),
        ("BMP", ".bmp"),
        ("PPM", ".ppm"),
        ("TIFF", ".tif"),
        ("GIF", ".gif"),
    ],
)
def test_extension_by_content(kind: str, suffix: str) -> None:
    assert extension(save(Image.fromarray(RGB), kind)) == suffix


@pytest.mark.parametrize("text", [b"", b"BMW and other makers of cars", b"P3 is a label", b"GIF"])
def test_text_has_no_image_extension(text: bytes) -> None:
    assert extension(text) == ".bin"


BROKEN = {
    b"": "empty file",
    b"no image": "not an image of a supported format",
    png_header(10**5, 10**5): "more pixels than the limit of 50,000,000",
    png_header(10**4, 9000): "10000 x 9000 pixels are more than the limit of 50,000,000",  # Pillow warns of it
    image_bytes(0)[:50]: "cannot be decoded",
}


def test_the_shape_is_in_the_header() -> None:
    for kind in ("PNG", "JPEG", "WEBP", "BMP", "PPM", "TIFF", "GIF"):
        assert shape(save(Image.fromarray(RGB), kind)) == (9, 7)
    assert shape(image_bytes(0)[:50]) == (6, 5)
    for data in (b"", b"no image", png_header(10**5, 10**5), png_header(10**4, 9000)):
        with pytest.raises(UnreadableSample, match=BROKEN[data]):
            shape(data)


def test_many_threads_decode_as_one_does() -> None:
    """Beside each other good images, broken ones, and such that Pillow warns of: warnings are errors in these tests."""
    with pytest.warns(UserWarning, match="Corrupt EXIF data"), Image.open(BytesIO(warning_jpeg())) as image:
        image.getexif()
    good = [image_bytes(seed, kind) for seed, kind in enumerate(["PNG", "JPEG", "WEBP", "TIFF", "GIF", "BMP"])]

    def outcome(data: bytes) -> bytes | str:
        try:
            return decode(data).rgb.tobytes()
        except UnreadableSample as error:
            return error.reason

    several = 40 * [*good, warning_jpeg(), *BROKEN]
    before = warnings.filters, list(warnings.filters), warnings.showwarning
    with ThreadPoolExecutor(8) as pool:
        outcomes = list(pool.map(outcome, several))
    assert outcomes == [outcome(data) for data in several]
    for data, reason in BROKEN.items():
        assert str(outcomes[several.index(data)]).startswith(reason)
    assert (warnings.filters, list(warnings.filters), warnings.showwarning) == before
    assert warnings.filters is before[0]


def in_every_mode() -> Iterator[bytes]:
    """Every mode in each format that has it, palettes and RGB with a transparent colour, and what cannot be read."""
    image = Image.fromarray(np.random.default_rng(5).integers(0, 256, (16, 12, 3), dtype=np.uint8))
    modes = [image.convert(mode) for mode in ("RGB", "RGBA", "L", "LA", "1", "P", "CMYK", "YCbCr", "I", "F")]
    for each in [*modes, Image.fromarray(np.asarray(image)[..., 0].astype(np.uint16) * 257)]:
        for kind in ("PNG", "JPEG", "WEBP", "BMP", "PPM", "TIFF", "GIF"):
            with suppress(OSError, ValueError):
                yield save(each, kind)
    yield save(image, "PNG", transparency=image.getpixel((3, 3)))
    yield save(image, "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0")
    yield png_of_sixteen_bit(np.asarray(image).astype(np.uint16) * 257)
    yield png_of_sixteen_bit(np.asarray(image).astype(np.uint16))
    yield from (warning_jpeg(), *BROKEN)


@pytest.mark.parametrize("size", [4, 12, 16, 40])
def test_a_small_image_is_the_large_one_made_small(size: int) -> None:
    for data in in_every_mode():
        try:
            picture = decode(data)
        except UnreadableSample as error:
            with pytest.raises(UnreadableSample, match=re.escape(error.reason)):
                decode_small(data, size)
            continue
        small, height_width = decode_small(data, size)
        np.testing.assert_array_equal(small, resize(picture.rgb, size))
        assert height_width == picture.rgb.shape[:2]
