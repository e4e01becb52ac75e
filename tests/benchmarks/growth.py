"""Measures how time and memory grow: one page with a table and a plot for each series.

    python tests/benchmarks/growth.py --out growth [--quick] [--network fcn8s_vgg16 --width 0.25]

The series: a train step by batch, by image side and by number of classes; the state by the number
of devices that share it; evaluation by image size; the loader by its threads and workers. Next to
each time is the number of operations of jax's program and the time for a billion of them: where
that is constant, time grows in proportion to the operations. --quick: two small points per series.
"""

import argparse
import json
import os
import pathlib
import sys

_STYLE = (
    "body{font:15px sans-serif;max-width:60em;margin:2em auto}td,th{padding:.2em .9em;"
    "text-align:right}.line{fill:none;stroke:#06c;stroke-width:2}.dot{fill:#06c}"
    ".grid{stroke:#ddd}text{font-size:11px}.end{text-anchor:end}.middle{text-anchor:middle}"
    ".chart{display:inline-block;width:380px;margin:0}"
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=pathlib.Path, required=True, help="folder for the page")
    parser.add_argument("--network", default="fcn8s_vgg16")
    parser.add_argument("--width", type=float, default=0.25)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--lines", nargs="+", choices=LINES, default=list(LINES))
    parser.add_argument("--quick", action="store_true", help="two small points of each line")
    parser.add_argument("--devices", type=int, default=8, help="in which the CPU is parted (state)")
    args = parser.parse_args()
    if args.lines == ["state"]:
        flag = f"--xla_force_host_platform_device_count={args.devices}"
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {flag}".strip()
    from jaxseg.cli import settle_process

    settle_process()
    args.out.mkdir(parents=True, exist_ok=True)
    for name in args.lines:
        if name == "state" and len(args.lines) > 1:  # several devices need their own process
            words = [w for w in sys.argv[1:] if w not in LINES and w != "--lines"]
            os.spawnv(
                os.P_WAIT, sys.executable, [sys.executable, __file__, *words, "--lines", name]
            )
            continue
        rows = [row for row in LINES[name](args) if row]
        (args.out / f"{name}.json").write_text(json.dumps(rows, indent=1) + "\n")
        print(f"\n{name}\n" + text_table(rows), flush=True)
    page(args.out)


class Noise:
    """A data set of noise: any size and number of classes, no decoding."""

    def __init__(self, size: tuple[int, int], classes: int, count: int = 64):
        import numpy as np

        from jaxseg.data import DataInfo

        names = tuple(f"class {i}" for i in range(classes))
        self.info = DataInfo("noise", names, ((0, 0, 0),) * classes)
        rng = np.random.default_rng(0)
        self._image = rng.integers(0, 256, (*size, 3), np.uint8)
        self._label = rng.integers(0, classes, size).astype(np.uint8)
        self._size, self._count = size, count

    def __len__(self):
        return self._count

    def __getitem__(self, index):
        from jaxseg.data import Example

        return Example(self._image, self._label, self.name(index))

    def name(self, index):
        return str(index)

    def size(self, index):
        return self._size


def config_of(args: argparse.Namespace, batch: int = 2):
    from jaxseg.config import default_config

    config = default_config()
    config.model.name, config.model.width = args.network, args.width
    config.train.batch_size = config.eval.batch_size = batch
    return config


def steps(args, points, column):
    """Rows of train steps at (batch, side, classes)."""
    from jaxseg.benchmark import benchmark

    for batch, side, classes in points:
        source = Noise((side, side), classes)
        result = benchmark(config_of(args, batch), "train", repeats=args.repeats, source=source)
        flops = result["flops_per_image"] * batch
        yield {
            column: {"batch": batch, "side": side, "classes": classes}[column],
            "ms": result["step_milliseconds"]["median"],
            "GFLOP": flops / 1e9,
            "ms per GFLOP": result["step_milliseconds"]["median"] / flops * 1e9,
            "temporary MB": result["program_bytes"]["temporary"] / 1e6,
            "MB per image": result["program_bytes"]["temporary"] / 1e6 / batch,
        }


def batch_line(args):
    points = (1, 2) if args.quick else (1, 2, 4, 8, 16)
    return steps(args, [(n, 97, 21) for n in points], "batch")


def side_line(args):
    points = (65, 97) if args.quick else (97, 161, 225, 321, 473, 713)
    return steps(args, [(2, n, 21) for n in points], "side")


