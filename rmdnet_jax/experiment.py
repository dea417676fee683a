"""The program on one page: data -> given labels -> teacher -> each learner -> judged labels.

images, given labels
    |         embeddings of the images by a pretrained encoder, if there is one
    |            (labels are not read here)
1 teacher     trained here, by an earlier run or elsewhere; frozen               workdir/teacher
    |
2 learner     a method on the given labels, perhaps with the relation term
    |         K (alpha node + beta edge) of teacher and learner                  workdir/student
    |         and perhaps a baseline beside it                                   workdir/baseline
test accuracy, suspicious labels, a model

This page knows no method or teacher by name: methods/ and teachers/ have a file for each.
"""

from rmdnet_jax.evaluation.suspicion import suspect
from rmdnet_jax.model import Model
from rmdnet_jax.report.outcome import Outcome
from rmdnet_jax.stages.learning import learning
from rmdnet_jax.stages.run import Run, checkpoints
from rmdnet_jax.stages.teaching import teaching


def run(this: Run) -> tuple[Outcome, Model | None]:
    """Runs what is left to run of teacher and learners; returns the outcome and the model, if any.

    Raises:
      DivergedError: a loss is not finite.
      InputError: checkpoints belong to another run, or cannot be written.
    """
    if this.complete:
        this = this.complete()
    stages = this.methods()
    for stage in ("teacher", *stages):  # all of them, before hours go into the first
        with checkpoints(this, stage) as saved:
            saved.check()
    teacher = teaching(this) if this.source else None
    learned = {stage: learning(this, stage, teacher) for stage in stages}
    students = {stage: trained.student for stage, trained in learned.items()}
    model = suspicion = belief = None
    if "student" in learned:
        student, model, belief, division = learned["student"]
        embeddings = teacher.embeddings if teacher else None
        suspicion = suspect(
            belief, student.train.logits, student.test.logits, this.data, this.labels, embeddings,
            is_unseen=this.config.train.folds > 1, division=division,
            tells_open=teacher is not None and teacher.source.tells_open,
        )  # fmt: skip
    history, held_out = this.log.history("teacher"), len(this.split.held_out_given)
    outcome = Outcome(
        this.data, this.labels, teacher, history, students, suspicion, held_out, belief
    )
    return outcome, model
