"""One encoded picture (JPEG, PNG or WebP) as uint8 pixels; not for whole data sets.

All modes become RGB as in torchvision's ImageFolder: grey is repeated, a palette looked up,
transparency dropped, 16 bits per channel cut to the upper 8.
"""

import errno
import io
import os
import stat
import warnings
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image

from rmdnet_jax.base.errors import InputError
from rmdnet_jax.base.text import cut, one_line, shown

FORMATS = ("JPEG", "PNG", "WEBP")
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")

# Extensions of pictures that are not supported: such a file is a lost picture, not a note.
OTHER_SUFFIXES = (
    ".avif", ".bmp", ".cr2", ".dcm", ".dng", ".gif", ".heic", ".heif", ".jfif", ".jp2", ".jpe",
    ".jxl", ".nef", ".pbm", ".pgm", ".ppm", ".tga", ".tif", ".tiff",
)  # fmt: skip

# Endings of file names that an error lists.
_NAMED = 5

# Pillow only warns about a picture of up to twice its limit (179 million pixels), and rejects
# larger ones; a warning would not stop a file that unpacks to half a gigabyte.
warnings.filterwarnings("error", category=Image.DecompressionBombWarning)
# Oddities outside the pixels, such as in EXIF, are not worth a line per picture.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")

# What turns the pixels of each EXIF orientation upright; 5 to 8 swap height and width.
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

# Bytes at the end of a PNG that are searched for metadata after its pixels.
_TAIL = 1 << 16


class BrokenPicture(InputError):
    """A file is not a complete picture, or is too large for Pillow; `reason` says why, in brief.

    Permanent: reading it again gives the same. Other read failures are plain InputErrors.
    """

    reason = ""  # not an argument: errors are pickled between processes, with one argument


def decode(
    file: str | bytes, where: str, shape: tuple[int, ...], resize: bool, upright: bool = True
) -> np.ndarray:
    """The pixels of a picture: uint8 [H, W, 3].

    Args:
      file: a path, or the encoded bytes.
      where: what to call the picture in an error.
      shape: (H, W, 3), which the picture must have, or is resized to.
      resize: to the square `shape`: the largest central square of the picture is scaled (bilinear,
        with antialiasing), so that proportions stay and the ends of the longer side are lost.
      upright: turn it according to its orientation (EXIF, or else XMP); one that cannot be parsed
        is ignored.

    Raises:
      BrokenPicture: it is not a complete picture, or is too large for Pillow.
      InputError: it has another size, or the system refuses to read it.
    """
    with _opened(file, where) as image:
        turn = _UPRIGHT.get(_orientation(image)) if upright else None
        image = _rgb(image if turn is None else image.transpose(turn))
        if resize:
            image = _square(image, shape[0])
        pixels = np.asarray(image)
    if pixels.shape != shape:
        raise InputError(
            f"{where} has {pixels.shape[0]}x{pixels.shape[1]} pixels; expected "
            f"{shape[0]}x{shape[1]}, like the others"
        )
    return pixels


def square(pixels: np.ndarray, side: int) -> np.ndarray:
    """A picture in memory, uint8 [H, W, 3], as a square of so many pixels, as `decode` makes it."""
    return np.asarray(_square(Image.fromarray(pixels), side))


def size(file: str | bytes, where: str, upright: bool = True) -> tuple[int, int]:
    """(height, width) of a picture, as `decode` gives it, without decoding it.

    Raises:
      BrokenPicture: it does not begin like a picture, or is too large for Pillow.
      InputError: the system refuses to read it.
    """
    with _opened(file, where) as image:
        width, height = image.size
        turned = upright and _orientation(image) >= 5
    return (width, height) if turned else (height, width)


def is_picture(name: str) -> bool:
    """Whether a file is a supported picture, by its name."""
    return name.lower().endswith(SUFFIXES)


def is_other_picture(name: str) -> bool:
    """Whether a file is a picture of an unsupported kind, by its name."""
    return name.lower().endswith(OTHER_SUFFIXES)


