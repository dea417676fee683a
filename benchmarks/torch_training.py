"""PyTorch training of the networks in torch_peer.py, as a user and as an expert would write it.

A turn of either is one pass over the same images as ours, from uint8 to updated parameters.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable

import numpy as np
import ours
import stopwatch
import torch
import torch_augment
import torch_peer
import torch_transforms
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from rmdnet_jax.machine import devices

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def peer(stage: str, width: int, *, classes: int = 10, stem: str = "cifar") -> torch.nn.Module:
    """The PyTorch version of ours.method, on the device."""
    if stage == "SimSiam":
        network = torch_peer.SimSiam(width, 32 * width, 8 * width, stem)
    else:
        network = torch_peer.RGRL(width, classes, guided=stage == "RGRL", stem=stem)
    return network.to(DEVICE).train()


def sgd(network: torch.nn.Module, fused: bool) -> torch.optim.SGD:
    """The optimiser of ours.method, for the trainable parameters."""
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    options = {"momentum": ours.MOMENTUM, "weight_decay": ours.WEIGHT_DECAY}
    return torch.optim.SGD(trained, lr=ours.LEARNING_RATE, fused=fused, **options)


def synchronise() -> None:
    """Waits until the device is idle."""
    if DEVICE == "cuda":
        torch.cuda.synchronize()


class Pictures(Dataset):
    """Pillow images with their labels, transformed one by one; two views for SimSiam."""

    def __init__(self, stage: str, images: np.ndarray, labels: np.ndarray):
        self.images, self.labels, self.two_views = images, labels, stage == "SimSiam"
        make = torch_transforms.simsiam if self.two_views else torch_transforms.supervised
        self.transform = make(images.shape[1])

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        image = Image.fromarray(self.images[index])
        view = self.transform(image)
        return view, self.transform(image) if self.two_views else int(self.labels[index])


class AsUser:
    """Eager, float32, a DataLoader with worker processes and transforms of single images."""

    def __init__(self, stage, width, images, labels, batch_size: int, workers: int, **network):
        self.network = peer(stage, width, **network)
        self.optimizer = sgd(self.network, fused=False)
        # Workers are spawned, not forked: a process that runs JAX has threads.
        self.loader = DataLoader(
            Pictures(stage, images, labels),
            batch_size,
            shuffle=True,
            drop_last=True,
            num_workers=workers,
            persistent_workers=workers > 0,
            multiprocessing_context="spawn" if workers else None,
            pin_memory=DEVICE == "cuda",
        )

    def __call__(self) -> None:
        """One pass."""
        torch.backends.cudnn.benchmark = False  # PyTorch's default
        total = 0.0
        for batch in self.loader:
            loss = self.network(*(part.to(DEVICE, non_blocking=True) for part in batch))
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            total += loss.item()
        synchronise()


class AsExpert:
    """Data on the device as uint8, batch augmentation there, channels_last, bfloat16 autocast on a
    GPU, fused SGD, cuDNN autotuning, and no read-back within a pass.

    Args:
      mode: "eager", or torch.compile's mode.
    """

    def __init__(self, stage, width, images, labels, batch_size: int, mode: str, **network):
        self.two_views, self.batch_size, self.mode = stage == "SimSiam", batch_size, mode
        self.network = peer(stage, width, **network).to(memory_format=torch.channels_last)
        self.optimizer = sgd(self.network, fused=True)
        self.images = torch.tensor(images, device=DEVICE)
        self.labels = torch.tensor(labels, device=DEVICE, dtype=torch.long)
        compiled = mode != "eager"
        self.augment = torch_augment.Augment(compiled)
        self.loss: Callable = self.network
        if compiled:
            self.loss = torch.compile(self.network, mode=mode, dynamic=False)

    def __call__(self) -> None:
        """One pass."""
        torch.backends.cudnn.benchmark = True
        order = torch.randperm(len(self.images), device=DEVICE)
        total = torch.zeros((), device=DEVICE)
        for start in range(0, len(order) - self.batch_size + 1, self.batch_size):
            index = order[start : start + self.batch_size]
            torch.compiler.cudagraph_mark_step_begin()
            with self._precision():
                loss = self.loss(*self._views(self.images[index], self.labels[index]))
            loss.backward()
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=True)
            total += loss.detach()
        total.item()
        synchronise()

    def _views(self, images, labels):
        if self.two_views:
            return self.augment.simsiam(images), self.augment.simsiam(images)
        return self.augment.supervised(images), labels

    @staticmethod
    def _precision():
        if devices.fast_dtype() == "float32":  # as ours
            return contextlib.nullcontext()
        return torch.autocast(DEVICE, torch.bfloat16)


def fastest_expert(*arguments, modes: list[str], **network) -> AsExpert:
    """The fastest of eager and torch.compile on this machine; prints the times."""
    best: AsExpert | None = None
    shortest, found = float("inf"), []
    torch.compiler.reset()  # otherwise a second batch size is compiled for dynamic shapes
    for mode in modes:
        try:
            training = AsExpert(*arguments, mode=mode, **network)
            training()
            started = time.perf_counter()
            training()
        except Exception as error:  # a compiler may raise anything
            reason = str(error).strip().partition("\n")[0][:100]
            found.append(f"{mode} failed ({type(error).__name__}: {reason})")
            continue
        taken = time.perf_counter() - started
        found.append(f"{mode} {1000 * taken:.0f} ms per pass")
        if taken < shortest:
            best, shortest = training, taken
    if best is None:
        raise RuntimeError("; ".join(found))
    print(f"expert's form: {'; '.join(found)}; uses {best.mode}", flush=True)
    return best


def expert_modes() -> list[str]:
    """The modes to try: CUDA graphs (reduce-overhead) only on a GPU."""
    return ["eager", "default"] + (["reduce-overhead"] if DEVICE == "cuda" else [])


def use_all_cores() -> None:
    """Uses as many threads as our side."""
    torch.set_num_threads(stopwatch.cores())
