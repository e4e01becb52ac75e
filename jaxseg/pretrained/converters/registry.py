"""The families of weight files that jaxseg imports, in the order in which they are tried."""

from jaxseg.pretrained.converters.caffe_classifiers import (
    CAFFE_CAFFENET,
    CAFFE_GOOGLENET,
    CAFFE_VGG16,
)
from jaxseg.pretrained.converters.caffe_deconvnet import CAFFE_DECONVNET, CAFFE_DECONVNET_TRAINING
from jaxseg.pretrained.converters.caffe_fcn import CAFFE_FCN, CAFFE_FCN_CVPR
from jaxseg.pretrained.converters.caffe_pspnet import CAFFE_PSPNET
from jaxseg.pretrained.converters.jaxseg import JAXSEG
from jaxseg.pretrained.converters.mmsegmentation import (
    MMSEG,
    MMSEG_769,
    MMSEG_D6,
    MMSEG_D6_769,
    MMSEG_D32,
)
from jaxseg.pretrained.converters.pytorch_fcn import PYTORCH_FCN
from jaxseg.pretrained.converters.pytorch_vgg import (
    PYTORCH_FCN_VGG16,
    TORCHVISION_AMDEGROOT,
    TORCHVISION_VGG16,
    TORCHVISION_VGG16_BN,
)
from jaxseg.pretrained.converters.semseg import SEMSEG_PSPNET, SEMSEG_RESNET
from jaxseg.pretrained.converters.source import Source
from jaxseg.pretrained.converters.torchvision import (
    TORCHVISION_ALEXNET,
    TORCHVISION_FCN,
    TORCHVISION_GOOGLENET,
    TORCHVISION_RESNET,
)

SOURCES: tuple[Source, ...] = (
    JAXSEG,
    CAFFE_FCN,
    CAFFE_FCN_CVPR,
    CAFFE_DECONVNET,
    CAFFE_DECONVNET_TRAINING,
    CAFFE_PSPNET,
    CAFFE_VGG16,
    CAFFE_CAFFENET,
    CAFFE_GOOGLENET,
    TORCHVISION_AMDEGROOT,
    TORCHVISION_VGG16,
    TORCHVISION_VGG16_BN,
    TORCHVISION_FCN,
    TORCHVISION_RESNET,
    TORCHVISION_ALEXNET,
    TORCHVISION_GOOGLENET,
    SEMSEG_PSPNET,
    SEMSEG_RESNET,
    PYTORCH_FCN,
    PYTORCH_FCN_VGG16,  # equal to a torchvision VGG16: selected only by name
    MMSEG,
    MMSEG_769,  # this and the next ones: selected only by name
    MMSEG_D6,
    MMSEG_D6_769,
    MMSEG_D32,
)
