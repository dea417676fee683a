"""Your own pictures, some with wrong labels; what is not set is chosen to fit the data.

python launch.py --config=configs/own_data.py --config.dataset.path=FOLDER_OR_FILE

A folder with a subfolder per class, a CSV or Parquet manifest, or a .npz of pictures or of feature
vectors: docs/own_data.md. With --config.encoder.path=FILE.onnx, a pretrained encoder embeds the
pictures: better in quality, and minutes instead of hours (docs/encoders.md). Fields that are None
here are chosen from the data (rmdnet_jax/config/automatic.py) and printed with the reason; a value
on the command line takes precedence.
"""

from rmdnet_jax.config import automatic, default


def get_config():
    config = automatic.leave_open(default())
    config.dataset.name = "own"
    config.noise.kind = "none"
    config.tensorboard = False  # importing TensorFlow takes longer than an encoder's head
    return config
