"""FCN-8s, narrow, on scenes that jaxseg generates itself: no data needed, minutes on a laptop.

python -m jaxseg.main --config configs/quickstart.py
"""

from jaxseg.config import default_config


def get_config():
    """The recipe."""
    c = default_config()
    c.model.width = 0.25
    c.model.fc_channels = 1024
    c.model.norm = "batch"
    c.model.padding = 1
    c.model.dropout = 0.1
    c.data.name = "scenes"
    c.data.scenes_train = 2048
    c.data.cache = True
    c.augment.flip = 0.5
    c.train.steps = 600
    c.train.batch_size = 8
    c.optim.name = "adamw"
    c.optim.lr = 2e-3
    c.optim.schedule = "poly"
    c.optim.warmup_steps = 20
    c.optim.weight_decay = 1e-2
    c.optim.rules = (("bias|/bn/", 1.0, 0.0),)
    c.eval.every_steps = 200
    return c
