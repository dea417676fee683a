"""Every kind of picture becomes RGB as Pillow says; what is none is refused in one line."""

import contextlib
import errno
import io
import os
import resource
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import ExifTags, Image

from rmdnet_jax.base.errors import InputError
from rmdnet_jax.data import pictures

RGB = np.random.default_rng(0).integers(0, 256, (12, 20, 3), np.uint8)
GREY = RGB[..., 0]


def encoded(image, kind="PNG", **options):
    file = io.BytesIO()
    image = Image.fromarray(image) if isinstance(image, np.ndarray) else image
    image.save(file, kind, **options)
    return file.getvalue()


def decode(file, height=12, width=20, resize=False, upright=True):
    return pictures.decode(file, "it", (height, width, 3), resize, upright)


@pytest.mark.parametrize(
    ("kind", "options"), [("PNG", {}), ("WEBP", {"lossless": True, "exact": True})]
)
def test_pixels_come_back_exactly(kind, options):
    np.testing.assert_array_equal(decode(encoded(RGB, kind, **options)), RGB)


def test_jpeg_is_what_pillow_decodes():
    file = encoded(RGB, "JPEG")
    np.testing.assert_array_equal(decode(file), np.asarray(Image.open(io.BytesIO(file))))


def test_grey_is_repeated():
    np.testing.assert_array_equal(decode(encoded(GREY)), np.stack([GREY] * 3, axis=-1))


def test_16_bit_grey_keeps_its_upper_bits():
    deep = GREY.astype(np.uint16) * 256 + 255
    np.testing.assert_array_equal(decode(encoded(deep)), np.stack([GREY] * 3, axis=-1))


def test_transparency_is_dropped():
    alpha = np.concatenate([RGB, GREY[..., None]], axis=-1)
    np.testing.assert_array_equal(decode(encoded(alpha)), RGB)


@pytest.mark.parametrize("transparency", [None, 3, bytes(range(256))])
def test_a_palette_is_looked_up(transparency):
    image = Image.fromarray(RGB).quantize(16)
    options = {} if transparency is None else {"transparency": transparency}
    expected = np.asarray(image.convert("RGB"))
    np.testing.assert_array_equal(decode(encoded(image, **options)), expected)


def test_cmyk_is_what_pillow_converts():
    file = encoded(Image.fromarray(RGB).convert("CMYK"), "JPEG")
    expected = np.asarray(Image.open(io.BytesIO(file)).convert("RGB"))
    np.testing.assert_array_equal(decode(file), expected)


# What each EXIF orientation asks to be done to the stored pixels, in NumPy's words.
UPRIGHT = {
    1: lambda x: x,
    2: np.fliplr,
    3: lambda x: np.rot90(x, 2),
    4: np.flipud,
    5: lambda x: np.fliplr(np.rot90(x, -1)),
    6: lambda x: np.rot90(x, -1),
    7: lambda x: np.fliplr(np.rot90(x, 1)),
    8: lambda x: np.rot90(x, 1),
}


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_a_turned_photo_is_put_upright(kind, orientation):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    file = encoded(RGB, kind, exif=exif)
    stored = np.asarray(Image.open(io.BytesIO(file)))
    upright = UPRIGHT[orientation](stored)
    assert pictures.size(file, "it") == upright.shape[:2]
    np.testing.assert_array_equal(decode(file, *upright.shape[:2]), upright)
    np.testing.assert_array_equal(decode(file, upright=False), stored)


def xmp(orientation):
    return (
        b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="%d"/></x:xmpmeta>'
        % orientation
    )


def png_chunk(kind, content):
    framed = kind + content
    return struct.pack(">I", len(content)) + framed + struct.pack(">I", zlib.crc32(framed))


def with_chunk(kind, content, before):
    """A PNG with a further chunk before its pixels (IDAT) or behind them (IEND)."""
    file = encoded(RGB)
    place = file.index(before) - 4
    return file[:place] + png_chunk(kind, content) + file[place:]


