"""Files of PyTorch networks: random weights, the published formats, comparison with jaxseg."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxseg
from jaxseg.pretrained.converters.source import Keep
from jaxseg.pretrained.fill import find_source
from jaxseg.pretrained.tensor_file import TensorFile

torch = pytest.importorskip("torch", reason="compares with PyTorch: pip install '.[torch]'")

SIZES = (57, 41), (35, 66)
MEAN, STD = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])
BGR_MEAN = np.float32([104.00698793, 116.66876762, 122.67891434])


def randomized(module, seed=0):
    """Gives `module` weights in which nothing is 0, 1 or symmetric; in evaluation mode."""
    rng = np.random.default_rng(seed)
    state = module.state_dict()
    for name, tensor in state.items():
        shape = tuple(tensor.shape)
        noise = rng.standard_normal(shape, np.float32)
        if name.endswith("num_batches_tracked"):
            state[name] = torch.tensor(1234)
        elif len(shape) > 1:
            state[name] = torch.tensor(noise * np.sqrt(2 / np.prod(shape[1:]), dtype=np.float32))
        elif name.endswith(("weight", "running_var")):
            state[name] = torch.tensor(0.5 + np.abs(noise))
        else:
            state[name] = torch.tensor(0.2 * noise)
    module.load_state_dict(state)
    return module.eval()


def save(path, state, kind="zip"):
    """Writes `state` as it is published: in the container and with the keys of `kind`.

    "checkpoint": as semseg's training writes it, from several devices. "mmengine": as
    mmsegmentation does.
    """
    if kind == "safetensors":
        from safetensors.torch import save_file

        save_file({name: tensor.contiguous() for name, tensor in state.items()}, path)
    elif kind == "legacy":
        torch.save(state, path, _use_new_zipfile_serialization=False)
    elif kind == "checkpoint":
        spread = {f"module.{name}": tensor for name, tensor in state.items()}
        layer = torch.nn.Linear(2, 3)
        optimizer = torch.optim.SGD(layer.parameters(), lr=0.01, momentum=0.9)
        layer(torch.ones(1, 2)).sum().backward()
        optimizer.step()
        optimizer = optimizer.state_dict()
        torch.save({"epoch": 100, "state_dict": spread, "optimizer": optimizer}, path)
    elif kind == "mmengine":
        meta = {"CLASSES": ("road", "car"), "PALETTE": [[1, 2, 3]], "config": "model = dict()"}
        torch.save({"meta": meta, "state_dict": state}, path)
    else:
        torch.save(state, path)
    return path


def photographs(size, n=1, seed=0):
    """Noise: uint8 [n, H, W, 3], RGB."""
    return np.random.default_rng(seed).integers(0, 256, (n, *size, 3), np.uint8)


def standardized(rgb):
    """Normalizes photographs like torchvision, semseg and mmsegmentation: [N, 3, H, W]."""
    return _to_torch((rgb / np.float32(255) - MEAN) / STD)


def caffe_like(rgb):
    """Normalizes photographs like pytorch-fcn: BGR, the mean subtracted."""
    return _to_torch(rgb[..., ::-1].astype(np.float32) - BGR_MEAN)


def _to_torch(x):
    return torch.tensor(np.ascontiguousarray(x.transpose(0, 3, 1, 2)))


def assert_close(got, want, tolerance=1e-4):
    """Checks that no value differs by more than `tolerance` times the largest.

    `want` is [N, C, H, W].
    """
    want = want.detach().permute(0, 2, 3, 1).numpy()
    assert got.shape == want.shape
    largest = np.abs(want).max()
    assert np.isfinite(want).all() and want.std() > 1e-3 * largest > 0
    np.testing.assert_allclose(got, want, rtol=0, atol=tolerance * largest)


def assert_same_logits(model, variables, forward, prepare=standardized, sizes=SIZES):
    """Compares the logits of photographs with `forward` on the result of `prepare`."""
    apply = jax.jit(model.apply)
    for seed, size in enumerate(sizes):
        rgb = photographs(size, seed=seed)
        with torch.no_grad():
            want = forward(prepare(rgb))
        assert_close(apply(variables, jaxseg.normalize(rgb, model.preprocessing)), want)


def on_meta(make, *args, **fields):
    """A network with names and shapes only."""
    with torch.device("meta"):
        return make(*args, **fields)


def shapes(module):
    """Names and shapes of a network's tensors."""
    return {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}


class FullSize:
    """Compares names and shapes of a published file with those of its network.

    Attributes:
      source: name of the file's family.
      fit: the network that the file fits.
      kept: parameters that keep their initial values.
      unused: tensors of the file that are not used; each has a reason.
    """

    def __init__(self, shapes, source=None):
        tensors = {n: np.broadcast_to(np.float32(0.5), shape) for n, shape in shapes.items()}
        file = TensorFile(pathlib.Path("full.pth"), "torch", tensors)
        family = find_source(file, source)
        self.source, self.fit = family.name, family.fits(file)[0]
        self.model = model = self.fit.create()
        image = jax.ShapeDtypeStruct((1, 224, 224, 3), jnp.float32)
        variables = jax.eval_shape(model.init, jax.random.key(0), image)
        self.kept, used = set(), set()
        for path, leaf in jax.tree_util.tree_leaves_with_path(variables):
            name = "/".join(key.key for key in path)
            take = family.take(file, model, name)
            if isinstance(take, Keep):
                self.kept.add(name)
            else:
                value = take.convert(*(tensors[n] for n in take.names))
                assert value.shape == leaf.shape, name
                used.update(take.names)
        self.unused = set(tensors) - used
        for name in self.unused:
            assert family.unused(file, model, name), name
