"""FCN-8s on PASCAL VOC (Long, Shelhamer, Darrell 2015), as released: it starts from FCN-16s.

    python -m jaxseg.main --config configs/fcn8s.py --config.data.root=VOCdevkit/VOC2012 \\
      --config.init.pretrained=runs/fcn16s --workdir runs/fcn8s

or all stages, FCN-32s, FCN-16s and FCN-8s, each from the previous one, with one command:

    python -m jaxseg.main --config configs/fcn8s.py:staged --config.data.root=VOCdevkit/VOC2012 \\
      --config.init.pretrained=VGG_ILSVRC_16_layers.caffemodel --workdir runs/fcn8s

Source: the solver of fcn8s-heavy-pascal: batch of one whole image, momentum 0.99, loss summed over
pixels, learning rate 1e-14 (twice that for biases, without decay), decay 5e-4, 100,000 steps,
each image drawn from all 8,498 of SBD's training list, no augmentation.

Expected: mean IoU 65.5 on the 736 images of seg11valid (pixel accuracy 91.2), and 67.2 on the VOC
2012 test server; reproduced by others as 65.5. The learning rate assumes pretrained weights: from
random weights it learns nothing.

Data: SBD (benchmark_RELEASE) and VOC2011's lists beside VOC2012. Without them, set
--config.data.train_split=train and --config.data.eval_split=val to use VOC's own lists.

Hardware: as `fcn32s.py`; the authors needed three days for the first stage and about a day for each
later one.

Variants:
  :staged       the three stages above; :staged_mean, :staged_cvpr with the other solvers
  :mean         the same step with a mean over pixels (see `jaxseg.config.recipes.fcn_mean`)
  :cvpr         the paper's first solver, from `fcn16s.py:cvpr`: a hundredth of its rate; 62.7
  :smoke        the three stages, narrow, on generated scenes, a minute on two cores
"""

from jaxseg.config.recipes import chosen, fcn_cvpr, fcn_heavy, fcn_mean, fcn_on_scenes

_RATES = {"fcn32s": 1e-10, "fcn16s": 1e-12, "fcn8s": 1e-14}
_CVPR = {"fcn32s": (1e-4, 74_375), "fcn16s": (1e-6, 25_000), "fcn8s": (1e-8, 25_000)}


def get_config(variant: str = "heavy"):
    """The recipe: one config, or its stages."""

    def heavy(name="fcn8s"):
        return fcn_heavy(f"{name}_vgg16", _RATES[name])

    def mean(name="fcn8s"):
        return fcn_mean(heavy(name))

    def cvpr(name="fcn8s"):
        return fcn_cvpr(f"{name}_vgg16", *_CVPR[name])

    def smoke(name):
        return fcn_on_scenes(heavy(name), lr=300 * _RATES[name], steps=80)

    def stages(make):
        return lambda: [(name, make(name)) for name in _RATES]

    return chosen(
        variant,
        {
            "heavy": heavy,
            "mean": mean,
            "cvpr": cvpr,
            "staged": stages(heavy),
            "staged_mean": stages(mean),
            "staged_cvpr": stages(cvpr),
            "smoke": stages(smoke),
        },
    )
