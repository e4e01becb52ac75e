"""DeconvNet on the Oxford-IIIT Pets: 3 classes, 3,680 training images, 3,669 evaluation images.

python -m jaxseg.main --config configs/pets_deconvnet.py
python -m jaxseg.main --config configs/pets_deconvnet.py:full
python -m jaxseg.main --config configs/pets_deconvnet.py:pretrained

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
        {
            "model.name": "deconvnet_vgg16",
            "model.bn_epsilon": 1e-5,
            "model.decoder_init": "smoothing",
        },
        small={
            "model.width": 0.25,
            "model.fc_channels": 2048,  # 512 with this width
            "model.fc_kernel": 1,  # its sums do not depend on the size of the map
            "optim.lr": 4e-3,
        },
        pretrained={
            "init.pretrained": "deconvnet_voc",
            "model.bn_epsilon": 1e-9,  # as in the published network
        },
    )
