"""Imports follow the order of the layers, and there are no cycles, not even inside functions."""

import ast
import pathlib

import jaxseg

PACKAGE = pathlib.Path(jaxseg.__file__).parent

# From the top down. A package imports only from lines below its own; packages on one line do not
# import from each other. The public API, jaxseg/__init__.py, may import from everywhere.
LAYERS = (
    ("__main__", "main"),
    ("cli",),
    ("report", "export", "benchmark", "serve"),
    ("training",),
    ("evaluation",),
    ("inference",),
    ("pretrained",),
    ("checkpoint",),
    ("visualization",),
    ("config",),
    ("data", "models"),
    ("losses", "metrics", "nn"),
    ("ops",),
    ("distributed",),
    ("utils",),
    ("errors",),
)
HEIGHT = {room: len(LAYERS) - i for i, rooms in enumerate(LAYERS) for room in rooms}


def module_name(path: pathlib.Path) -> str:
    """Returns e.g. `jaxseg.data` for jaxseg/data/__init__.py."""
    parts = ("jaxseg", *path.relative_to(PACKAGE).with_suffix("").parts)
    return ".".join(parts).removesuffix(".__init__")


MODULES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def imports(path: pathlib.Path) -> set[str]:
    """The modules of jaxseg that a file imports, also inside functions."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path} has a relative import"
            if node.module == "jaxseg" and [alias.name for alias in node.names] == ["__version__"]:
                continue  # the only import allowed from the public API
            names = (f"{node.module}.{alias.name}" for alias in node.names)
            found |= {name if name in MODULES else str(node.module) for name in names}
    return {name for name in found if name.partition(".")[0] == "jaxseg"}


IMPORTS = {name: imports(path) for name, path in MODULES.items()}
del IMPORTS["jaxseg"]  # the public API


def room(module: str) -> str:
    return module.split(".")[1]


def test_each_module_lies_in_a_room():
    loose = {path.stem for path in PACKAGE.glob("*.py")}
    assert loose == {"__init__", "__main__", "main", "errors"}
    folders = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert folders | loose - {"__init__"} == set(HEIGHT)


def test_imports_go_down():
    upward = [
        f"{module} imports {name}"
        for module, names in IMPORTS.items()
        for name in sorted(names)
        if name == "jaxseg"
        or (room(name) != room(module) and HEIGHT[room(name)] >= HEIGHT[room(module)])
    ]
    assert not upward, "\n".join(upward)


def test_no_circles():
    circles, done = [], set()

    def visit(module: str, above: tuple[str, ...]) -> None:
        if module in above:
            circles.append(" -> ".join([*above[above.index(module) :], module]))
        elif module not in done:
            for name in sorted(IMPORTS.get(module, ())):
                visit(name, (*above, module))
            done.add(module)

    for module in IMPORTS:
        visit(module, ())
    assert not circles, "\n".join(circles)
