"""FCN-8s on the Oxford-IIIT Pets: 3 classes, 3,680 training images, 3,669 evaluation images.

python -m jaxseg.main --config configs/pets_fcn8s.py
python -m jaxseg.main --config configs/pets_fcn8s.py:full
python -m jaxseg.main --config configs/pets_fcn8s.py:pretrained

The data set (800 MB) is downloaded automatically by tensorflow-datasets. Its masks are trimaps:
pet, background, and the border between them. `--config.data.ignore_label=3` ignores the border and
leaves two classes.
"""

from jaxseg.config.recipes import pets


def get_config(variant: str = "small"):
    """The recipe: `small` for two CPU cores, `full` (published width) for a GPU.

    `pretrained` is `full` from published weights, which are downloaded once.
    """
    return pets(
        variant,
        {"model.norm": "batch", "model.padding": 1},
        small={"model.width": 0.375, "model.fc_channels": 1024, "model.dropout": 0.1},
        pretrained={
            "init.pretrained": "vgg16_bn_imagenet",
            "model.normalization": "imagenet",  # as expected by torchvision's weights
        },
    )
