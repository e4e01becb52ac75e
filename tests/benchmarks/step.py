"""Times one full-width train step; prints lowest times and the compiled program's memory.

    python tests/benchmarks/step.py [--networks fcn8s deconvnet pspnet] [--steps 5]
    PYTHONPATH=OTHER_CHECKOUT python tests/benchmarks/step.py      # the same of another version

To compare two versions run both alternately, twice: other work on the machine changes the times.
"""

import argparse
import os
import time

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1")

from jaxseg.cli import settle_process

settle_process()

import jax  # noqa: E402
import numpy as np  # noqa: E402
import optax  # noqa: E402

import jaxseg  # noqa: E402

NETWORKS = {  # name, height and width, images, classes
    "fcn8s": ("fcn8s_vgg16", 500, 1, 21),
    "deconvnet": ("deconvnet_vgg16", 224, 2, 21),
    "pspnet": ("pspnet_resnet50", 473, 2, 150),
}


def measure(network: str, steps: int) -> None:
    """Measures one network and prints its line."""
    name, size, count, classes = NETWORKS[network]
    model, optimizer = jaxseg.create_model(name, classes), optax.sgd(1e-3, 0.9)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (count, size, size, 3), np.uint8)
    labels = rng.integers(0, classes, (count, size, size), np.uint8)
    state = jax.jit(lambda: jaxseg.create_state(model, optimizer, 0, (size, size)))()
    step = jax.jit(jaxseg.make_train_step(model, optimizer), donate_argnums=0)
    program = step.lower(state, images, labels).compile()
    state, _ = jax.block_until_ready(program(state, images, labels))
    wall, processor = [], []
    for _ in range(steps):
        begun, used = time.perf_counter(), time.process_time()
        state, _ = jax.block_until_ready(program(state, images, labels))
        wall.append(time.perf_counter() - begun)
        processor.append(time.process_time() - used)
    temporaries = program.memory_analysis().temp_size_in_bytes / 1e6
    print(
        f"{network} {count}x{size}x{size}: {min(wall):.2f} s, {min(processor):.2f} s of processor "
        f"time, {temporaries:.0f} MB of temporaries",
        flush=True,
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--steps", type=int, default=5)
    args = parser.parse_args()
    for chosen in args.networks:
        measure(chosen, args.steps)
