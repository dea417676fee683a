"""An untrained teacher: Table 2's ablation, RGRL without RM."""

import dataclasses
from typing import ClassVar

from rmdnet_jax.teachers.simsiam import SimSiamSource


@dataclasses.dataclass(frozen=True)
class RandomSource(SimSiamSource):
    """The kind "random": SimSiam's encoder before training."""

    reads_path: ClassVar[bool] = False
    trains: ClassVar[bool] = False
    title: ClassVar[str] = "random encoder"
    story: ClassVar[str] = "The teacher is a random encoder: nothing was trained."
    term: ClassVar[str] = "RGRL, random teacher"
    is_control: ClassVar[bool] = True

    @property
    def method(self) -> None:
        """Nothing is trained."""
        return None


KIND = RandomSource
