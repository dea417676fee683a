"""Your own pictures with wrong labels among them; whatever is not given fits the data's size.

python launch.py --config=configs/own_data.py --config.dataset.path=FOLDER_OR_FILE

A folder with a subfolder a class, a CSV or Parquet manifest, or a .npz of pictures or of feature
vectors: docs/own_data.md. With --config.encoder.path=FILE.onnx a pretrained encoder looks at the
pictures: better in quality, and minutes instead of hours (docs/encoders.md). Fields
that are None here are chosen from the data (rmdnet_jax/config/automatic.py) and told with the
reason; a value on the command line wins.
"""

from rmdnet_jax.config import automatic, default


def get_config():
    config = automatic.leave_open(default())
    config.dataset.name = "own"
    config.noise.kind = "none"
    config.tensorboard = False  # importing TensorFlow takes longer than an encoder's head
    return config
