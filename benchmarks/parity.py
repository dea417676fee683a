"""Checks SimSiam's gradient against PyTorch's, for the same weights and the same views.

python benchmarks/parity.py            (needs PyTorch)

Prints the relative distances of our and PyTorch's float32 gradients to PyTorch's in float64.
"""

import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import torch
import torch_peer

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from rmdnet_jax.data import augment
from rmdnet_jax.methods.interface import Batch
from rmdnet_jax.methods.simsiam import SimSiam
from rmdnet_jax.models.heads import Predictor, Projector
from rmdnet_jax.models.resnet import ResNet

WIDTH, FEATURES, HIDDEN, BATCH = 8, 256, 64, 64
HALF = np.full(3, 0.5, np.float32)


def peer_gradient(state, views, dtype) -> dict[str, torch.Tensor]:
    """PyTorch's gradient of the loss in `dtype`, by parameter."""
    peer = torch_peer.SimSiam(WIDTH, FEATURES, HIDDEN)
    peer.load_state_dict(torch_peer.tensors(state.params, state.batch_stats), strict=False)
    peer.to(dtype).train()
    peer(*(torch.tensor(view).permute(0, 3, 1, 2).to(dtype) for view in views)).backward()
    return {name: parameter.grad.double() for name, parameter in peer.named_parameters()}


def main() -> None:
    """Prints the two distances."""
    # With this optimiser a step moves the parameters by minus the gradient.
    method = SimSiam(
        ResNet(WIDTH), Projector(FEATURES), Predictor(HIDDEN, FEATURES), optax.sgd(1.0), HALF, HALF
    )
    key = jax.random.key(0)
    rng = np.random.default_rng(0)
    image = jnp.asarray(rng.integers(0, 256, (BATCH, 32, 32, 3), np.uint8))
    labels = jnp.zeros(BATCH, jnp.int32)
    before = jax.device_get(method.init(key, image[:1]))
    after, _, _ = jax.device_get(jax.jit(method.step)(before, Batch(image, labels, labels), key))
    views = augment.two_views(key, image, min_area=method.min_area, flip=method.flip)
    views = [np.array(augment.normalise(view, HALF, HALF)) for view in views]

    exact = peer_gradient(before, views, torch.float64)
    moved = jax.tree.map(np.subtract, before.params, after.params)
    gradients = {
        "ours, float32": torch_peer.tensors(moved, before.batch_stats),
        "PyTorch, float32": peer_gradient(before, views, torch.float32),
    }
    size = sum(value.square().sum() for value in exact.values()).sqrt()
    for name, gradient in gradients.items():
        distances = (gradient[key].double() - exact[key] for key in exact)
        distance = sum(value.square().sum() for value in distances).sqrt()
        print(f"{name:17} {distance / size:.1e} from PyTorch's float64 gradient")


if __name__ == "__main__":
    main()
