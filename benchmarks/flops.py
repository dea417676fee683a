"""Floating-point operations, counted by formula: two for a multiplication and an addition.

Convolutions, linear layers and relation graphs are counted; batch norm, ReLU, pooling, the
optimiser and augmentation are not (a few per cent). An update costs three times its forward pass:
the gradients with respect to the inputs and to the weights each cost one more.
"""

UPDATE = 3


def resnet(width: int, size: int, stem: str = "cifar") -> int:
    """The forward pass of one size x size image through ResNet-18 without its classifier."""
    side, kernel = (size, 3) if stem == "cifar" else (_half(size), 7)
    total = _conv(side, kernel, 3, width)
    if stem == "imagenet":
        side = _half(side)  # max pool
    channels = width
    for stage in range(4):
        features = width * 2**stage
        if stage:
            side = _half(side)
            total += _conv(side, 1, channels, features)  # shortcut
        total += _conv(side, 3, channels, features) + 3 * _conv(side, 3, features, features)
        channels = features
    return total


def relation(batch_size: int, embedding: int) -> int:
    """Relation losses of a whole batch with their gradient to the student."""
    graph = 2 * batch_size**2 * embedding
    # Forward: the teacher's and the student's edges, and the nodes. Backward: the student is on
    # both sides of its edges and on one side of the nodes.
    return (3 + 3) * graph


def rgrl(
    width: int,
    size: int,
    batch_size: int,
    *,
    classes: int = 10,
    stem: str = "cifar",
    teacher_width: int,
) -> int:
    """A whole step of the student; without a teacher (width 0) the robust loss alone."""
    student = resnet(width, size, stem) + 2 * 8 * width * classes
    total = batch_size * UPDATE * student
    if teacher_width:
        total += batch_size * resnet(teacher_width, size, stem) + relation(batch_size, 8 * width)
    return total


def simsiam(width: int, size: int, batch_size: int, *, stem: str = "cifar") -> int:
    """A whole step of the teacher: two views through encoder, projector and predictor."""
    features, hidden = 32 * width, 8 * width  # as in ours.py and teachers/simsiam.py
    projector = 2 * (8 * width * features + features**2)
    predictor = 2 * 2 * features * hidden
    return batch_size * 2 * UPDATE * (resnet(width, size, stem) + projector + predictor)


def step(stage: str, width: int, size: int, batch_size: int, stem: str = "cifar") -> int:
    """A whole step of a stage, named as in ours.py."""
    if stage == "SimSiam":
        return simsiam(width, size, batch_size, stem=stem)
    teacher_width = width if stage == "RGRL" else 0
    return rgrl(width, size, batch_size, stem=stem, teacher_width=teacher_width)


def _conv(side: int, kernel: int, channels: int, features: int) -> int:
    """A convolution with a side x side output."""
    return 2 * side**2 * kernel**2 * channels * features


def _half(side: int) -> int:
    """Output side for stride 2 with these paddings."""
    return (side + 1) // 2
