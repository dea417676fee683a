"""MODUL on CIFAR-10 plus open-set pictures: a ResNet-34 teaches a ResNet-18.

python launch.py --config=configs/modul_cifar10.py:teacher
python launch.py --config=configs/modul_cifar10.py:modul --config.noise.open_path=PICTURES
(also kd, vkd, dfnd, robust; append ",small" for a laptop's size: modul,small)

PICTURES is a folder, or an .npz or .npy, of pictures that show no class of CIFAR-10: Tiny ImageNet
without its cats, dogs, cars and the like. Half of the labels are wrong, half of these because the
picture is an open-set one. The teacher learns from the first 25,000 images with correct labels, the
student from none of these; in the paper both use the same 50,000, so the teacher has memorised its
student's labels. For human labels on the rest, set noise.kind=human with noise.open_share=0.25 and
noise.rho2=0.

The paper's 200 epochs need a GPU. In the small size, the teacher has width 16 and 20,000 images and
takes about half an hour on two CPU cores; the student has width 8 and 7,500 of the other images.
RESULTS.md has their accuracies.
"""

from rmdnet_jax.base.errors import InputError
from rmdnet_jax.config import default, set_method

METHODS = {
    "vkd": {"name": "kd", "weight": 0.1},
}
SMALL_METHODS = METHODS | {"modul": {"rotations": 1}}  # a quarter of the cost of all four turns


def get_config(choice="modul"):
    method, _, size = choice.partition(",")
    if size not in ("", "small"):
        raise InputError(f"the config's argument ends in {size!r}; expected small, or nothing")
    config = default()
    config.dataset.name = "cifar10"
    config.rgrl.k = 0.0
    config.train.lr = 0.1
    config.train.epochs = 200
    config.train.lr_drops = (0.4, 0.8)
    of_teacher = 25_000
    if size:
        of_teacher = 20_000
        config.checkpoint_every = 5.0
        config.model.stem = "imagenet"
        config.model.width = 16
        config.train.lr = 0.05
        config.train.epochs = 40
    if method == "teacher":
        config.teacher.kind = "none"
        config.noise.kind = "none"
        config.dataset.train_size = of_teacher
        config.model.blocks = (2, 2, 2, 2) if size else (3, 4, 6, 3)
        return config
    set_method(config, method, SMALL_METHODS if size else METHODS)
    config.teacher.kind = "supervised"
    config.teacher.path = f"runs/modul_cifar10-teacher{',small' if size else ''}"
    config.noise.kind = "universal"
    config.noise.rate = 0.5
    config.noise.rho2 = 0.5
    config.dataset.skip = of_teacher
    config.train.weight_decay = 1e-4
    if size:
        config.dataset.train_size = 7_500
        config.model.width = 8
        config.train.epochs = 20
    return config