def classes_line(args):
    points = (5, 21) if args.quick else (2, 10, 21, 60, 150, 250)
    return steps(args, [(2, 97 if args.quick else 225, n) for n in points], "classes")


def state_line(args):
    """Bytes of parameters and momentum per device, by the number of devices that share them."""
    import jax

    from jaxseg.training.setup import Program

    for shared in (1, 2, 4, 8):
        if args.devices % shared:
            continue
        config = config_of(args, args.devices)
        config.train.fsdp = shared
        state = Program(config, Noise((97, 97), 21)).initial_state()
        first = jax.devices()[0]
        found = sum(
            shard.data.nbytes
            for leaf in jax.tree.leaves(state)
            for shard in leaf.addressable_shards
            if shard.device == first
        )
        whole = sum(leaf.nbytes for leaf in jax.tree.leaves(state))
        yield {
            "fsdp": shared,
            "MB on a device": found / 1e6,
            "MB in all": whole / 1e6,
            "MB times fsdp": found * shared / 1e6,
        }


def evaluation_line(args):
    from jaxseg.benchmark import benchmark

    sizes = [(64, 96), (128, 192)]
    if not args.quick:
        sizes = [(250, 375), (500, 750), (1000, 1500), (2000, 3000), (4000, 6000)]
    for size in sizes:
        count = 2 if size[0] >= 2000 else 4
        source = Noise(size, 21, count)
        result = benchmark(config_of(args, 1), "eval", repeats=count, source=source)
        megapixels = size[0] * size[1] / 1e6
        yield {
            "megapixels": megapixels,
            "ms": result["milliseconds_per_image"]["median"],
            "ms per megapixel": result["milliseconds_per_image"]["median"] / megapixels,
            "compilations": result["compilations"],
            "later compilations": result["later_compilations"],
            "process peak MB": result["peak_bytes"]["process"] / 1e6,
        }


def loader_line(args):
    from jaxseg.benchmark import benchmark

    kinds = [("threads", n) for n in (1, 2)] + [("workers", n) for n in (1, 2)]
    if not args.quick:
        kinds = [(k, n) for k in ("threads", "workers") for n in (1, 2, 4, 8)]
    for kind, number in kinds:
        config = config_of(args, 8)
        config.data.scenes_size, config.augment.scale = (375, 500), (0.5, 2.0)
        config.augment.crop = (321, 321)
        config.data.threads = number if kind == "threads" else 1
        config.data.workers = number if kind == "workers" else 0
        result = benchmark(config, "loader", repeats=4 if args.quick else 25)
        yield {
            kind: number,
            "images per second": result["images_per_second"],
            "first batch s": result["first_batch_seconds"],
        }


LINES = {
    "batch": batch_line,
    "side": side_line,
    "classes": classes_line,
    "state": state_line,
    "evaluation": evaluation_line,
    "loader": loader_line,
}


def text_table(rows: list[dict]) -> str:
    lines = []
    for before, row in zip([{}, *rows], rows, strict=False):
        if list(before)[:1] != list(row)[:1]:  # the first row of another series
            lines.append("".join(f"{key:>20}" for key in row))
        lines.append("".join(f"{text(v):>20}" for v in row.values()))
    return "\n".join(lines)


def text(value) -> str:
    return "" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def page(folder: pathlib.Path) -> None:
    """Writes growth.html from all series that were measured into this folder."""
    from jaxseg.report.charts import Series, line_chart

    parts = [f"<!doctype html><meta charset=utf-8><title>Growth</title><style>{_STYLE}</style>"]
    for name in LINES:
        file = folder / f"{name}.json"
        if not file.is_file():
            continue
        parts.append(f"<h2>{name}</h2>")
        rows = json.loads(file.read_text())
        for along in dict.fromkeys(next(iter(row)) for row in rows):
            own = [row for row in rows if along in row]
            head = "".join(f"<th>{key}</th>" for key in own[0])
            body = "".join(
                "<tr>" + "".join(f"<td>{text(v)}</td>" for v in row.values()) + "</tr>"
                for row in own
            )
            parts.append(f"<table><tr>{head}</tr>{body}</table>")
            for key in list(own[0])[1:]:
                if all(isinstance(row[key], int | float) for row in own):
                    values = [row[key] for row in own], [row[along] for row in own]
                    parts.append(line_chart(key, [Series(name, 0, values[1], values[0])], along))
    (folder / "growth.html").write_text("\n".join(parts) + "\n", encoding="utf-8")
    print(f"\n{folder / 'growth.html'}")


if __name__ == "__main__":
    main()
