"""Every field of a run's configuration, with its default: the one place where they are documented.

A file in `configs/` calls `default_config()`, changes what it needs and returns it. The result is
locked: a field that is not listed here cannot be set, and a value of another type is refused. An
int becomes a float, and a list a tuple, where the field has that type; only an optional field takes
None.
"""

import ml_collections
from ml_collections.config_dict import placeholder

from jaxseg.models.registry import network_fields


def default_config() -> ml_collections.ConfigDict:
    """All fields with their defaults.

    A field whose default is None is optional; its comment says what None means.

    >>> default_config().optim.momentum
    0.9
    """
    c = ml_collections.ConfigDict()
    c.seed = 0  # seeds initialisation, dropout, shuffling and augmentation

    c.model = ml_collections.ConfigDict()
    c.model.name = "fcn8s_vgg16"  # one of jaxseg.list_models()
    c.model.num_classes = placeholder(int)  # None: as many as the data set has
    c.model.width = 1.0  # multiplies the channels of every hidden layer
    c.model.dtype = "float32"  # or "bfloat16", of the computation; parameters stay float32
    # And the fields of the network, which its docstring describes. Left at None, a field has the
    # network's own default; one that the network lacks is refused
    for field, kinds in network_fields().items():
        if field not in c.model:
            c.model[field] = placeholder(kinds[0] if len(kinds) == 1 else object)

    c.init = ml_collections.ConfigDict()
    # The start of a new run: a file of published weights (.caffemodel, .pth, .safetensors), a
    # folder that `python -m jaxseg convert` wrote, or another run's workdir; None: random numbers
    c.init.pretrained = placeholder(str)
    c.init.source = placeholder(str)  # whose names the file has; None: told from the names
    # Scores: "keep" the file's, or "reset"; None: reset if they are of another number of classes
    c.init.head = placeholder(str)

    c.data = ml_collections.ConfigDict()
    # "scenes" (generated); your own: "folder" (images/, masks/, classes.txt), "voc_folder" (VOC
    # devkit layout), "coco", "labelme", "cvat", "labelstudio", "supervisely", "yolo" (as these
    # tools export);
    # "voc2012", "ade20k", "cityscapes", "camvid", "pascal_context59",
    # "pascal_context60" (others are background); "tfds" (any of tensorflow-datasets); "hf" (any of
    # the Hugging Face Hub, or saved by `datasets`; extra "hf")
    c.data.name = "scenes"
    c.data.root = placeholder(str)  # folder of the data set, where it needs one
    c.data.sbd_root = placeholder(str)  # voc2012: SBD's folder "dataset"; None: beside root
    # channels of the images: 3 (RGB), 1 (grey), or as many bands as the files have
    c.data.channels = 3
    # bits of each: 8, 16 (integers of 16 bits), or 32 (floats, and all else as it is stored)
    c.data.bits = 8
    # your own images whose bands are separate files: the ends of their names before the suffix, in
    # the order of the channels, such as ("_B02", "_B03") of NAME_B02.tif; (): a file holds them all
    c.data.band_suffixes = ()
    # mean and std of each channel, as `python -m jaxseg check` prints them; None: of 8 and 16 bits
    # those that the weights expect of photographs
    c.data.mean = placeholder(tuple)
    c.data.std = placeholder(tuple)
    # your own masks: class "indices" and 255 (ignore), "zero_is_void" (0 ignored, classes from 1),
    # "binary" (0, 255)
    c.data.mask_values = "indices"
    # your own masks, and those of tfds: another value, 0..255, that is ignored as 255 is, such as
    # 3, the border of oxford_iiit_pet; None: no other
    c.data.ignore_label = placeholder(int)
    # your own masks: the end of their names before the suffix, such as "_mask" of NAME_mask.png
    c.data.mask_suffix = ""
    # your own masks in colours (classes.txt with lines `name r g b`): a colour of no class counts
    # as the nearest one where no channel, 0..255, differs by more; above 0, masks may be JPEGs
    c.data.colour_tolerance = 0
    # a photo with an EXIF orientation that turns it and a mask without one (or the reverse), where
    # their sizes fit either way: "error"; "each" (the mask was drawn on the photo as it is shown);
    # "both" (on the pixels as they are stored: the mask is turned with the photo)
    c.data.exif = "error"
    c.data.tfds_name = placeholder(str)  # tfds: such as "oxford_iiit_pet"
    c.data.hf_name = placeholder(str)  # hf: "owner/name", or a folder
    c.data.hf_revision = placeholder(str)  # hf: a commit, tag or branch; None: the newest, told
    # tfds, hf: feature or column that is the image; None: as known, "image"
    c.data.image_key = placeholder(str)
    # tfds, hf: of the mask; None: as known, "segmentation_mask" of tfds and "label" of hf
    c.data.mask_key = placeholder(str)
    # tfds, hf, annotations: file, one class a line; None: as known, which hf never is
    c.data.classes = placeholder(str)
    # coco, cvat, labelstudio, yolo: file of annotations in root, {split} in it stands for the
    # split's name; None: the one that is there
    c.data.annotations = placeholder(str)
    # annotations: class of the pixels that no shape covers, "background" or "ignore"; None:
    # "background"
    c.data.unlabelled = placeholder(str)
    # annotations: an image without any, "error" or "background" (that is, as `unlabelled` says);
    # None: an image without a file is an error, one that a file has without shapes is background
    c.data.unannotated = placeholder(str)
    # annotations: of two shapes that overlap, the later in the "file" is seen, or the smaller
    # ("size"); crowds are below all others
    c.data.overlap = "file"
    # your own data without lists or folders of splits: the shares of train_split, eval_split and,
    # if there is a third, "test", by a hash of each name; None: 8:2 for annotations
    c.data.split = placeholder(str)
    # such data: K/N, to score part K of N parts and train on the others
    c.data.fold = placeholder(str)
    # such data: regular expression; names in which it finds the same stay together, as frames of a
    # video should; None: each name for itself
    c.data.group = placeholder(str)
    c.data.train_split = "train"  # name of the list to train on
    c.data.eval_split = "val"  # name of the list to score on
    c.data.scenes_train = 512  # scenes only: how many to train on
    c.data.scenes_eval = 64  # scenes only: how many to score on
    c.data.scenes_size = (96, 96)  # scenes only: (height, width) in pixels
    # training on cut-outs, as DeconvNet does: its stage 1, "objects" (numbered by the masks of VOC
    # and SBD), or stage 2, "boxes" with objects in them; None: whole images
    c.data.crops = placeholder(str)
    # a file of boxes, NAME left top right bottom a line; None: proposed by Selective Search, which
    # needs the extra opencv (of scenes: about their shapes)
    c.data.boxes = placeholder(str)
    c.data.sampling = "shuffle"  # training: epochs ("shuffle"), or drawn from all ("replacement")
    c.data.pad_to = placeholder(int)  # whole images: pad batches to multiples of this; None: never
    c.data.on_error = "raise"  # a training file that is bad: "raise" ends the run, "skip" does not
    c.data.skip_limit = 10  # how many bad files a run survives; each process counts its own
    c.data.cache = False  # keep decoded images in memory (of photographs 3 + 1 bytes a pixel)
    # threads that decode and augment, in each process that does; None: one for each processor that
    # the process may use, at least 2 and at most 16
    c.data.threads = placeholder(int)
    c.data.workers = 0  # worker processes; 0: the threads run in this process
    c.data.prefetch = 4  # batches prepared ahead

    c.augment = ml_collections.ConfigDict()
    c.augment.crop = placeholder(tuple)  # (height, width) in pixels; None: whole images
    c.augment.resize = placeholder(tuple)  # (height, width) each image gets first; None: its own
    c.augment.scale = (1.0, 1.0)  # uniform range of the random scale
    c.augment.rotation = 0.0  # largest angle in degrees, to either side
    c.augment.rotation_probability = 0.5  # how often an image is rotated at all
    c.augment.blur = 0.0  # probability of a Gaussian blur of 5×5 pixels
    c.augment.flip = 0.0  # probability of mirroring left and right
    # for images without an up, from above or through a microscope: the probabilities of a flip of
    # top and bottom, and of a turn by 90, 180 or 270 degrees (with crop or resize)
    c.augment.vertical_flip = 0.0
    c.augment.quarter_turns = 0.0
    c.augment.noise = 0.0  # largest std of Gaussian noise, as a share of the range of values
    c.augment.erase = 0.0  # probability that a rectangle is erased, from image and label
    # probability that classes of another image are laid over one, with their labels: half of the
    # other's, drawn anew each time (ClassMix); or those named, from images that have them, such as
    # rare ones (copy-paste)
    c.augment.mix = 0.0
    c.augment.mix_classes = ()
    # a crop is drawn again, up to nine times, while one class fills more than this share of it
    c.augment.max_class_share = 1.0
    # random colours: the largest change of the factor 1 of each, of the hue in turns, 0..0.5
    c.augment.brightness = 0.0
    c.augment.contrast = 0.0
    c.augment.saturation = 0.0
    c.augment.hue = 0.0
    c.augment.grayscale = 0.0  # probability of an image without colours
    c.augment.backend = "pillow"  # or "opencv": faster, needs the extra, other by a few levels
    c.augment.padding = "random"  # place of an image smaller than the crop: "random" or "centre"

    c.train = ml_collections.ConfigDict()
    c.train.steps = 1000  # optimiser steps of the whole run
    # the length in passes over the training images, such as 80.0; None: train.steps says
    c.train.epochs = placeholder(float)
    # stop after so many evaluations without a better mean IoU; needs eval.every_steps; None: never
    c.train.patience = placeholder(int)
    # a new run takes as many steps, up to train.steps, as it can within so many minutes, and its
    # schedules end with them; each start of a run ends, scored, when they are over; None: no limit
    c.train.max_minutes = placeholder(float)
    # images a step, over all devices and processes; 0: the largest power of two for each device
    # whose step fits its memory
    c.train.batch_size = 8
    # a step works through its batch in so many parts, one after the other: less memory; batch norm
    # sees a part at a time. Each has batch_size / accumulate images
    c.train.accumulate = 1
    # devices that share the rows of an image, for images too large for one; 1: each has whole ones
    c.train.space = 1
    c.train.fsdp = 1  # devices that share a copy of parameters and optimiser state; 1: each has one

    c.loss = ml_collections.ConfigDict()
    # of each head: "cross_entropy", "focal", "ohem", "dice", "lovasz" (its softmax form), or a sum
    # such as "cross_entropy+dice"
    c.loss.name = "cross_entropy"
    # cross_entropy, focal: "mean" over labelled pixels, or their "sum" divided by the batch size
    c.loss.reduction = "mean"
    c.loss.smoothing = 0.0  # cross_entropy, ohem: share of the target spread over all classes
    c.loss.gamma = 2.0  # focal: exponent of 1 - probability
    c.loss.threshold = 0.7  # ohem: a pixel of less probability is hard,
    c.loss.share = 0.1  # and so is this share of the labelled pixels, those of the least
    # weight of a pixel of each class; None: 1 each. Or counted in the training masks: "auto"
    # (median frequency, as SegNet), "enet" (ENet's, milder), "sqrt" (the root of "auto")
    c.loss.class_weights = placeholder(object)

    c.optim = ml_collections.ConfigDict()
    c.optim.name = "sgd"  # "sgd" (momentum) or "adamw"
    c.optim.lr = 0.01  # peak learning rate
    # multiplied by the warm-up's ramp: "constant", "poly" or "cosine" (both end at 0), or "step"
    c.optim.schedule = "constant"
    c.optim.power = 0.9  # exponent of "poly": lr * (1 - step / steps) ** power
    c.optim.boundaries = ()  # "step": after so many steps each, lr is multiplied by factor
    c.optim.factor = 0.1  # "step" only
    c.optim.warmup_steps = 0  # steps of linear warm-up from 0
    c.optim.momentum = 0.9  # sgd only
    c.optim.momentum_form = "caffe"  # sgd: lr enters before the momentum, or after ("pytorch")
    c.optim.weight_decay = 0.0  # of every parameter, unless a rule scales it
    c.optim.clip_norm = placeholder(float)  # largest global norm of the gradient; None: any
    # (pattern, lr multiplier, decay multiplier): the first pattern found in a parameter's path
    # ("params/conv1_1/kernel") decides; a parameter that no pattern finds has (1, 1)
    c.optim.rules = ()
    # patterns of parameters that stay as they are, as those of a rule with the lr multiplier 0 do;
    # batch norm's running statistics still follow the data
    c.optim.freeze = ()
    # decay of a moving average of parameters and statistics, such as 0.999: the network that
    # is evaluated, chosen as best and exported; None: the parameters themselves
    c.optim.ema = placeholder(float)

    c.eval = ml_collections.ConfigDict()
    c.eval.every_steps = placeholder(int)  # steps between evaluations; None: only at the end
    # images (of sliding: windows) at a time; None: train.batch_size / train.accumulate (4)
    c.eval.batch_size = placeholder(int)
    c.eval.input_size = placeholder(tuple)  # (height, width) the image is resized to; None: native
    # (long, short): the image is scaled until its longer side is at most the one, its shorter side
    # at most the other, and one of them is equal (mmsegmentation's keep_ratio); None: it is not
    c.eval.fit = placeholder(tuple)
    c.eval.pad_to = placeholder(int)  # multiples that images are filled up to, so that few
    # shapes are compiled; no logit changes; None: each image's own size
    # scores always count the labels' own pixels, whatever size the network sees
    # the network on the "whole" image, "sliding" over it (PSPNet), or on windows about proposed
    # objects ("instances": DeconvNet)
    c.eval.protocol = "whole"
    # sliding, instances: (height, width) of the windows, as in training
    c.eval.crop = placeholder(tuple)
    c.eval.base_size = placeholder(int)  # sliding: long side at scale 1; None: the image's own
    c.eval.scales = (1.0,)  # sliding: over whose results probabilities are averaged
    c.eval.flip = False  # sliding: each window is seen in a mirror, too
    c.eval.fusion = "semseg"  # sliding: details as in PSPNet's "semseg" release, or its "caffe" one
    c.eval.windows = 50  # instances: so many at most
    c.eval.min_side = 112  # instances: pixels of the shorter side that a window has at least
    c.eval.overlap = "max"  # instances: of the windows' logits, "max" or "mean"
    # instances: a file of boxes, NAME left top right bottom a line, an image's best first; None:
    # proposed by Selective Search, which needs the extra opencv
    c.eval.boxes = placeholder(str)
    # another network, whose predictions are joined with this one's: a run's workdir, or a folder
    # that `python -m jaxseg convert` wrote. It sees images as in its own run, or whole
    c.eval.ensemble = placeholder(str)
    c.eval.ensemble_rule = "mean"  # ensemble: "mean" of probabilities, or "product" of logits
    # a dense CRF at the end, with the parameters of "deconvnet" or "densecrf" (its authors' own);
    # it takes seconds an image, on the CPU
    c.eval.crf = placeholder(str)
    # value of a class that is in neither truth nor prediction: "nan" (nothing), "zero" or "one"
    c.eval.absent = "nan"
    c.eval.boundary = False  # boundary IoU as well

    c.checkpoint = ml_collections.ConfigDict()
    # where the checkpoints and a copy of the config go: an absolute path, or gs://BUCKET/PATH
    # (extra "gcs"); None: the workdir's checkpoints/
    c.checkpoint.folder = placeholder(str)
    c.checkpoint.every_steps = placeholder(
        int
    )  # None: ten times a run; the last step is always saved
    c.checkpoint.keep_last = 2  # newest checkpoints kept: one more, lest the last be damaged
    c.checkpoint.keep_best = 1  # best by mean IoU kept, besides

    c.log = ml_collections.ConfigDict()
    c.log.every_steps = 20  # a line in metrics.jsonl and a point in the loggers this often
    c.log.pictures = 4  # evaluation images in the picture at each evaluation
    # "N..M": steps whose trace goes to the workdir's profile/, for XProf or TensorBoard; None: none
    c.log.profile = placeholder(str)
    c.log.wandb = placeholder(str)  # project at Weights & Biases (extra "wandb"); None: not there
    c.log.mlflow = placeholder(str)  # experiment at MLflow (extra "mlflow"); None: not there
    c.log.trackio = placeholder(str)  # project of Trackio (extra "trackio"); None: not there
    return c.lock()
