"""PSPNet on the Oxford-IIIT Pets: 3 classes, 3,680 training images, 3,669 evaluation images.

python -m jaxseg.main --config configs/pets_pspnet.py
python -m jaxseg.main --config configs/pets_pspnet.py:full
python -m jaxseg.main --config configs/pets_pspnet.py:pretrained

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
        {"model.name": "pspnet_resnet50"},
        small={"model.width": 0.25, "optim.lr": 4e-3},
        pretrained={
            "init.pretrained": "resnet50_imagenet",
            "model.stem": "7x7",  # as in the published network
        },
        size=257,
        crop=225,
    )
