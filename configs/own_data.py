"""Your own pictures with wrong labels among them; whatever is not given fits the data's size.

python launch.py --config=configs/own_data.py --config.dataset.path=FOLDER_OR_FILE

A folder with a subfolder a class, a CSV or Parquet manifest, or a .npz: docs/own_data.md. Fields
that are None here are chosen from the data (rmdnet_jax/automatic.py) and told with the reason; a
value on the command line wins.
"""

from ml_collections import config_dict

from rmdnet_jax.config import default


def get_config():
    config = default()
    config.dataset.name = "own"
    config.dataset.image_size = config_dict.placeholder(int)
    config.noise.kind = "none"
    config.checkpoint_every = config_dict.placeholder(float)
    config.model.stem = config_dict.placeholder(str)
    config.model.width = config_dict.placeholder(int)
    for stage in (config.rm, config.rgrl):
        stage.epochs = config_dict.placeholder(int)
        stage.batch_size = config_dict.placeholder(int)
    config.rm.knn_k = config_dict.placeholder(int)
    config.rgrl.lr = config_dict.placeholder(float)
    config.rgrl.loss.name = config_dict.placeholder(str)
    config.rgrl.k = config_dict.placeholder(float)
    return config
