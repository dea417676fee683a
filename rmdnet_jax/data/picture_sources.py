"""How the pictures of a folder or a file are laid out, seen from what is there, and the source that
reads that layout."""

import os
from pathlib import Path

from rmdnet_jax.data import (
    fiftyone_source,
    folder_source,
    imagefolder_source,
    labelstudio_source,
    manifest_source,
    parquet_source,
)
from rmdnet_jax.data.picture_files import PictureFiles


def in_folder(path: str, test_fraction: float, cache: str) -> PictureFiles:
    """The picture files of a folder: FiftyOne's labels.json, Hugging Face's metadata.csv or .jsonl,
    Parquet files with the pictures inside, or else a folder a class.

    Args:
      path: the folder.
      test_fraction: share of each class in (0, 1), where there is no split to test on.
      cache: where pictures that lie in other files are taken out to.

    Raises:
      InputError: there is no such folder, or what it holds is not as it should be.
    """
    if not path or not os.path.isdir(os.path.expanduser(path)):
        return folder_source.find(path, test_fraction)  # which says so
    if fiftyone_source.is_one(path):
        return fiftyone_source.find(path, test_fraction)
    if imagefolder_source.is_one(path):
        return imagefolder_source.find(path, test_fraction)
    if parquet_source.is_one(path):
        return parquet_source.find(path, test_fraction, cache)
    return folder_source.find(path, test_fraction)


def of_list(path: str, test_fraction: float, cache: str, root: str) -> PictureFiles:
    """The picture files of a file: tasks of Label Studio (.json), Parquet with the pictures inside,
    or else a manifest.

    Args:
      path: the file.
      test_fraction, cache: as `in_folder` takes them.
      root: what paths are relative to; empty is the file's folder.

    Raises:
      InputError: there is no such file, or what it holds is not as it should be.
    """
    place = Path(os.path.expanduser(path))
    if os.path.isfile(place) and place.suffix.lower() == labelstudio_source.SUFFIX:
        return labelstudio_source.find(path, test_fraction, root)
    if os.path.isfile(place) and parquet_source.is_one(path):
        return parquet_source.find(path, test_fraction, cache)
    return manifest_source.find(path, test_fraction, root)
