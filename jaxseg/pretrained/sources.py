"""The families of files that jaxseg imports, in the order in which they are recognised."""

from jaxseg.pretrained.caffe_fcn import CAFFE_FCN, CAFFE_FCN_CVPR
from jaxseg.pretrained.source import Source

SOURCES: tuple[Source, ...] = (CAFFE_FCN, CAFFE_FCN_CVPR)
