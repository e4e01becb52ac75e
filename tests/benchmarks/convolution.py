"""Compares 3×3 convolutions and their gradients on the CPU with XLA's own and PyTorch's.

    pip install '.[torch]'
    python tests/benchmarks/convolution.py [--rounds 3]

Prints billions of operations a second, from the lowest of several times: it shows how near each
form comes to the processor's limit. The shapes are those of FCN-8s for a photograph of 500×500.
"""

import argparse
import functools

from timing import in_turns

SHAPES = ((698, 64, 64), (349, 64, 128), (349, 128, 128), (175, 256, 256), (88, 512, 512))
SHAPES += ((44, 512, 512),)  # side, channels in, channels out
COLUMNS = ("forward", "of x", "of kernel", "XLA's of kernel") + tuple(
    f"torch {what}" for what in ("forward", "of x", "of kernel")
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3, help="times that each program runs")
    args = parser.parse_args()
    from jaxseg.cli import settle_process

    settle_process()
    print(f"{'':>20}" + "".join(f"{name:>17}" for name in COLUMNS))
    for side, inputs, outputs in SHAPES:
        work = 2 * 9 * side * side * inputs * outputs / 1e6
        times = in_turns(programs(side, inputs, outputs), args.rounds)
        rates = "".join(f"{work / times[name]['lowest']:17.0f}" for name in COLUMNS)
        print(f"{f'{side}², {inputs} to {outputs}':>20}{rates}", flush=True)


def programs(side: int, inputs: int, outputs: int) -> dict:
    """Returns a function to time for each of `COLUMNS`."""
    import jax
    import torch
    from jax import lax

    from jaxseg.ops.convolution import conv2d

    keys = jax.random.split(jax.random.key(0), 3)
    x = jax.random.normal(keys[0], (1, side, side, inputs))
    kernel = jax.random.normal(keys[1], (3, 3, inputs, outputs))
    dy = jax.random.normal(keys[2], (1, side, side, outputs))
    ours = functools.partial(conv2d, padding=1)

    def xla(x, kernel):
        numbers = ("NHWC", "HWIO", "NHWC")
        return lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=numbers)

    def gradient(form, which):
        def run(x, kernel, dy):
            fixed = (lambda a: form(a, kernel)) if which == 0 else (lambda a: form(x, a))
            return jax.vjp(fixed, (x, kernel)[which])[1](dy)

        return run

    def ready(form, *arrays):
        compiled = jax.jit(form)
        return lambda: jax.block_until_ready(compiled(*arrays))

    shapes = (1, inputs, side, side), (outputs, inputs, 3, 3), (1, outputs, side, side)
    there = [torch.randn(*n).to(memory_format=torch.channels_last) for n in shapes]

    def torch_gradient(which):
        wanted = [which == 0, which == 1, False]
        ones = [1, 1]
        return torch.ops.aten.convolution_backward(
            there[2], *there[:2], None, ones, ones, ones, False, [0, 0], 1, wanted
        )

    return {
        "forward": ready(ours, x, kernel),
        "of x": ready(gradient(ours, 0), x, kernel, dy),
        "of kernel": ready(gradient(ours, 1), x, kernel, dy),
        "XLA's of kernel": ready(gradient(xla, 1), x, kernel, dy),
        "torch forward": lambda: torch.nn.functional.conv2d(*there[:2], padding=1),
        "torch of x": lambda: torch_gradient(0),
        "torch of kernel": lambda: torch_gradient(1),
    }


if __name__ == "__main__":
    main()
