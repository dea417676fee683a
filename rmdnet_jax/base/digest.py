"""Hashes of arrays and texts: the same for the same ones."""

import hashlib

import jax
import numpy as np


def fingerprint(tree) -> str:
    """SHA-256 of a tree of arrays on the host: of their values, shapes and dtypes, and its form."""
    leaves, form = jax.tree.flatten(tree)
    digest = hashlib.sha256(str(form).encode())
    for leaf in map(np.asarray, leaves):
        digest.update(f"{leaf.dtype} {leaf.shape}".encode())
        digest.update(leaf.tobytes())
    return digest.hexdigest()


def text_digest(*parts: str) -> str:
    """A short hash of texts, for a file's name: 16 hexadecimal digits."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]
