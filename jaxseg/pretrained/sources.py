"""The families of files that jaxseg imports, in the order in which they are recognised."""

from jaxseg.pretrained.caffe_classifiers import CAFFE_CAFFENET, CAFFE_GOOGLENET, CAFFE_VGG16
from jaxseg.pretrained.caffe_deconvnet import CAFFE_DECONVNET, CAFFE_DECONVNET_TRAINING
from jaxseg.pretrained.caffe_fcn import CAFFE_FCN, CAFFE_FCN_CVPR
from jaxseg.pretrained.caffe_pspnet import CAFFE_PSPNET
from jaxseg.pretrained.source import Source

SOURCES: tuple[Source, ...] = (
    CAFFE_FCN,
    CAFFE_FCN_CVPR,
    CAFFE_DECONVNET,
    CAFFE_DECONVNET_TRAINING,
    CAFFE_PSPNET,
    CAFFE_VGG16,
    CAFFE_CAFFENET,
    CAFFE_GOOGLENET,
)
