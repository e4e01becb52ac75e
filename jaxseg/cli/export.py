"""`python -m jaxseg export`: exports a trained network as a program that runs without jaxseg."""

import pathlib
import re
from collections.abc import Sequence

from jaxseg.cli.json_output import add_json, json_output
from jaxseg.cli.options import add_network, open_network
from jaxseg.cli.parser import Parser
from jaxseg.errors import InputError

_EXAMPLES = (
    "python -m jaxseg export --workdir runs/camvid --out camvid.stablehlo",
    "python -m jaxseg export --workdir runs/camvid --output labels --size 360,480 --out camvid.bin",
    "python -m jaxseg export --weights networks/fcn8s --format onnx --size 480,640 "
    "--out fcn8s.onnx",
)


def main(argv: Sequence[str]) -> None:
    """Parses the options, exports, prints the program's input and output."""
    parser = Parser(
        "export",
        "Writes a trained network, its variables and its preprocessing as one program: uint8 RGB\n"
        "images [n, height, width, 3] in, logits or labels out. FILE.json beside it has the\n"
        "classes, palette and sizes. docs/guides/export.md explains how to run the program.",
        _EXAMPLES,
    )
    add_network(parser)
    parser.add_argument(
        "--format",
        metavar="stablehlo|onnx",
        help="StableHLO, which JAX runs on any device, or ONNX, written by jax2onnx (default: onnx "
        "for a FILE.onnx, otherwise stablehlo)",
    )
    parser.add_argument(
        "--output",
        default="logits",
        metavar="logits|labels",
        help="float32 logits of each class (default), or the class of each pixel as uint8",
    )
    parser.add_argument(
        "--size",
        metavar="HEIGHT,WIDTH",
        help="fixed image size (default, StableHLO only: any multiples of 32)",
    )
    parser.add_argument(
        "--out", type=pathlib.Path, required=True, metavar="FILE", help="new file to write"
    )
    add_json(parser)
    args = parser.parse_args(argv)
    size = None if args.size is None else _size(args.size)
    suffix = args.out.suffix.lower()
    format = args.format or ("onnx" if suffix == ".onnx" else "stablehlo")
    network = open_network(args)

    from jaxseg.export.stablehlo import export_program

    with json_output(args.json) as put:
        about = export_program(network, args.out, format=format, output=args.output, size=size)
        put({"file": args.out} | about)
        ends = (f"{about[k]['dtype']} [{', '.join(map(str, about[k]['shape']))}]" for k in _ENDS)
        print(f"{args.out}: {' to '.join(ends)}")


_ENDS = ("input", "output")


def _size(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"([1-9]\d*)[,x×]([1-9]\d*)", text)
    if match is None:
        raise InputError(f"--size is {text!r}.", "Give HEIGHT,WIDTH in pixels, such as 480,640.")
    return int(match[1]), int(match[2])
