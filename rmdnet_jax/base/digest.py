"""Hashes of arrays and texts: equal inputs have equal hashes."""

import hashlib

import jax
import numpy as np


def fingerprint(tree) -> str:
    """SHA-256 of a tree of arrays on the host: its structure, and their values, shapes, dtypes."""
    leaves, form = jax.tree.flatten(tree)
    digest = hashlib.sha256(str(form).encode())
    for leaf in map(np.asarray, leaves):
        digest.update(f"{leaf.dtype} {leaf.shape}".encode())
        digest.update(leaf.tobytes())
    return digest.hexdigest()


def text_digest(*parts: str) -> str:
    """A short hash of texts, for a file's name: 16 hexadecimal digits."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]