def turned_by(way, orientation):
    """A picture that something else than a JPEG's EXIF turns."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    text = b"XML:com.adobe.xmp\0\0\0\0\0" + xmp(orientation)
    return {
        "XMP of a JPEG": lambda: encoded(RGB, "JPEG", xmp=xmp(orientation)),
        "XMP of a WebP": lambda: encoded(RGB, "WEBP", lossless=True, xmp=xmp(orientation)),
        "EXIF of a WebP": lambda: encoded(RGB, "WEBP", lossless=True, exif=exif),
        "XMP of a PNG": lambda: with_chunk(b"iTXt", text, b"IDAT"),
        "XMP behind a PNG's pixels": lambda: with_chunk(b"iTXt", text, b"IEND"),
        "EXIF behind a PNG's pixels": lambda: with_chunk(b"eXIf", exif.tobytes()[6:], b"IEND"),
    }[way]()


WAYS = (
    "XMP of a JPEG", "XMP of a WebP", "EXIF of a WebP", "XMP of a PNG",
    "XMP behind a PNG's pixels", "EXIF behind a PNG's pixels",
)  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("orientation", [3, 6])
def test_whatever_says_how_it_is_turned_size_and_pixels_agree(way, orientation):
    file = turned_by(way, orientation)
    stored = np.asarray(Image.open(io.BytesIO(file)).convert("RGB"))
    upright = UPRIGHT[orientation](stored)
    assert pictures.size(file, "it") == upright.shape[:2]
    np.testing.assert_array_equal(decode(file, *upright.shape[:2]), upright)
    assert pictures.size(file, "it", upright=False) == stored.shape[:2]


JUNK = b"II*\0\x08\0\0\0\xff\xff" + bytes(range(40))


@pytest.mark.parametrize("junk", [JUNK, b"", b"MM", b"no EXIF", b"II*\0\xff\xff\xff\xff"])
@pytest.mark.parametrize("where", ["IDAT", "IEND", "WEBP", "JPEG", "profile"])
@pytest.mark.filterwarnings(r"ignore::UserWarning:PIL\.")  # as pictures.py has it
def test_an_orientation_that_cannot_be_parsed_is_upright(junk, where):
    if where == "profile":
        hexed = b"Raw profile type exif\0\0" + zlib.compress(b"\nexif\n 8\nzz" + junk)
        file = with_chunk(b"zTXt", hexed, b"IDAT")
    elif where in ("IDAT", "IEND"):
        file = with_chunk(b"eXIf", junk, where.encode())
    else:
        file = encoded(RGB, where, exif=b"Exif\0\0" + junk)
    stored = np.asarray(Image.open(io.BytesIO(file)).convert("RGB"))
    assert pictures.size(file, "it") == (12, 20)
    np.testing.assert_array_equal(decode(file), stored)


@pytest.mark.parametrize("value", [0, 9, 300])
def test_an_orientation_that_there_is_not_is_upright(value):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = value
    file = encoded(RGB, "PNG", exif=exif)
    assert pictures.size(file, "it") == (12, 20)
    np.testing.assert_array_equal(decode(file), RGB)


@pytest.mark.parametrize("way", WAYS)
def test_a_size_is_told_without_decoding(way, monkeypatch):
    file = turned_by(way, 6)

    def never(*args, **kwargs):
        raise AssertionError("pixels were decoded")

    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", never)
    monkeypatch.setattr("PIL.WebPImagePlugin.WebPImageFile.load", never)
    assert pictures.size(file, "it") == (20, 12)


def test_names_and_endings():
    assert pictures.is_picture("A.JPG")
    assert not pictures.is_picture("a.bmp")
    assert pictures.is_other_picture("a.TIF")
    assert not pictures.is_other_picture("Thumbs.db")
    assert pictures.endings(["a.TIF", "b.bmp", "c.bmp", "d"]) == ".bmp, .tif, no extension"
    assert pictures.endings([f"x.{i}" for i in range(9)]) == ".0, .1, .2, .3, .4, ..."


@given(height=st.integers(1, 40), width=st.integers(1, 40), side=st.integers(8, 24))
def test_resizing_takes_the_middle_square(height, width, side):
    image = np.random.default_rng(height * 41 + width).integers(0, 256, (height, width, 3))
    image = image.astype(np.uint8)
    found = decode(encoded(image), side, side, resize=True)
    assert found.shape == (side, side, 3)
    short = min(height, width)
    top, left = (height - short) // 2, (width - short) // 2
    square = Image.fromarray(image[top : top + short, left : left + short])
    expected = np.asarray(square.resize((side, side), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(found, expected)


def test_reduction_is_antialiased():
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 255
    small = decode(encoded(stripes), 8, 8, resize=True)
    assert abs(small[:, 1:-1].astype(int) - 127).max() <= 8  # not one of the two colours


def test_another_size_is_refused():
    with pytest.raises(InputError, match="it has 12x20 pixels; expected 12x12"):
        decode(encoded(RGB), 12, 12)


BOMB = encoded(Image.new("1", (10_000, 10_000)))  # 100 million pixels in 12 kB


def claiming(kind, height, width):
    """A small JPEG or WebP whose head tells of another size."""
    if kind == "JPEG":
        file = bytearray(encoded(RGB, "JPEG"))
        place = file.index(b"\xff\xc0") + 5
        file[place : place + 4] = struct.pack(">HH", height, width)
    else:
        frames = [Image.fromarray(np.rot90(RGB, 2))]
        file = bytearray(encoded(RGB, "WEBP", save_all=True, append_images=frames))
        place = file.index(b"VP8X") + 12
        for start, side in ((place, width), (place + 3, height)):
            file[start : start + 3] = (side - 1).to_bytes(3, "little")
    return bytes(file)


def with_comment(size):
    """A PNG with a compressed comment of so many bytes, in a thousandth of that."""
    file, text = encoded(RGB), zlib.compress(bytes(size), 9)
    chunk = b"zTXt" + b"Comment\0\0" + text
    place = file.index(b"IDAT") - 4
    framed = struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
    return file[:place] + framed + file[place:]


BAD = {
    "text": (b"hello", "unknown format"),
    "nothing": (b"", "unknown format"),
    "another format": (encoded(RGB, "GIF"), "unknown format"),
    "a cut JPEG": (encoded(RGB, "JPEG")[:-40], "truncated"),
    "a cut PNG": (encoded(RGB)[:200], "it cannot be read"),
    "a flipped byte": (encoded(RGB)[:60] + b"\0" + encoded(RGB)[61:], "it cannot be read"),
    "a bomb": (BOMB, "decompression bomb"),
    "a JPEG of 4,000 million pixels": (claiming("JPEG", 65_500, 65_500), "decompression bomb"),
    "a WebP of 268 million pixels": (claiming("WEBP", 16_383, 16_383), "cannot be read"),
    "a comment of 100 MB": (with_comment(100_000_000), "Decompressed data too large"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_no_whole_picture_is_refused_in_one_line(case):
    """And soon: what a head tells of is not allocated, let alone unpacked."""
    file, says = BAD[case]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(InputError, match=says) as caught:
        decode(file)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("it cannot be read as a picture")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < peak + 50_000  # kB


@given(place=st.integers(0, 400), byte=st.integers(0, 255), length=st.integers(0, 2000))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_damage_gives_pixels_or_an_input_error(kind, place, byte, length):
    file = bytearray(encoded(RGB, kind))
    file[place % len(file)] = byte
    for read in (decode, lambda file: pictures.size(file, "it")):
        with contextlib.suppress(InputError):
            read(bytes(file[:length]))


def test_a_path_is_named_once(tmp_path):
    file = str(tmp_path / "x.png")
    with pytest.raises(InputError) as caught:
        pictures.size(file, file)
    assert str(caught.value).count(file) == 1


@pytest.mark.parametrize("error", [OSError(errno.EMFILE, "Too many open files"), MemoryError()])
def test_a_reader_that_fails_says_nothing_of_the_picture(tmp_path, monkeypatch, error):
    def failing(*args, **kwargs):
        raise error

    (tmp_path / "x.png").write_bytes(encoded(RGB))
    monkeypatch.setattr(Image, "open", failing)
    says = r"x.png cannot be read \((Too many open files|out of memory)\); make it readable"
    with pytest.raises(InputError, match=says) as caught:
        pictures.size(str(tmp_path / "x.png"), "x.png")
    assert not isinstance(caught.value, pictures.BrokenPicture)


def test_what_would_keep_its_reader_waiting_is_not_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "device.png").symlink_to("/dev/zero")
    (tmp_path / "process.png").symlink_to("/proc/self/stat")
    for name in ("pipe", "device", "process"):
        file = str(tmp_path / f"{name}.png")
        for read in (lambda file: decode(file), lambda file: pictures.size(file, "it")):
            with pytest.raises(pictures.BrokenPicture, match=r"it is (not a regular file|empty)"):
                read(file)
