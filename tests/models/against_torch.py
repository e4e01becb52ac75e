"""Comparison of a network with an independent one in PyTorch."""

import jax
import numpy as np
import pytest
from base import close, images, labels

from jaxseg.losses import cross_entropy

torch = pytest.importorskip("torch", reason="compares with PyTorch: pip install '.[torch]'")
nn, F = torch.nn, torch.nn.functional


class Layers(nn.Module):
    """Convolutions under jaxseg's names, each with its batch norm, if it has one."""

    def __init__(self):
        super().__init__()
        self.convs, self.norms = nn.ModuleDict(), nn.ModuleDict()

    def add(self, name, layer, batch_norm=False, eps=1e-5):
        """Adds a layer and returns its number of output channels."""
        self.convs[name] = layer
        if batch_norm:
            self.norms[name] = nn.BatchNorm2d(layer.out_channels, eps=eps)
        return layer.out_channels

    def run(self, name, x):
        x = self.convs[name](x)
        return F.relu(self.norms[name](x) if name in self.norms else x)

    def load(self, variables):
        """Loads the variables of jaxseg's network; each one must have a counterpart here."""
        state = {}
        for path, leaf in jax.tree_util.tree_leaves_with_path(variables):
            kind, *layer, last = (key.key for key in path)
            leaf = np.array(leaf)
            if layer[-1] == "bn":
                name = "/".join(layer[:-1])
                theirs = {"scale": "weight", "mean": "running_mean", "var": "running_var"}
                state[f"norms.{name}.{theirs.get(last, last)}"] = leaf
                state[f"norms.{name}.num_batches_tracked"] = np.array(0)
            elif last == "kernel":
                name = "/".join(layer)
                state[f"convs.{name}.weight"] = np.transpose(leaf, self.order(name, to_torch=True))
            else:
                state[f"convs.{'/'.join(layer)}.{last}"] = leaf
        self.load_state_dict({k: torch.tensor(v) for k, v in state.items()})
        return self.eval()

    def order(self, name, to_torch=False):
        """The transposition of a kernel's axes: PyTorch's deconvolutions are [in, out, k, k]."""
        if isinstance(self.convs[name], nn.ConvTranspose2d):
            return (2, 3, 0, 1)
        return (3, 2, 0, 1) if to_torch else (2, 3, 1, 0)


def assert_agrees(model, variables, other, sizes, layers, inner=1e-4):
    """Logits, and the gradients of the loss in `layers`, equal those of `other` to 1e-4.

    For `layers` between the first and the last the tolerance is `inner`.
    """
    for n, size in enumerate(sizes):
        x, y = images(2, size, seed=n), labels(2, size, model.num_classes, seed=n)

        @jax.jit
        def run(params, x=x, y=y):
            def loss(params):
                (head,) = model.apply(variables | {"params": params}, x, method="heads")
                return cross_entropy(head.logits, y, head.upsampling), head.upsampled()

            return jax.grad(loss, has_aux=True)(params)

        gradient, logits = run(variables["params"])
        want = other(torch.tensor(np.asarray(x)).permute(0, 3, 1, 2))
        close(logits, want.detach().permute(0, 2, 3, 1), 1e-4)
        other.zero_grad()
        F.cross_entropy(want, torch.tensor(y.astype(np.int64)), ignore_index=255).backward()
        for name in layers:
            ours = gradient
            for key in name.split("/"):
                ours = ours[key]
            theirs = other.convs[name]
            tolerance = 1e-4 if name in (layers[0], layers[-1]) else inner
            close(ours["kernel"], theirs.weight.grad.permute(other.order(name)), tolerance)
            if theirs.bias is not None:
                close(ours["bias"], theirs.bias.grad, tolerance)
