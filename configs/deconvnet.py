"""DeconvNet on PASCAL VOC (Noh, Hong, Han 2015): both stages with one command.

    python -m jaxseg.main --config configs/deconvnet.py --config.data.root=VOCdevkit/VOC2012 \\
      --config.stage_2.data.boxes=boxes.txt \\
      --config.init.pretrained=VGG_ILSVRC_16_layers_conv.caffemodel --workdir runs/deconvnet

Source: section 4 of the paper, and its released solvers. Stage 1 trains on crops of single objects,
enlarged 1.2 times, with everything else as background. Stage 2 trains on object proposals with
all classes; those of rare classes are repeated. Both are resized to 250×250, cropped to 224×224
and mirrored. A step has 64 crops, in eight parts of 8 for batch norm; SGD with momentum 0.9,
learning rate 0.01 (twice that for convolution biases, without decay), decay 5e-4. Stage 1: 20,000
steps, the rate divided by ten at 9,000 and 18,000; stage 2: 40,000 steps, at 10,000, 20,000 and
30,000. Stage 2 starts from the weights of stage 1, with the full rate again.

Expected: mean IoU 69.6 on the VOC 2012 test server with 50 proposals per image, 70.5 with a CRF
(72.5 with CRF and FCN-8s), trained on trainval with SBD's labels. This recipe evaluates on VOC's
val: whole images resized to 224×224, which scores lower than proposals.

The released network normalises with an average over 501 batches, computed after training. Here the
running statistics, with momentum 0.99 for each part, approximate it.

Data: VOC 2012, and beside it SBD (benchmark_RELEASE), whose object masks stage 1 uses. The authors'
proposals are EdgeBoxes; --config.stage_2.data.boxes=FILE reads them, `NAME left top right bottom`
per line. Without a file, Selective Search computes them (extra opencv).

Hardware: one GPU of 12 GB (the authors': a Titan X, six days).

Variants:
  :stage_1  only stage 1
  :stage_2  only stage 2: give --config.init.pretrained=WORKDIR of stage 1
  :smoke    both, narrow, on generated scenes, a minute on two cores
"""

from jaxseg.config import default_config
from jaxseg.config.recipes import chosen, on_scenes

_STAGES = {  # crops, steps, steps at which the learning rate falls
    "stage_1": ("objects", 20_000, (9_000, 18_000)),
    "stage_2": ("boxes", 40_000, (10_000, 20_000, 30_000)),
}


def get_config(variant: str = "both"):
    """The recipe: the stages, or the config of one."""

    def stage(name):
        c = default_config()
        c.model.name = "deconvnet_vgg16"
        c.model.bn_momentum = 0.99
        c.data.name = "voc2012"
        c.data.train_split = "train_aug"
        c.data.eval_split = "val"
        c.data.crops, c.train.steps, c.optim.boundaries = _STAGES[name]
        c.augment.resize = (250, 250)
        c.augment.crop = (224, 224)
        c.augment.flip = 0.5
        c.train.batch_size = 64
        c.train.accumulate = 8
        c.optim.name = "sgd"
        c.optim.lr = 0.01
        c.optim.schedule = "step"
        c.optim.factor = 0.1
        c.optim.momentum = 0.9
        c.optim.weight_decay = 5e-4
        c.optim.rules = (("/bn/", 1.0, 1.0), ("/bias$", 2.0, 0.0))
        c.eval.input_size = (224, 224)
        c.eval.every_steps = 5000
        return c

    def smoke(name):
        c = on_scenes(stage(name), steps=30, size=(64, 64))
        c.model.width = 0.1
        c.model.fc_channels = 1024
        c.model.fc_kernel = 1  # 7 needs crops of at least 224
        c.model.bn_momentum = 0.9  # lower because of the few steps
        # the published values of these two do not work from random weights
        c.model.bn_epsilon, c.model.decoder_init = 1e-5, "he"
        c.augment.resize, c.augment.crop = (36, 36), (32, 32)
        c.train.batch_size, c.train.accumulate = 16, 4
        c.optim.lr = 0.05
        c.optim.boundaries = (20,)
        c.eval.input_size = (32, 32)
        return c

    return chosen(
        variant,
        {
            "both": lambda: [(name, stage(name)) for name in _STAGES],
            "stage_1": lambda: stage("stage_1"),
            "stage_2": lambda: stage("stage_2"),
            "smoke": lambda: [(name, smoke(name)) for name in _STAGES],
        },
    )
