"""`python -m jaxseg benchmark`: measures training, evaluation, loading or compilation on this
machine; with --compile-for, analyses the programs that compilers produce for other machines."""

import argparse
import pathlib
import re
from collections.abc import Sequence

import ml_collections

from jaxseg.cli.config_options import read_config, split_overrides
from jaxseg.cli.json_output import Put, add_json, json_output
from jaxseg.cli.parser import Parser
from jaxseg.errors import InputError

_EXAMPLES = (
    "python -m jaxseg benchmark --config configs/quickstart.py",
    "python -m jaxseg benchmark --config configs/quickstart.py --what eval --json eval.json",
    "python -m jaxseg benchmark --weights pspnet_r50_cityscapes --what eval",
    "python -m jaxseg benchmark --config configs/camvid_pspnet.py --config.model.dtype=bfloat16",
    "python -m jaxseg benchmark --config configs/pspnet_ade20k.py --compile-for tpu:v5e:2x2",
    "python -m jaxseg benchmark --weights pspnet_r50_ade20k --compile-for cuda:h200 --size 473x473",
)


def main(argv: Sequence[str]) -> None:
    """Parses the options, measures, prints the table."""
    parser = Parser(
        "benchmark",
        "Measures a training or evaluation step on this machine, or analyses it for another\n"
        "device.",
        _EXAMPLES,
    )
    parser.add_argument("--config", metavar="PATH[:ARG]", help="config file and its argument")
    parser.add_argument(
        "--weights",
        metavar="NAME",
        help="instead of --config: a network by name, folder or workdir, on generated scenes",
    )
    parser.add_argument("--config.FIELD", metavar="VALUE", help="set a config field; repeatable")
    parser.add_argument(
        "--what",
        default="train",
        metavar="train|eval|loader|compile|forward",
        help="train step, evaluation, training data loader, or compilation (default: train); with "
        "--compile-for: train, eval or forward",
    )
    parser.add_argument(
        "--repeats", type=int, default=10, metavar="N", help="timed steps or batches (default: 10)"
    )
    other = parser.add_argument_group("other devices", "compile for a device you do not have")
    other.add_argument(
        "--compile-for",
        metavar="TARGET",
        help="compile the step for tpu:v5e:2x2, cuda:h200, cuda:h100:8 ..., and report its time, "
        "bytes, memory, kernels and collectives; needs the extra tpu-compiler or cuda-compiler",
    )
    other.add_argument(
        "--size", type=_size, metavar="HEIGHTxWIDTH", help="image size, if the config sets no crop"
    )
    other.add_argument(
        "--top", type=int, default=12, metavar="N",
        help="list the N most expensive instructions (default: 12)",
    )  # fmt: skip
    other.add_argument(
        "--by", choices=("time", "bytes"), default="time", help="sort key (default: time)"
    )
    other.add_argument(
        "--find-batch", action="store_true", help="find the largest batch that fits in memory"
    )
    other.add_argument(
        "--beside",
        metavar="plain",
        help="also compile the same step in plain Flax and Optax, and compare",
    )
    other.add_argument("--dump", type=pathlib.Path, metavar="FILE", help="save the compiler output")
    add_json(parser)
    options, overrides = split_overrides(argv)
    args = parser.parse_args(options)
    if (args.config is None) == (args.weights is None):
        raise InputError(
            "Exactly one of --config and --weights must name the network.",
            "Give --config with a config file, or --weights with the name of a network.",
        )
    if args.weights is not None and args.compile_for is not None and args.size is None:
        raise InputError(
            "--compile-for with --weights needs the image size.",
            "Add --size HEIGHTxWIDTH, such as --size 473x473.",
        )
    if args.weights is not None:
        fields, classes = _of_network(args.weights)
        if args.compile_for is not None and classes:  # otherwise those of the scenes
            fields.append(("model.num_classes", str(classes)))
        overrides = [*fields, *overrides]
    config = read_config(args.config, overrides)

    with json_output(args.json) as put:
        if args.compile_for is not None:
            return _compile_for(args, config, put)
        from jaxseg.benchmark import benchmark, benchmark_table

        result = benchmark(config, args.what, repeats=args.repeats)
        put(result)
        print(benchmark_table(result))


def _compile_for(args: argparse.Namespace, config: ml_collections.ConfigDict, put: Put) -> None:
    from jaxseg.benchmark.compile_for import (
        compile_for,
        compile_for_table,
        find_batch,
        find_batch_line,
    )

    if args.find_batch:
        found = find_batch(config, args.compile_for, args.what, size=args.size)
        put(found)
        return print(find_batch_line(found))
    result = compile_for(
        config,
        args.compile_for,
        args.what,
        size=args.size,
        top=args.top,
        by=args.by,
        dump=args.dump,
        beside=args.beside,
    )
    put(result)
    print(compile_for_table(result))


def _size(text: str) -> tuple[int, int]:
    """Parses HEIGHTxWIDTH to (height, width)."""
    found = re.fullmatch(r"(\d+)[x×](\d+)", text)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not HEIGHTxWIDTH, such as 500x500")
    return int(found[1]), int(found[2])


def _of_network(name: str) -> tuple[list[tuple[str, str | None]], int]:
    """The fields of `config.model` that create the network, and its number of classes.

    The weights have no effect on the time.
    """
    from jaxseg.pretrained.folder import changed_fields
    from jaxseg.pretrained.trained import open_trained
    from jaxseg.pretrained.zoo.names import is_name
    from jaxseg.pretrained.zoo.rows import find

    row = find(name) if is_name(name) else None
    if row is not None:  # nothing is downloaded
        network, fields, classes = row.network, dict(row.fields), len(row.classes)
    else:
        trained = open_trained(name)
        network = trained.card["network"]
        fields, classes = changed_fields(network, trained.model), trained.info.num_classes
    named: list[tuple[str, str | None]] = [("model.name", network)]
    return [*named, *((f"model.{k}", str(v)) for k, v in fields.items())], classes
