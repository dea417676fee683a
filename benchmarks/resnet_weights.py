"""Checks that a ResNet saved by PyTorch and read by models/torch_weights.py gives the same numbers.

python benchmarks/resnet_weights.py    (needs PyTorch)

Random weights and random running statistics, in networks written here with torchvision's structure
and names; 4 random normalised images of 224x224. Prints the largest difference of embeddings and
logits relative to the largest absolute value; exit status 1 if one is above 1e-4.
"""

import sys
import tempfile
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from rmdnet_jax.models import torch_weights

MOST = 1e-4
NETWORKS = {
    "ResNet-18": ((2, 2, 2, 2), "basic"),
    "ResNet-34": ((3, 4, 6, 3), "basic"),
    "ResNet-50": ((3, 4, 6, 3), "bottleneck"),
}


class Block(nn.Module):
    """A basic or a bottleneck block with torchvision's names and strides."""

    def __init__(self, into: int, features: int, stride: int, kind: str):
        super().__init__()
        out = features * (4 if kind == "bottleneck" else 1)
        convs = {
            "basic": [(into, features, 3, stride), (features, out, 3, 1)],
            "bottleneck": [
                (into, features, 1, 1),
                (features, features, 3, stride),
                (features, out, 1, 1),
            ],
        }[kind]
        self.count = len(convs)
        for i, (one, other, size, step) in enumerate(convs, start=1):
            conv = nn.Conv2d(one, other, size, step, size // 2, bias=False)
            self.add_module(f"conv{i}", conv)
            self.add_module(f"bn{i}", nn.BatchNorm2d(other))
        self.downsample = None
        if stride != 1 or into != out:
            conv = nn.Conv2d(into, out, 1, stride, bias=False)
            self.downsample = nn.Sequential(conv, nn.BatchNorm2d(out))

    def forward(self, x):
        """[B, into, H, W] -> [B, out, H/stride, W/stride]."""
        y = x
        for i in range(1, self.count + 1):
            y = self.get_submodule(f"bn{i}")(self.get_submodule(f"conv{i}")(y))
            y = F.relu(y) if i < self.count else y
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))


class ResNet(nn.Module):
    """The parts of torchvision.models.resnet that are needed here."""

    def __init__(self, blocks: tuple[int, ...], kind: str, classes: int = 1000):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        channels = 64
        for stage, count in enumerate(blocks):
            made = []
            for block in range(count):
                features = 64 * 2**stage
                made.append(Block(channels, features, 2 if stage and not block else 1, kind))
                channels = features * (4 if kind == "bottleneck" else 1)
            self.add_module(f"layer{stage + 1}", nn.Sequential(*made))
        self.fc = nn.Linear(channels, classes)

    def forward(self, x):
        """Images [B, 3, H, W] -> embedding [B, D] and logits [B, classes]."""
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        embedding = self.layer4(self.layer3(self.layer2(self.layer1(x)))).mean((2, 3))
        return embedding, self.fc(embedding)


def random_network(blocks: tuple[int, ...], kind: str) -> ResNet:
    """A network in evaluation mode, with batch norms that are not the identity."""
    torch.manual_seed(0)
    network = ResNet(blocks, kind).eval()
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.4, 1.2)
            nn.init.normal_(module.bias, 0, 0.2)
            nn.init.normal_(module.running_mean, 0, 0.2)
            nn.init.uniform_(module.running_var, 0.5, 2)
    return network


def difference(ours, theirs) -> float:
    """The largest difference, relative to the largest absolute value of `theirs`."""
    theirs = theirs.numpy()
    return float(np.abs(np.asarray(ours) - theirs).max() / np.abs(theirs).max())


def main() -> int:
    """Prints a table; returns 1 if the numbers differ by more than MOST."""
    images = np.random.default_rng(0).standard_normal((4, 224, 224, 3)).astype(np.float32)
    print("| network | tensors | embedding | logits |\n| --- | --- | --- | --- |")
    worst = 0.0
    for name, (blocks, kind) in NETWORKS.items():
        network = random_network(blocks, kind)
        with torch.no_grad():
            embedding, logits = network(torch.tensor(images.transpose(0, 3, 1, 2).copy()))
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "net.safetensors"
            save_file(network.state_dict(), path)
            read = torch_weights.read(path)
        forward = jax.jit(lambda read, x, net=read.backbone: net.apply(read, x, train=False))
        variables = {"params": read.params, "batch_stats": read.batch_stats}
        with jax.default_matmul_precision("highest"):
            ours = forward(variables, jnp.asarray(images))
            kernel, bias = read.classifier
            both = difference(ours, embedding), difference(ours @ kernel + bias, logits)
        print(f"| {name} | {len(network.state_dict())} | {both[0]:.1e} | {both[1]:.1e} |")
        worst = max(worst, *both)
    print(f"largest: {worst:.1e}; allowed: {MOST:.0e}")
    return int(not worst <= MOST)  # NaN is wrong too


if __name__ == "__main__":
    sys.exit(main())
