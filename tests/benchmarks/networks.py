"""Compares FCN-8s, DeconvNet and PSPNet-50 with the same networks in plain PyTorch, in turns.

    pip install '.[torch]' albumentations opencv-python-headless
    python tests/benchmarks/networks.py [--networks fcn8s deconvnet pspnet pspnet713] [--quick]

The last output is a table of ratios: jaxseg's images per second, and memory, over PyTorch's.

Both have the same weights; before any timing, the logits of both are compared with PyTorch's in
float64. PyTorch runs channels last, in eager mode and through `torch.compile`; its FCN upsamples
with a dense deconvolution, as the PyTorch ports do. Train steps are SGD with momentum and weight
decay on the loss at the images' resolution; jaxseg's is the step that a run compiles. Evaluation is
the network, the upsampling, the classes and their confusion matrix. The loss alone takes scores of
the network's coarse resolution, upsamples them and computes the gradient (`ops.py`). The loader is
measured once (`loader.py`). Peak memory is measured during steps, in a separate process for each
side. Buffers are in huge pages where the system has them, as in a run.
On a GPU both sides use it (`--dtype bfloat16 --batch 8`).

--quick: a quarter of the width and smaller images, as a smoke test. --one: one processor.
"""

import argparse
import dataclasses
import json
import os
import pathlib
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "models"))

from timing import in_turns, one_processor, print_ratios


@dataclasses.dataclass(frozen=True)
class Case:
    """A network at an input size."""

    name: str
    size: int
    quick_size: int
    batch: int
    classes: int
    coarse: int  # side of the scores that the loss upsamples
    fields: dict
    moved: float = 0.0  # allowed share of differing logits: near-equal maxima move unpooling


