"""Hashes of arrays and texts: equal inputs have equal hashes."""

import hashlib
from collections.abc import Iterable

import jax
import numpy as np


def fingerprint(tree) -> str:
    """SHA-256 of a tree of arrays on the host: its structure, and their values, shapes, dtypes."""
    leaves, form = jax.tree.flatten(tree)
    digest = hashlib.sha256(str(form).encode())
    for leaf in map(np.asarray, leaves):
        digest.update(f"{leaf.dtype} {leaf.shape}".encode())
        # As a view: a table of embeddings may take gigabytes.
        digest.update(np.ascontiguousarray(leaf).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def content_digests(contents: Iterable[bytes | memoryview]) -> np.ndarray:
    """16 bytes that identify each of some contents: uint8 [N, 16]."""
    digests = (hashlib.blake2b(one, digest_size=16).digest() for one in contents)
    return np.frombuffer(b"".join(digests), np.uint8).reshape(-1, 16)


def text_digest(*parts: str) -> str:
    """A short hash of texts, for a file's name: 16 hexadecimal digits."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]