def below(folder: Path) -> list[str]:
    """The pictures in a folder and its subfolders by their paths in it, sorted. Names that begin
    with a dot are ignored, and links to folders are not followed.

    Raises:
      InputError: a folder cannot be read.
    """

    def refuse(error: OSError) -> None:
        raise InputError(
            f"{cut(error.filename)} cannot be read ({error.strerror}); make it readable, or move "
            "it away"
        ) from error

    found = []
    for place, folders, names in os.walk(folder, onerror=refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [
            os.path.relpath(os.path.join(place, name), folder)
            for name in names
            if is_picture(name) and not name.startswith(".")
        ]
    return sorted(found)


def endings(names: Iterable[str]) -> str:
    """The extensions of files, for an error about them: ".bmp, .tif", or "no extension"."""
    found = sorted({os.path.splitext(name)[1].lower() or "no extension" for name in names})
    return shown(", ".join([*found[:_NAMED], *(["..."] if len(found) > _NAMED else [])]))


def _orientation(image: Image.Image) -> int:
    """The orientation of the stored pixels, 1 to 8 as in EXIF, from EXIF or else XMP; 1, upright,
    if neither states it or can be parsed. Nothing is decoded."""
    # The metadata is parsed in a dummy image: a PNG itself would decode its pixels for that.
    dummy = Image.new("1", (1, 1))
    dummy.info = image.info | _behind_pixels(image)
    try:
        found = dummy.getexif().get(ExifTags.Base.Orientation)
        return found if found in _UPRIGHT else 1
    except Exception as error:  # whatever an arbitrary file makes the parser raise
        if _is_passing(error):
            raise
        return 1


def _behind_pixels(image: Image.Image) -> dict:
    """The EXIF and XMP that a PNG has after its pixels, where ExifTool, for example, puts them."""
    file = getattr(image, "fp", None)
    if image.format != "PNG" or file is None:
        return {}
    place = file.tell()
    file.seek(max(0, file.seek(0, io.SEEK_END) - _TAIL))
    tail = file.read(_TAIL)
    file.seek(place)
    found: dict = {}
    for name, start in (("exif", b"eXIf"), ("xmp", b"iTXtXML:com.adobe.xmp\0\0")):
        at = tail.rfind(start)
        end = at + 4 + int.from_bytes(tail[max(0, at - 4) : max(0, at)])
        # The checksum distinguishes a chunk from pixels that look like the start of one.
        if at >= 4 and zlib.crc32(tail[at:end]) == int.from_bytes(tail[end : end + 4]):
            found[name] = tail[at + 4 : end]
    return found


def _square(image: Image.Image, side: int) -> Image.Image:
    if image.size == (side, side):
        return image
    short = min(image.size)
    left, top = ((length - short) // 2 for length in image.size)
    # Cropped first: resize's own box would blend in pixels outside the square.
    image = image.crop((left, top, left + short, top + short))
    return image.resize((side, side), Image.Resampling.BILINEAR)


@contextmanager
def _opened(file: str | bytes, where: str) -> Iterator[Image.Image]:
    """A picture opened by Pillow; any error in its content becomes a BrokenPicture."""
    try:
        if isinstance(file, str):
            _check_regular(file)
        with Image.open(
            io.BytesIO(file) if isinstance(file, bytes) else file, formats=FORMATS
        ) as image:
            yield image
    except Exception as error:  # whatever an arbitrary file makes the readers raise
        if _is_passing(error):
            reason = getattr(error, "strerror", None) or "out of memory"
            raise InputError(
                f"{where} cannot be read ({reason}); make it readable, or remove it"
            ) from error
        reason = one_line(str(error).replace(f" {file!r}", ""))
        if isinstance(error, Image.UnidentifiedImageError):
            reason = "unknown format"
        broken = BrokenPicture(
            f"{where} cannot be read as a picture ({reason}); expected a complete JPEG, PNG or "
            f"WebP file of at most {Image.MAX_IMAGE_PIXELS or 0:,} pixels"
        )
        broken.reason = reason
        raise broken from error


def _check_regular(file: str) -> None:
    """Raises ValueError for what could block its reader, such as a pipe or a device."""
    found = os.stat(file)
    if not stat.S_ISREG(found.st_mode):
        raise ValueError("it is not a regular file")
    if not found.st_size:  # files in /proc also seem so, and may never end
        raise ValueError("it is empty")


def _is_passing(error: Exception) -> bool:
    """Whether an error is not due to a file's content: no permission, a failing disk or network,
    too many open files, no memory."""
    if isinstance(error, OSError):  # Pillow's own have no number
        # EINVAL: the content makes its reader seek to before the file's first byte.
        return error.errno not in (None, errno.EINVAL)
    return isinstance(error, MemoryError)


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16-bit grey; Pillow would clip it at 255
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.mode == "P":  # through RGBA: transparent entries would otherwise cause a warning
        image = image.convert("RGBA")
    return image.convert("RGB")