CASES = {
    "fcn8s": Case("fcn8s_vgg16", 500, 96, 1, 21, 63, {"dropout": 0.0}),
    "deconvnet": Case("deconvnet_vgg16", 224, 224, 2, 21, 224, {"bn_epsilon": 1e-9}, 0.15),
    "pspnet": Case("pspnet_resnet50", 473, 97, 2, 150, 60, {"dropout": 0.0}),
    "pspnet713": Case("pspnet_resnet50", 713, 97, 2, 19, 90, {"dropout": 0.0}),
}
WHAT = ("forward", "step", "loss", "evaluation", "memory", "loader")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--networks", nargs="+", choices=CASES, default=["fcn8s", "deconvnet", "pspnet"]
    )
    parser.add_argument("--what", nargs="+", choices=WHAT, default=list(WHAT))
    parser.add_argument("--rounds", type=int, default=5, help="times that each program runs")
    parser.add_argument("--batch", type=int, help="images in a batch (default: a small one)")
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"])
    parser.add_argument("--no-compile", action="store_true", help="leave torch.compile out")
    parser.add_argument("--quick", action="store_true", help="narrow networks, small images")
    parser.add_argument("--one", action="store_true", help="keep to one processor")
    parser.add_argument("--remat", action="store_true", help="jaxseg computes activations again")
    parser.add_argument("--peak", choices=["jaxseg", "torch"], help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        one_processor()
    from jaxseg.cli.huge_pages import restart_with_huge_pages

    restart_with_huge_pages(["benchmark"])
    with tempfile.TemporaryDirectory() as folder:  # cache: the memory process compiles nothing
        os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", folder)
        os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
        from jaxseg.cli import settle_process

        settle_process()
        if args.peak:
            print(json.dumps(peak(CASES[args.networks[0]], args)))
            return
        ratios = {}
        for name in args.networks:
            ratios[name] = compare(name, args)
        if "loader" in args.what:
            ratios["any"] = {"loader": loader(args)}
        print_table(ratios)


class Pair:
    """One network in jaxseg and in PyTorch, with the same weights and the same batch."""

    def __init__(self, case: Case, args: argparse.Namespace):
        import jax
        import jax.numpy as jnp
        import numpy as np
        import torch
        from base import labels, randomized

        import jaxseg

        self.batch = args.batch or case.batch
        size, width = (case.quick_size, 0.25) if args.quick else (case.size, 1.0)
        self.title = f"{case.name}, width {width}, {self.batch}×{size}×{size}, {args.dtype}"
        self.model = jaxseg.create_model(
            case.name,
            case.classes,
            width=width,
            dtype=args.dtype,
            remat=args.remat,
            **case.fields,
        )
        rng = np.random.default_rng(0)
        photos = rng.integers(0, 256, (self.batch, size, size, 3), np.uint8)
        truth = labels(self.batch, (size, size), case.classes)
        shapes = jax.eval_shape(
            self.model.init, jax.random.key(0), jnp.zeros((1, size, size, 3), jnp.float32)
        )
        self.variables = randomized(shapes)
        self.photos, self.truth = jnp.asarray(photos), jnp.asarray(truth)

        self.device = "cuda" if jax.default_backend() == "gpu" else "cpu"
        normalised = np.asarray(jaxseg.normalize(self.photos, self.model.preprocessing))
        x = torch.tensor(normalised).permute(0, 3, 1, 2)
        self.x = x.to(self.device, memory_format=torch.channels_last)
        self.y = torch.tensor(truth.astype(np.int64)).to(self.device)
        self.torch_dtype = getattr(torch, args.dtype)
        self.theirs = torch_network(case, width)
        self.theirs.load(jax.device_get(self.variables))
        self.theirs.to(self.device, memory_format=torch.channels_last)

    # ---- jaxseg

    def forward(self):
        """Returns a function that computes all logits at the images' resolution."""
        import jax

        import jaxseg

        def run(variables, photos):
            images = jaxseg.normalize(photos, self.model.preprocessing)
            return self.model.apply(variables, images)

        run = jax.jit(run)
        return lambda: jax.block_until_ready(run(self.variables, self.photos))

    def step(self):
        """Returns the train step of a run, as a function without arguments."""
        import jax
        import jax.numpy as jnp

        from jaxseg.config import default_config
        from jaxseg.training.optimizers import make_optimizer
        from jaxseg.training.step import make_train_step, state_at_start

        config = default_config()
        config.optim.lr, config.optim.weight_decay = 1e-9, 5e-4
        optimizer = make_optimizer(config.optim, 100)
        step = jax.jit(make_train_step(self.model, optimizer, config.loss, 0), donate_argnums=0)
        variables = jax.tree.map(jnp.copy, self.variables)
        self.state = state_at_start(variables, optimizer)

        def run():
            self.state, metrics = step(self.state, self.photos, self.truth)
            return jax.block_until_ready(self.state), float(metrics["loss"])

        return run

    def evaluation(self):
        """Returns a function for the batch's confusion matrix, counted as in `Evaluator`."""
        import jax

        import jaxseg

        def run(variables, photos, truth):
            images = jaxseg.normalize(photos, self.model.preprocessing)
            head = self.model.apply(variables, images, method="heads")[0]
            return jaxseg.metrics.coarse_confusion(head.logits, truth, head.upsampling)

        run = jax.jit(run)
        return lambda: jax.block_until_ready(run(self.variables, self.photos, self.truth))

    # ---- PyTorch

    def torch_run(self, what: str, compiled: bool):
        """Returns the same computation in PyTorch, as a function without arguments."""
        import torch

        logits, classes = self.theirs.logits, self.model.num_classes
        if compiled:
            logits = torch.compile(logits, dynamic=False)
        optimizer = torch.optim.SGD(
            self.theirs.parameters(), lr=1e-9, momentum=0.9, weight_decay=5e-4
        )

        def in_dtype():
            enabled = self.torch_dtype != torch.float32
            return torch.autocast(self.device, self.torch_dtype, enabled=enabled)

        def done(result):
            if self.device == "cuda":
                torch.cuda.synchronize()
            return result

        @torch.no_grad()
        def forward():
            self.theirs.eval()
            with in_dtype():
                return done(logits(self.x)[0][0])

        @torch.no_grad()
        def evaluation():
            predicted = forward().argmax(1)
            known = self.y != 255
            cells = self.y[known] * classes + predicted[known]
            return done(torch.bincount(cells, minlength=classes**2).reshape(classes, classes))

        def step():
            self.theirs.train()
            optimizer.zero_grad(set_to_none=True)
            with in_dtype():
                heads = logits(self.x)
                loss = sum(
                    weight * torch.nn.functional.cross_entropy(x.float(), self.y, ignore_index=255)
                    for x, weight in heads
                )
            loss.backward()
            optimizer.step()
            return done(None), float(loss)

        return {"forward": forward, "evaluation": evaluation, "step": step}[what]

    def exact_logits(self):
        """All logits at the images' resolution, in float64: a NumPy array [N, H, W, C]."""
        import torch

        self.theirs.eval().double()
        with torch.no_grad():
            logits = self.theirs.logits(self.x.double())[0][0]
        self.theirs.float()
        return logits.permute(0, 2, 3, 1).cpu().numpy()


def torch_network(case: Case, width: float):
    """Builds the network, with a method `logits(x)`: (logits, loss weight) of every head."""
    import torch_fcn
    from torch_deconvnet import DeconvNet
    from torch_fcn import FCN
    from torch_resnet import PSPNet

    if case.name == "fcn8s_vgg16":
        torch_fcn.deconv = deconv_once_made
        network = FCN(case.classes, width, round(4096 * width))
    elif case.name == "deconvnet_vgg16":
        network = DeconvNet(case.classes, width)
    else:
        network = PSPNet(case.classes, 50, width)
        network.logits = lambda x: list(zip(network.main_aux(x), (1.0, 0.4), strict=True))
        return network
    network.logits = lambda x: [(network(x), 1.0)]
    return network


def deconv_once_made(x, kernel, stride, padding=0, made={}):  # noqa: B006
    """`torch_fcn.deconv` with cached weights: making them is no part of the network."""
    import torch
    from torch_fcn import upsample_filt

    c = x.shape[1]
    if (c, kernel) not in made:
        weight = torch.zeros(c, c, kernel, kernel)
        weight[range(c), range(c)] = torch.tensor(upsample_filt(kernel), dtype=torch.float32)
        made[c, kernel] = weight.to(x.device)
    weight = made[c, kernel].to(x.dtype)
    return torch.nn.functional.conv_transpose2d(x, weight, stride=stride, padding=padding)


def print_table(ratios: dict[str, dict[str, float]]) -> None:
    """Prints the ratios: a line for each network, a column for each measurement."""
    print(f"\njaxseg's images per second, and memory, over PyTorch's\n{'':<12}", end="")
    print("".join(f"{what:>12}" for what in WHAT))
    for name, found in ratios.items():
        cells = (f"{found[what]:12.2f}" if what in found else " " * 12 for what in WHAT)
        print(f"{name:<12}" + "".join(cells))


def loader(args: argparse.Namespace) -> float:
    """Processor-time rate of jaxseg's best loader over that of torch with albumentations."""
    with tempfile.TemporaryDirectory() as folder:
        ratios = pathlib.Path(folder) / "ratios.json"
        script = pathlib.Path(__file__).with_name("loader.py")
        command = [sys.executable, str(script), "--json", str(ratios)]
        command += ["--images", "64", "--rounds", "1"] if args.quick else []
        print(flush=True)
        subprocess.run(command, check=True)
        return max(json.loads(ratios.read_text()).values(), default=float("nan"))


def compare(name: str, args: argparse.Namespace) -> dict[str, float]:
    """Returns the ratio of each requested measurement."""
    import numpy as np
    import ops

    pair = Pair(CASES[name], args)
    ours, theirs = pair.forward()(), pair.torch_run("forward", compiled=False)()
    want = pair.exact_logits()
    close = 1e-4 if args.dtype == "float32" else 0.2
    print(f"\n{pair.title}: logits beside PyTorch's in float64")
    for side, logits in (("torch", theirs.permute(0, 2, 3, 1).float().cpu()), ("jaxseg", ours)):
        errors = np.abs(np.asarray(logits) - want) / np.abs(want).max()
        others = (errors > close).mean()
        print(f"  {side:<8}{errors.max():.1e} of the largest, {others:.2%} not to {close:g}")
    if others > CASES[name].moved:
        sys.exit(f"No more than {CASES[name].moved:.0%} of jaxseg's may be others.")
    ratios = {}
    for what in args.what:
        if what == "loader":
            continue
        if what == "memory":
            ratios[what] = memory(name, args)
            continue
        if what == "loss":
            case = CASES[name]
            ratios[what] = ops.loss(pair.batch, case.coarse, case.size, case.classes, args.rounds)
            continue
        programs = {
            "jaxseg": getattr(pair, what)(),
            "torch": pair.torch_run(what, compiled=False),
        }
        if what == "step":
            (_, a), (_, b) = programs["jaxseg"](), programs["torch"]()
            print(f"  loss {a:.6f} in jaxseg, {b:.6f} in torch")
        if not args.no_compile:
            compiled = pair.torch_run(what, compiled=True)
            try:
                compiled()
                programs["torch.compile"] = compiled
            except Exception as error:  # the compiler may be missing or too old
                print(f"  torch.compile: {type(error).__name__}: {str(error).splitlines()[0]}")
        times = in_turns(programs, args.rounds)
        print_ratios(f"{pair.title}: {what}", times, "torch")
        best = min(t["clock"] for n, t in times.items() if n != "jaxseg")
        ratios[what] = best / times["jaxseg"]["clock"]
        print(f"  jaxseg: {ratios[what]:.2f} times the faster torch's images/s")
    return ratios


def memory(name: str, args: argparse.Namespace) -> float:
    """Prints each side's peak memory, in its own process; returns the ratio of the last kind."""
    words = ["--networks", name, "--dtype", args.dtype]
    words += ["--batch", str(args.batch)] if args.batch else []
    words += [flag for flag in ("--quick", "--one", "--remat") if getattr(args, flag[2:])]
    found = {}
    # A process that compiles keeps the memory it took for that; so the first of the two compiles.
    for side in ("jaxseg", "jaxseg", "torch"):
        command = [sys.executable, __file__, *words, "--peak", side]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        found[side] = json.loads(done.stdout.splitlines()[-1])
    print("\n  peak memory of train steps")
    for side, peaks in found.items():
        print(f"  {side:<8}" + ", ".join(f"{k} {v / 1e6:,.0f} MB" for k, v in peaks.items()))
    for kind in found["torch"]:
        share = found["jaxseg"][kind] / found["torch"][kind]
        print(f"  jaxseg's {kind}: {share:.2f} of torch's")
    return share


def peak(case: Case, args: argparse.Namespace) -> dict[str, int]:
    """Peak bytes in use during three steps: of the process and of its device's memory.

    "steps" is the part beyond the libraries, after the network's other copy is freed.
    """
    import gc

    import jax
    import torch
    from base import randomized  # noqa: F401  (imports the rest)

    from jaxseg.utils.freed_memory import give_back_freed_memory

    jax.block_until_ready(jax.numpy.zeros(1) + 1)
    side, libraries = args.peak, status("VmRSS")
    pair = Pair(case, args)
    run = pair.step() if side == "jaxseg" else pair.torch_run("step", compiled=False)
    pair.variables = None
    if side == "jaxseg":
        pair.theirs = None
    gc.collect()
    if pair.device == "cuda":
        for _ in range(3):
            run()
        if side == "torch":
            return {"device": torch.cuda.max_memory_allocated()}
        return {"device": jax.devices()[0].memory_stats()["peak_bytes_in_use"]}
    run()
    give_back_freed_memory()  # as a run does, after its first step
    pathlib.Path("/proc/self/clear_refs").write_text("5")  # resets the peak
    for _ in range(3):
        run()
    return {"process": status("VmHWM"), "steps": status("VmHWM") - libraries}


def status(field: str) -> int:
    """A memory field of this process in bytes, as Linux reports it."""
    lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field + ":"))


if __name__ == "__main__":
    main()
