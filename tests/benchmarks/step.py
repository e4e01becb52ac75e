"""Times one full-width train step; prints times and the compiled program's memory.

    python tests/benchmarks/step.py [--networks fcn8s deconvnet pspnet] [--steps 5]
    python tests/benchmarks/step.py --against OTHER_CHECKOUT     # compares two versions

With --against, each version runs in its own process. The two take turns, step by step, so that
other work on the machine affects both. The logits of both are compared as well, on the same
variables. The other version must have `jaxseg.create_model`.
"""

import argparse
import contextlib
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

CHECKOUT = pathlib.Path(__file__).resolve().parents[2]
NETWORKS = {  # name, height and width, images, classes
    "fcn8s": ("fcn8s_vgg16", 500, 1, 21),
    "deconvnet": ("deconvnet_vgg16", 224, 2, 21),
    "pspnet": ("pspnet_resnet50", 473, 2, 150),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--against", metavar="CHECKOUT", help="folder of another version")
    parser.add_argument("--serve", metavar="NETWORK", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        serve(args.serve)
        return
    for network in args.networks:
        checkouts = {"this": CHECKOUT}
        if args.against:
            checkouts["other"] = pathlib.Path(args.against).resolve()
        compare(network, checkouts, args.steps)


def compare(network: str, checkouts: dict[str, pathlib.Path], steps: int) -> None:
    """Prints a line for each version, and how the first differs from the second."""
    _, size, count, _ = NETWORKS[network]
    print(f"{network} {count}x{size}x{size}", flush=True)
    with contextlib.ExitStack() as stack:
        folder = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory()))
        versions = {
            name: stack.enter_context(_started(network, checkout))
            for name, checkout in checkouts.items()
        }
        temporaries = {
            name: _ask(version, folder / f"{name}.npy")["temporaries"]
            for name, version in versions.items()
        }
        clock, processor = {name: [] for name in versions}, {name: [] for name in versions}
        for _ in range(steps):
            for name, version in versions.items():
                answer = _ask(version, "step")
                clock[name].append(answer["clock"])
                processor[name].append(answer["processor"])
        for name in versions:
            print(
                f"  {name:<6} lowest {min(clock[name]):.2f} s, processor time "
                f"{min(processor[name]):.2f} s, temporaries {temporaries[name] / 1e6:.0f} MB",
                flush=True,
            )
        if len(versions) == 2:
            _print_differences(clock, processor, folder)


def _print_differences(clock, processor, folder: pathlib.Path) -> None:
    import numpy as np

    this, other = (np.load(folder / f"{name}.npy") for name in ("this", "other"))
    apart = np.abs(this - other).max() / np.abs(other).max()
    print(
        f"  this/other: lowest {min(clock['this']) / min(clock['other']):.3f}, processor time "
        f"{min(processor['this']) / min(processor['other']):.3f}; logits differ by at most "
        f"{apart:.1e} of the largest",
        flush=True,
    )


def _started(network: str, checkout: pathlib.Path) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, __file__, "--serve", network],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={
            "JAX_PLATFORMS": "cpu",
            "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
            **os.environ,
            "PYTHONPATH": str(checkout),
        },
    )


def _ask(version: subprocess.Popen, question: object) -> dict:
    print(question, file=version.stdin, flush=True)
    answer = version.stdout.readline()
    if not answer:
        sys.exit("A version stopped: its message is above.")
    return json.loads(answer)


def serve(network: str) -> None:
    """Answers lines of stdin: a path (writes logits there), then "step" (a timed train step)."""
    from jaxseg.cli import settle_process

    settle_process()
    sys.path.insert(0, str(CHECKOUT / "tests" / "models"))
    import jax
    import numpy as np
    import optax
    from base import randomized

    import jaxseg

    name, size, count, classes = NETWORKS[network]
    model, optimizer = jaxseg.create_model(name, classes), optax.sgd(1e-9, 0.9)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (count, size, size, 3), np.uint8)
    labels = rng.integers(0, classes, (count, size, size), np.uint8)
    state = jax.jit(lambda: jaxseg.create_state(model, optimizer, 0, (size, size)))()
    path = input()
    variables = randomized(jax.eval_shape(lambda: state.variables))
    normalized = jaxseg.normalize(images, model.preprocessing)
    np.save(path, jax.jit(model.apply)(variables, normalized))
    step = jax.jit(jaxseg.make_train_step(model, optimizer), donate_argnums=0)
    program = step.lower(state, images, labels).compile()
    state, _ = jax.block_until_ready(program(state, images, labels))
    print(json.dumps({"temporaries": program.memory_analysis().temp_size_in_bytes}), flush=True)
    for _ in sys.stdin:
        begun, used = time.perf_counter(), time.process_time()
        state, _ = jax.block_until_ready(program(state, images, labels))
        answer = {"clock": time.perf_counter() - begun, "processor": time.process_time() - used}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
