"""Knowledge distillation: a network learns a trained classifier's predictions (Hinton et al. 2015,
arXiv 1503.02531)."""

import dataclasses
from typing import Annotated, Any, ClassVar

import jax

from rmdnet_jax.base.ranges import SHARE, number
from rmdnet_jax.losses import soft
from rmdnet_jax.methods import learner as learners
from rmdnet_jax.methods.interface import Batch, Metrics, State, Task
from rmdnet_jax.methods.learner import LearnerMethod


@dataclasses.dataclass(frozen=True)
class Distillation(LearnerMethod[State]):
    """weight L(student, given) + (1 - weight) T^2 KL(teacher || student), both softened by T; L is
    the learner's loss (MODUL, equation 1). With weight 0 the given labels are not read: the control
    for every method with such a teacher."""

    weight: Annotated[float, SHARE, "weight of given labels; 0.1 is MODUL's VKD, 0 uses none"] = 0.0
    temperature: Annotated[float, number(0.01, 100), "temperature T of both"] = 4.0

    needs_classifier: ClassVar[bool] = True
    takes_relation: ClassVar[bool] = False

    @property
    def title(self) -> str:
        """KD without the given labels, VKD (MODUL's name) with them."""
        return "VKD" if self.weight else "KD"

    def init(self, key: jax.Array, example: jax.Array, task: Task) -> State:
        """A fresh network."""
        return self.learner.init(key, example)

    def step(
        self, state: State, batch: Batch, key: jax.Array, frozen: Any
    ) -> tuple[State, Metrics, jax.Array]:
        """One update. Metrics: distilled_loss, and label_loss if its weight is not 0."""
        view_key, _ = jax.random.split(key)
        view = self.learner.view(view_key, batch.image)
        said = self.guide.teacher.classify(frozen, view, batch.index).logits

        def objective(logits):
            distilled = soft.distillation(logits[0], said, self.temperature).mean()
            agreement = learners.agreement(logits[0], batch.label)
            metrics = {"distilled_loss": distilled, "train_accuracy": agreement}
            if not self.weight:
                return distilled, metrics
            label = self.learner.loss(logits[0], batch.label).mean()
            loss = self.weight * label + (1 - self.weight) * distilled
            return loss, metrics | {"label_loss": label}

        state, metrics, logits = self.learner.update_each(state, {"1": view}, objective)
        return state, metrics, learners.probabilities(logits)


METHOD = Distillation
