"""A learner whose step compiles at once: what methods do does not depend on the network."""

import dataclasses
import itertools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from rmdnet_jax.losses import robust
from rmdnet_jax.methods.interface import Batch, Guide, Prediction, Weights
from rmdnet_jax.methods.learner import Learner
from rmdnet_jax.methods.network import Classifier
from rmdnet_jax.models.heads import Linear
from rmdnet_jax.models.resnet import batch_norm
from rmdnet_jax.training.checkpoints import Checkpoints
from rmdnet_jax.training.fit import fit
from rmdnet_jax.training.logging import RunLog

MEAN, STD = np.full(3, 0.5, np.float32), np.full(3, 0.25, np.float32)


class OneLayer(nn.Module):
    """A backbone of one layer, with running statistics as ResNet has them."""

    embedding_size: int = 6

    @nn.compact
    def __call__(self, x, train):
        x = nn.Dense(self.embedding_size)(x.reshape(len(x), -1))
        return batch_norm(train, jnp.float32)(x)


@pytest.fixture(scope="session")
def one_layer():
    """The class, for a network of another kind."""
    return OneLayer


@pytest.fixture(scope="session")
def network():
    """Three classes of images of 8 x 8."""
    return Classifier(OneLayer(), Linear(3), MEAN, STD)


@pytest.fixture(scope="session")
def learner(network):
    """Makes a Learner with what is given changed."""

    def make(**changes):
        usual = {"optimizer": optax.sgd(0.1, 0.9), "loss": robust.get("ce"), "pad": 1}
        return Learner(network, **usual | changes)

    return make


@pytest.fixture(scope="session")
def plain(learner):
    """Without augmentation, so that a view is the image; plain steps of 0.5, so that gradients
    show."""
    return learner(optimizer=optax.sgd(0.5), pad=0, flip=False)


@dataclasses.dataclass(frozen=True)
class LinearTeacher:
    """A trained classifier of images of 8 x 8: two linear layers without a bias."""

    size: int = 5
    reads_labels: bool = True

    @property
    def frozen(self):
        rng = np.random.default_rng(7)
        shapes = {"embedding": (8 * 8 * 3, self.size), "classifier": (self.size, 3)}
        return {name: rng.normal(0, 0.2, s).astype(np.float32) for name, s in shapes.items()}

    def classify(self, frozen, view, index):
        embedding = view.reshape(len(view), -1) @ frozen["embedding"]
        return Prediction(embedding @ frozen["classifier"], embedding)


@pytest.fixture(scope="session")
def guide():
    """Makes the Guide of a learner of images uint8 [N, 8, 8, 3], whose teacher's embedding has
    `size` features."""

    def make(images, size=5, accuracy=None):
        teacher = LinearTeacher(size)
        view = (images.astype(np.float32) / 255 - 0.5) / 0.25
        return Guide(teacher, teacher.classify(teacher.frozen, view, None), accuracy)

    return make


@pytest.fixture(scope="session")
def at_epoch():
    """Makes the state of a method of small losses that of an epoch's beginning, from 0."""

    def at(state, epoch):
        updates = epoch * state.selection["steps_an_epoch"]
        return dataclasses.replace(state, selection=state.selection | {"updates": updates})

    return at


@pytest.fixture(scope="session")
def trained():
    """Trains a method in a folder, where it goes on if there is something: the state at the end.
    After checkpoint number `kill_at` it raises RuntimeError."""

    def train(folder, method, images, task, rate, checkpoint_every, kill_at=None):
        folder.mkdir(exist_ok=True)
        with Checkpoints(folder / "stage") as saved:
            save, count = saved.save, itertools.count(1)

            def save_or_die(*arguments):
                save(*arguments)
                if next(count) == kill_at:
                    raise RuntimeError(f"killed after checkpoint {kill_at}")

            saved.save = save_or_die
            fresh = method.init(jax.random.key(0), jnp.asarray(images[:1]), task)
            return fit(
                method, fresh, images, task, key=jax.random.key(3), checkpoints=saved,
                evaluate=lambda *_: {}, log=RunLog(folder, tensorboard=False).stage("stage"),
                learning_rate=lambda _: rate, checkpoint_every=checkpoint_every,
            ).state  # fmt: skip

    return train


@pytest.fixture(scope="session")
def logits_of(network):
    """Makes what a state's network says of images uint8 [B, 8, 8, 3], not augmented, in training
    mode, as a step sees it: logits float64 [B, 3]."""

    def of(state, images, name="1"):
        weights = Weights(state.params[name], state.batch_stats[name])
        view = (jnp.asarray(images, jnp.float32) / 255 - 0.5) / 0.25
        return np.asarray(network.train(weights, view)[0].logits, np.float64)

    return of


@pytest.fixture(scope="session")
def batch():
    """Eight images, the positions in the training set not in order."""
    image = np.random.default_rng(0).integers(0, 256, (8, 8, 8, 3), np.uint8)
    label = np.arange(8, dtype=np.int32) % 3
    index = np.array([5, 2, 7, 0, 1, 6, 4, 3], np.int32)
    return Batch(jnp.asarray(image), jnp.asarray(label), jnp.asarray(index))
