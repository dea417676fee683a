"""Rotation prediction: self-supervised learning from images without a label (Gidaris et al. 2018,
arXiv 1803.07728; MODUL, equations 17 and 18)."""

import jax
import jax.numpy as jnp

# Quarter turns.
TURNS = 4


def of_each(images: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Every image in all four rotations: [4B, H, H, 3], grouped by rotation, and int32 [4B], the
    quarter turns from 0 to 3; the images are square, [B, H, H, 3]."""
    turned = jnp.concatenate([jnp.rot90(images, turn, axes=(1, 2)) for turn in range(TURNS)])
    return turned, jnp.repeat(jnp.arange(TURNS, dtype=jnp.int32), len(images))


def drawn(key: jax.Array, images: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Every image in one random rotation: [B, H, H, 3] and the quarter turns, int32 [B]."""
    turn = jax.random.randint(key, (len(images),), 0, TURNS, jnp.int32)

    def turned(image: jax.Array, turn: jax.Array) -> jax.Array:
        quarter = [lambda x, n=n: jnp.rot90(x, n) for n in range(TURNS)]
        return jax.lax.switch(turn, quarter, image)

    return jax.vmap(turned)(images, turn), turn
