"""`python -m jaxseg convert`: converts published weights to a network's folder."""

import pathlib
from collections.abc import Sequence
from typing import Any

from jaxseg.cli.config_options import read_config, split_overrides
from jaxseg.cli.json_output import add_json, json_output
from jaxseg.cli.options import network_name
from jaxseg.cli.parser import Parser
from jaxseg.errors import InputError

_EXAMPLES = (
    "python -m jaxseg convert fcn8s-heavy-pascal.caffemodel --out networks/fcn8s",
    "python -m jaxseg convert resnet50.pth --model fcn_resnet50 --classes 21 --out networks/start",
    "python -m jaxseg convert pspnet50.pth --head reset --classes 11 --out networks/camvid",
    "python -m jaxseg convert runs/camvid --out networks/camvid",
    "python -m jaxseg convert runs/camvid --out networks/small --dtype float16 "
    "--push hf://me/streets",
)


def main(argv: Sequence[str]) -> None:
    """Parses the options, converts, prints the report on every tensor."""
    parser = Parser(
        "convert",
        "Reads published weights (a .caffemodel, PyTorch .pth or .safetensors file) or those of\n"
        "a run, and writes a folder with the variables of a network and everything needed to use\n"
        "them. Reports how each tensor was used.",
        _EXAMPLES,
    )
    parser.add_argument(
        "path",
        metavar="SRC",
        type=network_name,
        help="weight file, workdir of a run, or a name listed by `python -m jaxseg models`",
    )
    parser.add_argument(
        "--out", metavar="DIR", type=pathlib.Path, required=True, help="new folder to write"
    )
    parser.add_argument(
        "--model", metavar="NAME", help="network to fill (default: the one the file is for)"
    )
    parser.add_argument(
        "--classes", metavar="N", type=int, help="number of classes (default: that of the file)"
    )
    parser.add_argument(
        "--source", metavar="NAME",
        help="project that the file comes from (default: detected from its tensor names)",
    )  # fmt: skip
    parser.add_argument(
        "--head",
        default="keep",
        metavar="keep|reset",
        help="keep the layers that compute logits, or initialise new ones for other classes "
        "(default: keep)",
    )
    parser.add_argument(
        "--dtype",
        default="float32",
        metavar="float32|float16|bfloat16",
        help="type of the stored values; the 16-bit types are rounded and halve the size "
        "(default: float32)",
    )
    parser.add_argument(
        "--push",
        metavar="hf://OWNER/REPO",
        help="also upload the folder and a model card to the Hugging Face Hub (extra hub)",
    )
    parser.add_argument("--config.model.FIELD", metavar="VALUE", help="set a field of the network")
    add_json(parser)
    options, overrides = split_overrides(argv)
    args = parser.parse_args(options)
    fields = _model_fields(overrides)

    from jaxseg.pretrained.export import export
    from jaxseg.pretrained.hub import check_push, push

    if args.push is not None:
        check_push(args.push)
    with json_output(args.json) as put:
        name, model, report = export(
            args.path,
            args.out,
            args.model,
            num_classes=args.classes,
            source=args.source,
            head=args.head,
            fields=fields,
            dtype=args.dtype,
        )
        put({"folder": args.out, "network": name, "num_classes": model.num_classes,
             "report": str(report)})  # fmt: skip
        print(report)
        print(f"{args.out}: {name} of {model.num_classes} classes")
        if args.push is not None:
            print(push(args.out, args.push))


def _model_fields(overrides: Sequence[tuple[str, str | None]]) -> dict[str, Any]:
    """The fields of the network set by `--config.model.FIELD`."""
    from jaxseg.config import flatten

    config = flatten(read_config(None, overrides))
    fields = {}
    for name, _ in overrides:
        group, _, field = name.partition(".")
        if group != "model" or field in ("name", "num_classes"):
            raise InputError(
                f"convert does not accept --config.{name}.",
                "Give only fields of config.model; use --model for the name and --classes for the "
                "number of classes.",
            )
        if config[name] is not None:
            fields[field] = config[name]
    return fields
