"""Times loss and unpooling next to their plain forms and PyTorch's; also temporary memory.

    pip install '.[torch]'
    python tests/benchmarks/ops.py [--what loss unpool] [--rounds 15] [--one]

--one uses a single processor, for machines that run other programs; see timing.py.
"""

import argparse
import functools

from timing import in_turns, one_processor, print_ratios

LOSSES = (  # images, coarse side, full side, classes
    (2, 60, 480, 150),
    (2, 60, 480, 21),
    (2, 90, 720, 19),
)
UNPOOLED = (4, 224, 224, 64)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--what", nargs="+", default=["loss", "unpool"])
    parser.add_argument("--rounds", type=int, default=15, help="times that each program runs")
    parser.add_argument("--one", action="store_true", help="keep to one processor")
    args = parser.parse_args()
    if args.one:
        one_processor()
    from jaxseg.cli import settle_process

    settle_process()
    if "loss" in args.what:
        for case in LOSSES:
            loss(*case, args.rounds)
    if "unpool" in args.what:
        unpool(UNPOOLED, args.rounds)


def loss(n: int, coarse: int, full: int, classes: int, rounds: int) -> float:
    """Returns the speed of the streamed form relative to PyTorch's.

    Scores of the labels' own size, such as DeconvNet's, are upsampled on neither side.
    """
    import jax
    import jax.numpy as jnp
    import numpy as np
    import torch

    from jaxseg.losses import cross_entropy
    from jaxseg.ops import resize_bilinear

    rng = np.random.default_rng(0)
    logits = rng.standard_normal((n, coarse, coarse, classes)).astype(np.float32)
    labels = rng.integers(0, classes, (n, full, full)).astype(np.uint8)
    labels[rng.random(labels.shape) < 0.1] = 255

    def plain(x, y):
        y = y.astype(jnp.int32)
        x = resize_bilinear(x, (full, full), align_corners=True) if coarse < full else x
        x = jax.nn.log_softmax(x)
        picked = jnp.take_along_axis(x, jnp.minimum(y, classes - 1)[..., None], -1)[..., 0]
        return -jnp.where(y < classes, picked, 0).sum() / (y < classes).sum()

    def streamed(x, y):
        return cross_entropy(x, y, upsample=(full, full) if coarse < full else None)

    def theirs():
        x = torch.tensor(logits).permute(0, 3, 1, 2).requires_grad_()  # channels last
        up, how = x, {"mode": "bilinear", "align_corners": True}
        if coarse < full:
            up = torch.nn.functional.interpolate(x, (full, full), **how)
        torch.nn.functional.cross_entropy(up, target, ignore_index=255).backward()
        return x.grad.permute(0, 2, 3, 1)

    target = torch.tensor(labels.astype(np.int64))
    x, y = jnp.asarray(logits), jnp.asarray(labels)
    programs, memory, gradients = {}, {}, {"torch": theirs()}
    for name, function in (("streamed", streamed), ("plain", plain)):
        compiled = jax.jit(jax.value_and_grad(function)).lower(x, y).compile()
        memory[name] = compiled.memory_analysis().temp_size_in_bytes / 1e6
        programs[name] = functools.partial(lambda c: jax.block_until_ready(c(x, y)), compiled)
        gradients[name] = compiled(x, y)[1]
    programs["torch"] = theirs
    for name in ("plain", "torch"):
        worst = np.abs(np.asarray(gradients["streamed"]) - np.asarray(gradients[name])).max()
        print(f"gradients, streamed against {name}: {worst:.1e} at most")
    times = in_turns(programs, rounds)
    print_ratios(f"loss and gradient, {n}×{coarse}² to {full}², {classes} classes", times, "torch")
    share = times["streamed"]["clock"] / times["plain"]["clock"]
    print(f"  temporaries: {memory['streamed']:.1f} MB streamed, {memory['plain']:.1f} MB plain;")
    print(f"  streamed takes {share:.2f} of the plain form's time")
    return times["torch"]["clock"] / times["streamed"]["clock"]


def unpool(shape: tuple[int, int, int, int], rounds: int) -> None:
    import jax
    import jax.numpy as jnp
    import numpy as np
    import torch

    from jaxseg.ops import max_pool_with_argmax, max_unpool

    n, h, w, c = shape
    rng = np.random.default_rng(0)
    values, indices = max_pool_with_argmax(
        jnp.asarray(rng.standard_normal(shape).astype(np.float32)), 2, 2
    )
    dy = jnp.asarray(rng.standard_normal(shape).astype(np.float32))

    def ours(in_place, values, indices, dy):
        run = functools.partial(max_unpool, indices=indices, size=(h, w), in_place=in_place)
        y, back = jax.vjp(run, values)
        return y, back(dy)[0]

    def channels_first(a):  # a view: the memory stays channels last
        return torch.tensor(np.asarray(a)).permute(0, 3, 1, 2)

    x, where, grad = map(channels_first, (values, np.asarray(indices).astype(np.int64), dy))

    def theirs(x, where, grad):
        x = x.detach().requires_grad_()
        y = torch.nn.functional.max_unpool2d(x, where, 2, 2, output_size=(h, w))
        y.backward(grad)
        return y.detach(), x.grad

    programs = {}
    for name, in_place in (("2×2 known", True), ("2×2 found", None), ("any indices", False)):
        compiled = jax.jit(functools.partial(ours, in_place)).lower(values, indices, dy).compile()
        run = functools.partial(compiled, values, indices, dy)
        programs[name] = functools.partial(lambda r: jax.block_until_ready(r()), run)
        for got, want in zip(run(), theirs(x, where, grad), strict=True):
            np.testing.assert_array_equal(got, want.permute(0, 2, 3, 1))
    programs["torch, channels last"] = functools.partial(theirs, x, where, grad)
    first = [a.contiguous() for a in (x, where, grad)]
    programs["torch, channels first"] = functools.partial(theirs, *first)
    times = in_turns(programs, rounds)
    title = f"unpooling, forward and backward, to {shape}, equal bit for bit"
    print_ratios(title, times, "torch, channels first")
    print_ratios(title, times, "torch, channels last")


if __name__ == "__main__":
    main()
