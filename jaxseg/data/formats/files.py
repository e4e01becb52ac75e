"""Finds the annotation file of a split, or of the whole data set."""

from pathlib import Path
from typing import Any

from jaxseg.errors import InputError
from jaxseg.utils.paths import given_path


def find_file(
    config, root: Path, split: str, suffix: str, layout: str, must: bool = True
) -> tuple[Any, bool]:
    """The annotation file for a split, and whether it belongs to that split only.

    Raises:
      InputError: `must` is set, and there is no such file, or several.
    """
    if config.annotations is not None:
        name = config.annotations.replace("{split}", split)
        path = given_path(root / Path(name).expanduser())
        if path.is_file():
            return path, name != config.annotations
        if not must:
            return None, False
        raise InputError(f"config.data.annotations is {path}, which does not exist.", layout)
    folders = [root / "annotations", root, root / split]
    for stem in (f"instances_{split}", f"instances_{split}2017", split, f"panoptic_{split}",
                 f"panoptic_{split}2017", f"instances_{split.capitalize()}", f"stuff_{split}",
                 f"stuff_{split}2017"):  # fmt: skip
        for folder in folders[:2]:
            if (path := folder / f"{stem}{suffix}").is_file():
                return path, True
    if (path := root / split / "_annotations.coco.json").is_file() and suffix == ".json":
        return path, True
    files = [
        p for folder in folders[:2] if folder.is_dir() for p in sorted(folder.glob("*" + suffix))
    ]
    if len(files) == 1:
        return files[0], False
    if not must:
        return None, False
    if not files:
        raise InputError(f"There is no annotation file (*{suffix}) in {root}.", layout)
    raise InputError(
        f"{root} has several annotation files: {', '.join(p.name for p in files[:6])}.",
        "Set config.data.annotations to one of them; {split} in it stands for the split.",
    )
