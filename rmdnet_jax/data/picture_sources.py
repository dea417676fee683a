"""Recognises the layout of a folder or a list of pictures, and calls the source that reads it."""

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
    Parquet files with the pictures inside, or else one subfolder per class.

    Args:
      path: the folder.
      test_fraction: share of each class in (0, 1), if there is no split to test on.
      cache: the folder into which pictures inside other files are extracted.

    Raises:
      InputError: there is no such folder, or its contents are invalid.
    """
    if not path or not os.path.isdir(os.path.expanduser(path)):
        return folder_source.find(path, test_fraction)  # which raises the error
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
      test_fraction, cache: as for `in_folder`.
      root: what paths are relative to; empty is the file's folder.

    Raises:
      InputError: there is no such file, or its contents are invalid.
    """
    place = Path(os.path.expanduser(path))
    if os.path.isfile(place) and place.suffix.lower() == labelstudio_source.SUFFIX:
        return labelstudio_source.find(path, test_fraction, root)
    if os.path.isfile(place) and parquet_source.is_one(path):
        return parquet_source.find(path, test_fraction, cache)
    return manifest_source.find(path, test_fraction, root)
