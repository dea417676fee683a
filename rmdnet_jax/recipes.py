"""What a config means: the methods it describes, built. The values were checked before."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from ml_collections import ConfigDict

from rmdnet_jax.data.dataset import Dataset
from rmdnet_jax.methods import memory
from rmdnet_jax.methods.interface import State
from rmdnet_jax.methods.rgrl import RGRL, Teacher
from rmdnet_jax.methods.simsiam import SimSiam
from rmdnet_jax.models.heads import Linear, Predictor, Projector
from rmdnet_jax.models.resnet import ResNet
from rmdnet_jax.training import devices, optimizers

Loss = Callable[[jax.Array, jax.Array], jax.Array]


def wants_teacher(config: ConfigDict) -> bool:
    """Whether anything will read a teacher: K = 0 is the robust loss alone."""
    return config.teacher.kind != "none" and (config.rgrl.k > 0 or not config.rgrl.epochs)


def simsiam_method(config: ConfigDict, data: Dataset) -> SimSiam:
    """Stage RM as the config describes it."""
    dtype = convolution_dtype(config.model.precision)
    width = teacher_width(config)
    constant, decayed = (
        optimizers.sgd(schedule, config.rm.momentum, config.rm.weight_decay)
        for schedule in (
            optimizers.constant(config.rm.lr),
            simsiam_schedule(config, len(data.train_images)),
        )
    )
    mean, std = data.mean_std()
    features = 2048 * width // 64
    return SimSiam(
        backbone=ResNet(width, config.model.stem, dtype),
        projector=Projector(features, dtype),
        predictor=Predictor(features // 4, features, dtype),
        optimizer=optimizers.with_constant_predictor(decayed, constant)
        if config.rm.predictor_constant_lr
        else decayed,
        mean=mean,
        std=std,
        min_area=config.rm.min_area,
        flip=config.augment.flip,
    )


def simsiam_schedule(config: ConfigDict, images: int) -> optax.Schedule:
    """The learning rate of stage RM by update, on so many training images."""
    return optimizers.cosine(config.rm.lr, config.rm.epochs * (images // config.rm.batch_size))


def rgrl_schedule(config: ConfigDict, images: int) -> optax.Schedule:
    """The learning rate of stage RGRL by update, on so many training images."""
    recipe = config.rgrl
    total = recipe.epochs * (images // recipe.batch_size)
    return optimizers.step_decay(recipe.lr, total, recipe.lr_drops)


def rgrl_method(
    config: ConfigDict,
    data: Dataset,
    loss: Loss,
    teacher: Teacher | None,
    guided: bool,
    images: int,
    remembers: bool = False,
) -> RGRL:
    """Stage RGRL as the config describes it, on so many of the training `images`; not `guided` is
    the robust loss alone. One that `remembers` keeps what it says of them, if that is not too
    much."""
    recipe = config.rgrl
    schedule = rgrl_schedule(config, images)
    mean, std = data.mean_std()
    return RGRL(
        backbone=ResNet(
            config.model.width, config.model.stem, convolution_dtype(config.model.precision)
        ),
        classifier=Linear(data.num_classes),
        loss=loss,
        optimizer=optimizers.sgd(schedule, recipe.momentum, recipe.weight_decay, recipe.grad_clip),
        mean=mean,
        std=std,
        teacher=teacher if guided else None,
        k=recipe.k,
        alpha=recipe.alpha,
        beta=recipe.beta,
        relation_norm=recipe.relation_norm,
        teacher_view=recipe.teacher_view,
        start=_backbone(teacher) if teacher and recipe.init_from_teacher else None,
        pad=config.augment.pad,
        flip=config.augment.flip,
        remembers=images if remembers and memory.fits(images, data.num_classes) else 0,
    )


def frozen_teacher(config: ConfigDict, method: SimSiam, state: State) -> Teacher:
    """The part of a SimSiam that stage 2 reads, on the host."""
    projector = method.projector if config.rgrl.teacher_embedding == "projector" else None
    networks = ("backbone", "projector") if projector else ("backbone",)
    params, batch_stats = (
        jax.device_get({name: tree[name] for name in networks})
        for tree in (state.params, state.batch_stats)
    )
    return Teacher(method.backbone, projector, params, batch_stats)


def _backbone(teacher: Teacher) -> dict:
    trees = {"params": teacher.params, "batch_stats": teacher.batch_stats}
    return {name: tree["backbone"] for name, tree in trees.items()}


def teacher_width(config: ConfigDict) -> int:
    """Channels of the teacher's first stage."""
    return config.teacher.width or config.model.width


def convolution_dtype(precision: str) -> jnp.dtype:
    """bfloat16 or float32; "auto" is the faster one here."""
    return devices.fast_dtype() if precision == "auto" else jnp.dtype(precision)
