"""FCN-32s on PASCAL VOC (Long, Shelhamer, Darrell 2015; journal version 2017), as released.

    python -m jaxseg.main --config configs/fcn32s.py --config.data.root=VOCdevkit/VOC2012 \\
      --config.init.pretrained=VGG_ILSVRC_16_layers.caffemodel --workdir runs/fcn32s

Source: the solver of fcn32s-heavy-pascal. One whole image per step, drawn with replacement from the
8,498 of SBD's training list, no augmentation; loss summed over pixels; momentum 0.99, learning
rate 1e-10 (twice that for biases, without decay), decay 5e-4; 100,000 steps; fixed bilinear
upsampling.

Expected: mean IoU 63.6 on the 736 images of seg11valid (pixel accuracy 90.5); reproduced by others
as 62.8. It needs an ImageNet VGG16: from random weights this rate learns nothing.

Data: VOC 2012, and beside it SBD (benchmark_RELEASE) and VOC 2011's lists. Without those, set
--config.data.train_split=train and --config.data.eval_split=val to use VOC's own lists.

Hardware: one GPU of 12 GB (the authors': a Titan X, about three days with Caffe);
CUDA_VISIBLE_DEVICES selects one of several. Images keep their sizes, and each new size is
compiled once. --config.data.pad_to=64 (which changes the image borders for the first layers) and
--config.eval.pad_to=64 reduce the number of sizes.

Variants:
  :mean   the same step with a mean over pixels (see `jaxseg.config.recipes.fcn_mean`)
  :cvpr   the paper's first solver: batch 20, momentum 0.9, rate 1e-4; 59.4 expected
  :smoke  narrow, on generated scenes, half a minute on two cores
"""

from jaxseg.config.recipes import chosen, fcn_cvpr, fcn_heavy, fcn_mean, fcn_on_scenes


def get_config(variant: str = "heavy"):
    """The recipe."""

    def heavy():
        return fcn_heavy("fcn32s_vgg16", lr=1e-10)

    return chosen(
        variant,
        {
            "heavy": heavy,
            "mean": lambda: fcn_mean(heavy()),
            "cvpr": lambda: fcn_cvpr("fcn32s_vgg16", lr=1e-4, steps=74_375),
            "smoke": lambda: fcn_on_scenes(heavy(), lr=3e-8, steps=120),
        },
    )
