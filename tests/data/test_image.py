"""Decoding of every supported format and of broken bytes; the PNG of changed pixels."""

import struct
import zlib
from contextlib import suppress
from io import BytesIO

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from elixir.data.image import LONGEST_PROFILE, decode, encode, extension, resize
from elixir.errors import UnreadableSample

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
