"""Images per second through a pretrained encoder on the CPU: our onnxruntime encoder compared with
the same network in PyTorch (inference mode, channels last), from uint8 pixels to embeddings.

python benchmarks/extraction.py efficientnet-lite0 lite0.onnx
    (needs the packages of docs/export_encoder.py, and the file that it wrote)
"""

import argparse
import importlib.util
from pathlib import Path

import numpy as np
import ours
import stopwatch
import torch

from rmdnet_jax.encoders import opening
from rmdnet_jax.encoders.interface import Asked


def theirs(name: str, side: int):
    """Embeddings by PyTorch, with the network as built by the script that wrote the file."""
    place = Path(__file__).resolve().parents[1] / "docs" / "export_encoder.py"
    spec = importlib.util.spec_from_file_location("export_encoder", place)
    assert spec
    assert spec.loader
    export = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(export)
    kind, _, rest = name.partition(":")
    if kind.startswith("efficientnet-lite"):
        network, _, mean, std = export.from_efficientnet_lite(kind[-1], side)
    else:
        network, _, mean, std = getattr(export, f"from_{kind}")(rest, side)
    network.eval().to(memory_format=torch.channels_last)
    torch.set_num_threads(stopwatch.cores())
    mean, std = (torch.tensor(value)[:, None, None] for value in (mean, std))

    def embed(pictures: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            x = torch.from_numpy(pictures).permute(0, 3, 1, 2).float().div_(255)
            x = x.sub_(mean).div_(std).contiguous(memory_format=torch.channels_last)
            return network(x).numpy()

    return embed


def main() -> None:
    """Reads the command line; prints a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("network", help="as for docs/export_encoder.py")
    parser.add_argument("file", type=Path)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=7)
    given = parser.parse_args()
    encoder = opening.read(given.file, Asked())
    shape = (given.batch, encoder.side, encoder.side, 3)
    pictures = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    peer = theirs(given.network, encoder.side)
    apart = np.abs(encoder.embed(pictures) - peer(pictures)).max() / np.abs(peer(pictures)).max()
    contestants = {
        "ours, onnxruntime": lambda: encoder.embed(pictures),
        "PyTorch": lambda: peer(pictures),
    }
    print(stopwatch.heading("onnxruntime", "torch"))
    times = stopwatch.alternate(contestants, given.rounds)
    rows = [
        (name, f"{given.batch / taken.median:.1f} ± {taken.spread:.0%}")
        for name, taken in times.items()
    ]
    print(stopwatch.table([f"{encoder.side} pixels", "pictures a second"], rows))
    print(f"embeddings differ by at most {apart:.1e} of the largest value")


if __name__ == "__main__":
    ours.run(main)
