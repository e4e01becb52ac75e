"""Every field of a run's config, with its default and its documentation.

A file in `configs/` calls `default_config()`, changes some fields and returns the result. The
config is locked: unknown fields and values of another type are errors. An int is converted to a
float, and a list to a tuple, if the field has that type. Only optional fields accept None.
"""

import ml_collections
from ml_collections.config_dict import placeholder

from jaxseg.models.registry import network_fields


def default_config() -> ml_collections.ConfigDict:
    """Returns all fields with their defaults.

    A field with the default None is optional; its comment explains the meaning of None.

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
    # Plus the fields of the network, described in its docstring. None: the network's own default.
    # A field that the network does not have is an error
    for field, kinds in network_fields().items():
        if field not in c.model:
            c.model[field] = placeholder(kinds[0] if len(kinds) == 1 else object)

    c.init = ml_collections.ConfigDict()
    # where a new run starts: a file of published weights (.caffemodel, .pth, .safetensors), a
    # folder written by `python -m jaxseg convert`, or another workdir; None: random weights
    c.init.pretrained = placeholder(str)
    c.init.source = placeholder(str)  # project that the file comes from; None: detected
    # logits layers: "keep" the file's, or "reset"; None: reset if the number of classes differs
    c.init.head = placeholder(str)

    c.data = ml_collections.ConfigDict()
    # "scenes" (generated); your own: "folder" (images/, masks/, classes.txt), "voc_folder" (VOC
    # devkit layout), "coco", "labelme", "cvat", "labelstudio", "supervisely", "yolo" (exports of
    # these tools);
    # "voc2012", "ade20k", "cityscapes", "camvid", "pascal_context59",
    # "pascal_context60" (other classes are background); "tfds" (any of tensorflow-datasets); "hf"
    # (any of the Hugging Face Hub, or saved by `datasets`; extra "hf")
    c.data.name = "scenes"
    c.data.root = placeholder(str)  # folder of the data set, if it needs one
    c.data.sbd_root = placeholder(str)  # voc2012: SBD's folder "dataset"; None: beside root
    # channels of the images: 3 (RGB), 1 (grey), or as many bands as the files have
    c.data.channels = 3
    # bits per channel: 8, 16 (16-bit integers), or 32 (floats, or any other values unchanged)
    c.data.bits = 8
    # your own images with bands in separate files: the ends of their names before the extension, in
    # the order of the channels, such as ("_B02", "_B03") for NAME_B02.tif; (): one file per image
    c.data.band_suffixes = ()
    # mean and std of each channel, as printed by `python -m jaxseg check`; None: for 8 and 16 bits
    # the values that the weights expect for photographs
    c.data.mean = placeholder(tuple)
    c.data.std = placeholder(tuple)
    # your own masks: class "indices" and 255 (ignore), "zero_is_void" (0 ignored, classes from 1),
    # "binary" (0, 255)
    c.data.mask_values = "indices"
    # your own masks, and those of tfds: another value, 0..255, to ignore in addition to 255, such
    # as 3, the border of oxford_iiit_pet; None: no other
    c.data.ignore_label = placeholder(int)
    # your own masks: the end of the name before the extension, such as "_mask" for NAME_mask.png
    c.data.mask_suffix = ""
    # your own coloured masks (classes.txt with lines `name r g b`): an unknown colour counts as the
    # nearest one if no channel, 0..255, differs by more than this; above 0, the masks of a "folder"
    # may be JPEGs
    c.data.colour_tolerance = 0
    # an image with an EXIF orientation that rotates it and a mask without one (or the reverse), if
    # their sizes fit either way: "error"; "each" (the mask was drawn on the image as displayed);
    # "both" (drawn on the stored pixels: the mask is rotated with the image)
    c.data.exif = "error"
    c.data.tfds_name = placeholder(str)  # tfds: such as "oxford_iiit_pet"
    c.data.hf_name = placeholder(str)  # hf: "owner/name", or a folder
    c.data.hf_revision = placeholder(str)  # hf: a commit, tag or branch; None: the newest (logged)
    # tfds, hf: feature or column with the image; None: the known one, or "image"
    c.data.image_key = placeholder(str)
    # tfds, hf: with the mask; None: the known one, or "segmentation_mask" (tfds), "label" (hf)
    c.data.mask_key = placeholder(str)
    # tfds, hf, annotations: file with one class per line; None: the known classes (never for hf)
    c.data.classes = placeholder(str)
    # coco, cvat, labelstudio, yolo: annotation file in root, {split} in it stands for the split;
    # None: the one in the folder
    c.data.annotations = placeholder(str)
    # annotations: class of pixels outside all shapes, "background" or "ignore"; None: "background"
    # ("ignore" for panoptic PNGs)
    c.data.unlabelled = placeholder(str)
    # annotations: an image without any is an "error" or "background" (or what `unlabelled` says);
    # None: an error if its file is missing, background if the file lists it without shapes
    c.data.unannotated = placeholder(str)
    # annotations: of two overlapping shapes, the later one in the "file" is on top, or the smaller
    # one ("size"); crowds are below all others
    c.data.overlap = "file"
    # your own data without lists or folders of splits: the shares of train_split, eval_split and,
    # optionally, "test", by a hash of each name; None: 8:2 for annotations
    c.data.split = placeholder(str)
    # such data: K/N, to evaluate on part K of N and train on the other parts
    c.data.fold = placeholder(str)
    # such data: regular expression; names with the same match stay in one split, such as frames of
    # a video; None: every name is separate
    c.data.group = placeholder(str)
    c.data.train_split = "train"  # name of the training split
    c.data.eval_split = "val"  # name of the evaluation split
    c.data.scenes_train = 512  # scenes only: number of training scenes
    c.data.scenes_eval = 64  # scenes only: number of evaluation scenes
    c.data.scenes_size = (96, 96)  # scenes only: (height, width) in pixels
    # training on crops of objects, as DeconvNet: stage 1, "objects" (from the instance masks of VOC
    # and SBD), or stage 2, "boxes" that contain objects; None: whole images
    c.data.crops = placeholder(str)
    # a file of boxes, NAME left top right bottom per line; None: Selective Search, which needs the
    # extra opencv (for scenes: boxes around their shapes)
    c.data.boxes = placeholder(str)
    c.data.sampling = "shuffle"  # training: epochs ("shuffle"), or draws with "replacement"
    c.data.pad_to = placeholder(int)  # whole images: pad batches to multiples of this; None: never
    c.data.on_error = "raise"  # bad training file: "raise" stops the run, "skip" ignores the file
    c.data.skip_limit = 10  # largest number of skipped files; each process counts its own
    c.data.cache = False  # keep decoded images in memory (for photographs 3 + 1 bytes per pixel)
    # threads that decode and augment, per process that does so; None: one per processor that the
    # process may use, at least 2 and at most 16
    c.data.threads = placeholder(int)
    c.data.workers = 0  # worker processes; 0: the threads run in this process
    c.data.prefetch = 4  # batches prepared in advance

    c.augment = ml_collections.ConfigDict()
    c.augment.crop = placeholder(tuple)  # (height, width) in pixels; None: whole images
    c.augment.resize = placeholder(tuple)  # (height, width) to resize to first; None: no resize
    c.augment.scale = (1.0, 1.0)  # uniform range of the random scale
    c.augment.rotation = 0.0  # largest angle in degrees, to either side
    c.augment.rotation_probability = 0.5  # probability of rotating an image
    c.augment.blur = 0.0  # probability of a Gaussian blur of 5×5 pixels
    c.augment.flip = 0.0  # probability of mirroring left and right
    # for images without a fixed up direction (aerial, microscopy): probabilities of a vertical flip
    # and of a rotation by 90, 180 or 270 degrees (needs crop or resize)
    c.augment.vertical_flip = 0.0
    c.augment.quarter_turns = 0.0
    c.augment.noise = 0.0  # largest std of Gaussian noise, as a fraction of the value range
    c.augment.erase = 0.0  # probability of erasing a rectangle from image and label
    # probability of pasting classes of another image, with their labels: a random half of its
    # classes (ClassMix), or the classes listed in mix_classes, from images that contain them, such
    # as rare ones (copy-paste)
    c.augment.mix = 0.0
    c.augment.mix_classes = ()
    # a crop is redrawn, up to nine times, while one class fills more than this share of it
    c.augment.max_class_share = 1.0
    # random colours: largest change of each factor from 1; of the hue in full turns, 0..0.5
    c.augment.brightness = 0.0
    c.augment.contrast = 0.0
    c.augment.saturation = 0.0
    c.augment.hue = 0.0
    c.augment.grayscale = 0.0  # probability of removing all colour
    # "kornia"; "pillow", slower; "opencv", faster, needs the extra: they differ by a few levels
    c.augment.backend = "kornia"
    # apply scale, rotation, blur, crop, flip and colours to the images on the devices, if the host
    # is too slow
    c.augment.on_device = False
    c.augment.padding = "random"  # position of an image smaller than the crop: or "centre"

    c.train = ml_collections.ConfigDict()
    c.train.steps = 1000  # optimizer steps of the whole run
    # length in passes over the training images, such as 80.0; None: train.steps sets the length
    c.train.epochs = placeholder(float)
    # stop after this many evaluations without a better mean IoU; needs eval.every_steps; None: no
    c.train.patience = placeholder(int)
    # a new run plans as many steps as fit into this many minutes, at most train.steps, and its
    # schedules end with them; each start stops and evaluates when the time is up; None: no limit
    c.train.max_minutes = placeholder(float)
    # images per step, over all devices and processes; 0: per device, the largest power of two
    # whose step fits in memory
    c.train.batch_size = 8
    # a step processes its batch in this many parts, one after the other, to save memory; batch norm
    # uses one part at a time. Each part has batch_size / accumulate images
    c.train.accumulate = 1
    # devices that share the rows of an image, for images too large for one; 1: no sharing
    c.train.space = 1
    c.train.fsdp = 1  # devices that share one copy of parameters and optimizer state; 1: no sharing

    c.loss = ml_collections.ConfigDict()
    # loss of each head: "cross_entropy", "focal", "ohem", "dice", "lovasz" (Lovász-softmax), or a
    # sum such as "cross_entropy+dice"
    c.loss.name = "cross_entropy"
    # cross_entropy, focal: "mean" over labelled pixels, or their "sum" divided by the batch size
    c.loss.reduction = "mean"
    c.loss.smoothing = 0.0  # cross_entropy, ohem: share of the target spread over all classes
    c.loss.gamma = 2.0  # focal: exponent of 1 - probability
    c.loss.threshold = 0.7  # ohem: pixels with a lower probability are hard,
    c.loss.share = 0.1  # and so is this share of the labelled pixels, those of lowest probability
    # weight of each class; None: all 1. Or computed from the training masks: "auto" (median
    # frequency, as SegNet), "enet" (ENet's, milder), "sqrt" (square root of "auto")
    c.loss.class_weights = placeholder(object)

    c.optim = ml_collections.ConfigDict()
    c.optim.name = "sgd"  # "sgd" (momentum) or "adamw"
    c.optim.lr = 0.01  # peak learning rate
    # multiplied by the warm-up ramp: "constant", "poly" or "cosine" (both end at 0), or "step"
    c.optim.schedule = "constant"
    c.optim.power = 0.9  # exponent of "poly": lr * (1 - step / steps) ** power
    c.optim.boundaries = ()  # "step": the steps at which lr is multiplied by factor
    c.optim.factor = 0.1  # "step" only
    c.optim.warmup_steps = 0  # steps of linear warm-up from 0
    c.optim.momentum = 0.9  # sgd only
    c.optim.momentum_form = "caffe"  # sgd: lr applied before momentum, or after it ("pytorch")
    c.optim.weight_decay = 0.0  # of every parameter, unless a rule scales it
    c.optim.clip_norm = placeholder(float)  # largest global norm of the gradient; None: no limit
    # (pattern, lr multiplier, decay multiplier): the first pattern that matches in a parameter's
    # path ("params/conv1_1/kernel") applies; without a match the multipliers are (1, 1)
    c.optim.rules = ()
    # patterns of frozen parameters, as by a rule with lr multiplier 0; the running statistics of
    # batch norm are still updated
    c.optim.freeze = ()
    # decay of a moving average of parameters and statistics, such as 0.999; the average is
    # evaluated, selected as best and exported; None: no average
    c.optim.ema = placeholder(float)

    c.eval = ml_collections.ConfigDict()
    c.eval.every_steps = placeholder(int)  # steps between evaluations; None: only at the end
    # images (sliding: windows) per batch; None: train.batch_size / train.accumulate (4)
    c.eval.batch_size = placeholder(int)
    c.eval.input_size = placeholder(tuple)  # (height, width) to resize to; None: native size
    # (long, short): scale the image to the largest size whose sides are not longer than these
    # (mmsegmentation's keep_ratio); None: no scaling
    c.eval.fit = placeholder(tuple)
    c.eval.pad_to = placeholder(int)  # pad images to multiples of this, so that few shapes are
    # compiled; the logits do not change; None: no padding
    # metrics always use the full resolution of the labels
    # the network on the "whole" image, in "sliding" windows (PSPNet), or in windows around object
    # proposals ("instances": DeconvNet)
    c.eval.protocol = "whole"
    # sliding, instances: (height, width) of the windows, as in training
    c.eval.crop = placeholder(tuple)
    c.eval.base_size = placeholder(int)  # sliding: long side at scale 1; None: that of the image
    c.eval.scales = (1.0,)  # sliding: scales whose probabilities are averaged
    c.eval.flip = False  # sliding: also evaluate each window mirrored
    c.eval.fusion = "semseg"  # sliding: details of PSPNet's "semseg" release, or its "caffe" one
    c.eval.windows = 50  # instances: largest number of windows
    c.eval.min_side = 112  # instances: smallest shorter side of a window, in pixels
    c.eval.overlap = "max"  # instances: combine the logits of windows by "max" or "mean"
    # instances: a file of boxes, NAME left top right bottom per line, best first for each image;
    # None: Selective Search, which needs the extra opencv
    c.eval.boxes = placeholder(str)
    # another network to combine with this one: a workdir, or a folder written by
    # `python -m jaxseg convert`. It processes images as in its own run, or whole
    c.eval.ensemble = placeholder(str)
    c.eval.ensemble_rule = "mean"  # ensemble: "mean" of probabilities, or "product" of logits
    # a final dense CRF, with the parameters of "deconvnet" or "densecrf" (those of its authors);
    # it takes seconds per image, on the CPU
    c.eval.crf = placeholder(str)
    # IoU of a class in neither truth nor prediction: "nan" (left out), "zero" or "one"
    c.eval.absent = "nan"
    c.eval.boundary = False  # also compute boundary IoU

    c.checkpoint = ml_collections.ConfigDict()
    # folder for the checkpoints and a copy of the config: an absolute path, or gs://BUCKET/PATH
    # (extra "gcs"); None: checkpoints/ in the workdir
    c.checkpoint.folder = placeholder(str)
    c.checkpoint.every_steps = placeholder(
        int
    )  # None: ten times per run; the last step is always saved
    c.checkpoint.keep_last = 2  # number of newest checkpoints kept, in case the last is damaged
    c.checkpoint.keep_best = 1  # number of best checkpoints by mean IoU kept in addition

    c.log = ml_collections.ConfigDict()
    c.log.every_steps = 20  # steps between lines in metrics.jsonl and points in the loggers
    c.log.pictures = 4  # number of images shown at each evaluation
    # "N..M": steps to trace into profile/ in the workdir, for XProf or TensorBoard; None: no trace
    c.log.profile = placeholder(str)
    c.log.wandb = placeholder(str)  # project at Weights & Biases (extra "wandb"); None: not used
    c.log.mlflow = placeholder(str)  # experiment at MLflow (extra "mlflow"); None: not used
    c.log.trackio = placeholder(str)  # project of Trackio (extra "trackio"); None: not used
    return c.lock()
