"""PyTorch versions of our networks, written for the comparisons in this folder.

They load the Flax parameters, so that a step of both can be compared exactly (parity.py);
torch_training.py trains them. Only the benchmarks depend on PyTorch.
"""

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F


class Block(nn.Module):
    """ResNet's basic block; `shortcut` is a 1x1 convolution if the shape changes."""

    def __init__(self, channels_in: int, channels: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.shortcut = None
        if stride != 1 or channels_in != channels:
            conv = nn.Conv2d(channels_in, channels, 1, stride, bias=False)
            self.shortcut = nn.Sequential(conv, nn.BatchNorm2d(channels))

    def forward(self, x):
        """[B, C, H, W] -> [B, channels, H/stride, W/stride]."""
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return F.relu(y + (x if self.shortcut is None else self.shortcut(x)))


class ResNet18(nn.Module):
    """ResNet-18 without its classifier, as rmdnet_jax.models.resnet."""

    def __init__(self, width: int = 64, stem: str = "cifar"):
        super().__init__()
        size, stride = (3, 1) if stem == "cifar" else (7, 2)
        self.conv = nn.Conv2d(3, width, size, stride, size // 2, bias=False)
        self.bn = nn.BatchNorm2d(width)
        self.pool = nn.MaxPool2d(3, 2, 1) if stem == "imagenet" else nn.Identity()
        blocks, channels = [], width
        for stage in range(4):
            for block in range(2):
                stride = 2 if stage and not block else 1
                blocks.append(Block(channels, width * 2**stage, stride))
                channels = width * 2**stage
        self.blocks = nn.Sequential(*blocks)

    def forward(self, x):
        """[B, 3, H, W] -> [B, 8 * width]."""
        return self.blocks(self.pool(F.relu(self.bn(self.conv(x))))).mean((2, 3))


class SimSiam(nn.Module):
    """Encoder, projector and predictor; the loss of two views."""

    def __init__(self, width: int, features: int, hidden: int, stem: str = "cifar"):
        super().__init__()
        self.backbone = ResNet18(width, stem)
        self.projector = nn.Sequential(
            nn.Linear(8 * width, features, bias=False),
            nn.BatchNorm1d(features),
            nn.ReLU(),
            nn.Linear(features, features, bias=False),
            nn.BatchNorm1d(features),
        )
        self.predictor = nn.Sequential(
            nn.Linear(features, hidden, bias=False),
            nn.BatchNorm1d(hidden),
            nn.ReLU(),
            nn.Linear(hidden, features),
        )

    def forward(self, view1, view2):
        """Two views [B, 3, H, W] -> the loss, a scalar."""
        z1 = self.projector(self.backbone(view1))
        p1 = self.predictor(z1)
        z2 = self.projector(self.backbone(view2))
        p2 = self.predictor(z2)
        forth = F.cosine_similarity(p1, z2.detach()).mean()
        return -(forth + F.cosine_similarity(p2, z1.detach()).mean()) / 2


class RGRL(nn.Module):
    """Student with its classifier and a frozen teacher, or without one for the robust loss alone.

    The loss is equation 11 with cross entropy: CE + K * (alpha * node + beta * edge).
    """

    def __init__(self, width: int, classes: int, *, guided: bool, stem: str = "cifar"):
        super().__init__()
        self.backbone = ResNet18(width, stem)
        self.classifier = nn.Linear(8 * width, classes)
        self.teacher = ResNet18(width, stem).requires_grad_(False) if guided else None

    def train(self, mode: bool = True):
        """The teacher stays in evaluation mode: running statistics."""
        super().train(mode)
        if self.teacher:
            self.teacher.eval()
        return self

    def forward(self, view, labels):
        """A view [B, 3, H, W] and given labels [B] -> the loss, a scalar."""
        embedding = self.backbone(view)
        loss = F.cross_entropy(self.classifier(embedding), labels)
        if self.teacher:
            with torch.no_grad():
                target = self.teacher(view)
            loss = loss + relation_loss(target, embedding)
        return loss


def relation_loss(teacher, student, alpha: float = 0.8, beta: float = 0.35):
    """rmdnet_jax.losses.relation.rmd_loss of embeddings [B, D], in float32 even under autocast."""
    with torch.autocast(teacher.device.type, enabled=False):
        t, s = _standardise(teacher.float()), _standardise(student.float())
        node = torch.linalg.matrix_norm(t @ s.T - torch.eye(len(t), device=t.device))
        edge = torch.linalg.matrix_norm(t @ t.T - s @ s.T)
        return alpha * node + beta * edge


def _standardise(x):
    return F.normalize(x - x.mean(1, keepdim=True), dim=1, eps=1e-6)


def tensors(tree, batch_stats) -> dict[str, torch.Tensor]:
    """Flax variables of a SimSiam state as a state_dict of the peer's SimSiam."""
    out = {}

    def norm(name, params, stats):
        out[f"{name}.weight"], out[f"{name}.bias"] = params["scale"], params["bias"]
        out[f"{name}.running_mean"], out[f"{name}.running_var"] = stats["mean"], stats["var"]

    def conv(name, params):
        out[f"{name}.weight"] = np.transpose(params["kernel"], (3, 2, 0, 1))

    def dense(name, params):
        out[f"{name}.weight"] = np.transpose(params["kernel"])
        if "bias" in params:
            out[f"{name}.bias"] = params["bias"]

    params, stats = tree["backbone"], batch_stats["backbone"]
    conv("backbone.conv", params["Conv_0"])
    norm("backbone.bn", params["BatchNorm_0"], stats["BatchNorm_0"])
    for i in range(8):
        ours, theirs = params[f"BasicBlock_{i}"], f"backbone.blocks.{i}"
        seen = stats[f"BasicBlock_{i}"]
        names = ["conv1", "conv2"]
        norms = ["bn1", "bn2"]
        if "Conv_2" in ours:  # Flax numbers the shortcut first
            names, norms = ["shortcut.0", *names], ["shortcut.1", *norms]
        for j, (name, bn) in enumerate(zip(names, norms, strict=True)):
            conv(f"{theirs}.{name}", ours[f"Conv_{j}"])
            norm(f"{theirs}.{bn}", ours[f"BatchNorm_{j}"], seen[f"BatchNorm_{j}"])
    for name, layers in (("projector", (0, 3)), ("predictor", (0, 3))):
        params, stats = tree[name], batch_stats[name]
        for j, layer in enumerate(layers):
            dense(f"{name}.{layer}", params[f"Dense_{j}"])
            if f"BatchNorm_{j}" in params:
                norm(f"{name}.{layer + 1}", params[f"BatchNorm_{j}"], stats[f"BatchNorm_{j}"])
    return {name: torch.from_numpy(np.array(value)) for name, value in out.items()}
