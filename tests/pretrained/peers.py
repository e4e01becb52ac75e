"""Imports packages whose networks some tests use as a reference, or skips the test.

The packages are large and needed only here, so no extra of jaxseg installs them. In a separate
environment (Python 3.11, half a gigabyte in addition to PyTorch and jaxseg):

    pip install torch==2.13.0 -e '.[test]'
    pip install --no-deps torchvision==0.28.0
    pip install --no-deps mmengine==0.10.7 mmcv-lite==2.1.0 mmsegmentation==1.2.2
    pip install addict yapf termcolor rich pyyaml prettytable ftfy regex scipy matplotlib
    pip install opencv-python-headless
    pytest -m 'slow or not slow' tests/pretrained
"""

import importlib.machinery
import importlib.util
import sys
import types

import pytest

torch = pytest.importorskip("torch", reason="compares with PyTorch: pip install '.[torch]'")

_operators = []  # torch.library removes the operators when their library is deleted


def torchvision():
    """Returns torchvision with its models; else skips."""
    try:
        import torchvision.models
    except ImportError:
        pytest.skip("compares with torchvision, see tests/pretrained/peers.py")
    except RuntimeError:  # a CUDA build lacks its operators with PyTorch for CPU
        _declare_operators()
        import torchvision.models
    return torchvision


def mmseg():
    """Makes `import mmseg` possible; else skips."""
    if importlib.util.find_spec("mmseg") is None:
        pytest.skip("compares with mmsegmentation, see tests/pretrained/peers.py")
    torchvision()  # some of its networks import it
    if "mmcv.ops" not in sys.modules:
        sys.modules["mmcv.ops"] = _Operators("mmcv.ops")


def _declare_operators():
    """Declares detection operators by name; they are never called."""
    for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
        del sys.modules[name]
    library = torch.library.Library("torchvision", "FRAGMENT")
    library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    library.define(
        "roi_align(Tensor input, Tensor rois, float spatial_scale, int pooled_height, "
        "int pooled_width, int sampling_ratio, bool aligned) -> Tensor"
    )
    _operators.append(library)


class _Operators(types.ModuleType):
    """Replaces mmcv's compiled operators, missing in its light edition; they are never called."""

    def __init__(self, name):
        super().__init__(name)
        self.__spec__ = importlib.machinery.ModuleSpec(name, None)
        self.__path__ = []

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (torch.nn.Module,), {})
