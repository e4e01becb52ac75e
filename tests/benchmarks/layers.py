"""Times each distinct convolution of a network with its gradients, next to PyTorch's.

    pip install '.[torch]'
    python tests/benchmarks/layers.py [--networks fcn8s deconvnet pspnet] [--one] [--batch 1]

Shows where the time of a train step goes, and which layers are worth optimizing. Sorted by jaxseg's
time times the number of such layers.
"""

import argparse
import collections
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "models"))

from networks import CASES
from timing import in_turns, one_processor


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", nargs="+", choices=CASES, default=["fcn8s", "pspnet"])
    parser.add_argument("--rounds", type=int, default=3, help="times that each layer runs")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--width", type=float, default=1.0)
    parser.add_argument("--one", action="store_true", help="keep to one processor")
    args = parser.parse_args()
    if args.one:
        one_processor()
    from jaxseg.cli import settle_process

    settle_process()
    for name in args.networks:
        layers = found_in(CASES[name], args)
        rows = [(*measure(*layer, args.rounds), count, layer) for layer, count in layers.items()]
        rows.sort(key=lambda row: -row[0] * row[2])
        print(f"\n{CASES[name].name}, {args.batch}×{CASES[name].size}²: forward and backward")
        print(f"{'x':>18} {'kernel':>18} {'':14}{'count':>6}{'ms':>9}{'torch':>9}{'ratio':>7}")
        for ours, theirs, count, (x, kernel, how) in rows:
            about = ", ".join(f"{k[:3]} {v}" for k, v in how if v not in (0, 1))
            print(
                f"{'×'.join(map(str, x)):>18} {'×'.join(map(str, kernel)):>18} {about:14}"
                f"{count:6}{ours:9.1f}{theirs:9.1f}{ours / theirs:7.2f}"
            )
        ours, theirs = (sum(row[i] * row[2] for row in rows) for i in (0, 1))
        print(f"all: {ours:.0f} ms, torch {theirs:.0f} ms, ratio {ours / theirs:.2f}", flush=True)


def found_in(case, args) -> collections.Counter:
    """Counts every convolution by (shape of x, shape of the kernel, other arguments)."""
    import jax
    import jax.numpy as jnp

    import jaxseg
    from jaxseg.models import layers

    found: collections.Counter = collections.Counter()
    real = layers.conv2d

    def conv2d(x, kernel, padding=0, **how):
        found[x.shape, kernel.shape, tuple(sorted((how | {"padding": padding}).items()))] += 1
        return real(x, kernel, padding, **how)

    model = jaxseg.create_model(case.name, case.classes, width=args.width, **case.fields)
    images = jax.ShapeDtypeStruct((args.batch, case.size, case.size, 3), jnp.float32)
    variables = jax.eval_shape(model.init, jax.random.key(0), images)
    layers.conv2d = conv2d
    try:
        jax.eval_shape(lambda v, x: model.apply(v, x, method="heads"), variables, images)
    finally:
        layers.conv2d = real
    return found


def measure(x, kernel, how, rounds: int) -> tuple[float, float]:
    """Milliseconds of processor time over all threads, in jaxseg and in PyTorch."""
    import jax
    import jax.numpy as jnp
    import numpy as np
    import torch

    from jaxseg.ops.convolution import conv2d

    how = dict(how)
    rng = np.random.default_rng(0)
    x, kernel = (rng.standard_normal(shape).astype(np.float32) for shape in (x, kernel))
    padding = how.pop("padding")
    from_image = x.shape[-1] == 3  # the gradient of an image is never needed

    def step(x, kernel, dy):
        y, back = jax.vjp(lambda x, kernel: conv2d(x, kernel, padding, **how), x, kernel)
        dx, dk = back(dy)
        return (y, dk) if from_image else (y, dx, dk)

    shape = jax.eval_shape(lambda x, kernel: conv2d(x, kernel, padding, **how), x, kernel).shape
    dy = rng.standard_normal(shape).astype(np.float32)
    arrays = [jnp.asarray(a) for a in (x, kernel, dy)]
    compiled = jax.jit(step).lower(*arrays).compile()

    tx = torch.tensor(x).permute(0, 3, 1, 2).requires_grad_(not from_image)
    tk = torch.tensor(kernel.transpose(3, 2, 0, 1))
    tk = tk.contiguous(memory_format=torch.channels_last).requires_grad_()
    tdy = torch.tensor(dy).permute(0, 3, 1, 2)
    options = {"stride": how.get("strides", 1), "dilation": how.get("dilation", 1)}

    def theirs():
        tx.grad = tk.grad = None
        torch.nn.functional.conv2d(tx, tk, padding=padding, **options).backward(tdy)

    times = in_turns(
        {"jaxseg": lambda: jax.block_until_ready(compiled(*arrays)), "torch": theirs}, rounds
    )
    return times["jaxseg"]["processor"], times["torch"]["processor"]


if __name__ == "__main__":
    main()
