"""`python -m jaxseg serve`: serves a local web page for trained networks."""

import warnings
from collections.abc import Sequence

from jaxseg.cli.options import add_step, embedded_name, embedded_network, network_name, parse_step
from jaxseg.cli.parser import Parser
from jaxseg.errors import InputError

_EXAMPLES = (
    "python -m jaxseg serve",
    "python -m jaxseg serve pspnet_r50_ade20k",
    "python -m jaxseg serve --workdir runs/fcn32s runs/fcn8s runs/pspnet --port 8080",
    "curl --data-binary @street.jpg 'http://127.0.0.1:8000/predict?format=overlay' --output "
    "labelled.jpg",
)


def main(argv: Sequence[str]) -> None:
    """Parses the options, opens the networks, serves until a signal."""
    parser = Parser(
        "serve",
        "Serves a web page that labels the images you drop on it, with one network or with two\n"
        "side by side, and POST /predict for programs, documented at /docs. No image leaves this\n"
        "machine, and other machines cannot connect unless --host allows it.",
        _EXAMPLES,
    )
    parser.add_argument(
        "names",
        nargs="*",
        type=network_name,
        metavar="NAME",
        help="name listed by `python -m jaxseg models`, hf://owner/repo, workdir, folder written "
        "by convert, or weight file (default: the built-in network)",
    )
    parser.add_argument(
        "--workdir",
        nargs="+",
        type=network_name,
        default=[],
        metavar="DIR",
        help="workdirs of runs",
    )
    add_step(parser)
    parser.add_argument(
        "--port", type=int, default=8000, metavar="N", help="port to listen on (default: 8000)"
    )
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        metavar="ADDRESS",
        help="address to listen on; 0.0.0.0 accepts requests from anyone on the network "
        "(default: 127.0.0.1)",
    )
    parser.add_argument(
        "--max-pixels",
        type=int,
        default=2**22,
        metavar="N",
        help="largest accepted image (default: 4194304)",
    )
    parser.add_argument(
        "--batch", type=int, default=4, metavar="N", help="images per batch (default: 4)"
    )
    args = parser.parse_args(argv)
    for option, value in (("max-pixels", args.max_pixels), ("batch", args.batch)):
        if value < 1:
            raise InputError(f"--{option} is {value}.", "Give 1 or more.")
    step = parse_step(args.step)
    if step != "last" and not args.workdir:
        raise InputError("--step works only with --workdir.", "Remove --step.")
    _serve(args, step)


def _serve(args, step: str | int) -> None:
    try:
        from jaxseg.serve.server import address_of, bound_socket, make_server_app, serve
    except ModuleNotFoundError as error:
        if (error.name or "jaxseg").startswith("jaxseg"):
            raise
        raise InputError(
            f"serve needs {error.name}, which is not installed.", "Run pip install 'jaxseg[serve]'."
        ) from None
    from jaxseg.checkpoint.workdir import Workdir
    from jaxseg.inference.load import load
    from jaxseg.pretrained.zoo.names import is_name
    from jaxseg.pretrained.zoo.rows import is_permissive
    from jaxseg.serve.networks import short_names
    from jaxseg.serve.upload import Limits

    # hides warnings about large images (their size is checked here) and damaged EXIF (ignored)
    warnings.filterwarnings("ignore", module="PIL")
    with bound_socket(args.host, args.port) as listening:
        paths = [*args.names, *args.workdir] or [embedded_network("")]
        opened = [load(path) for path in paths[: len(paths) - len(args.workdir)]]
        for path in args.workdir:
            path = path if is_name(path) else Workdir.existing(path).path
            opened.append(load(path) if is_name(path) else load(path, step))
        shown = [embedded_name(path) for path in paths]
        networks = dict(zip(short_names(shown), opened, strict=True))
        limits = Limits(pixels=args.max_pixels, held=max(2**28, 4 * args.max_pixels))
        app = make_server_app(networks, args.host, limits=limits, most_batch=args.batch)
        address = address_of(listening, args.host)

        def ready() -> None:
            for name, network in networks.items():
                licence = network.card["licence"]
                terms = "" if licence is None or is_permissive(licence) else f", {licence}"
                print(f"network: {name}, {len(network.classes)} classes{terms}")
            print(f"{address} (Ctrl-C to stop)", flush=True)

        serve(app, listening, ready)
        print("stopped")
