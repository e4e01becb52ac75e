"""Data sets of the Hugging Face Hub, or saved by `datasets`, by name and columns.

The stored bytes of photos and masks are decoded like files.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxseg.data.datasets.columns import Columns
from jaxseg.data.source import DataInfo
from jaxseg.errors import InputError, nearest
from jaxseg.utils.access import reason, remedy_for
from jaxseg.utils.image_kind import RGB, ImageKind


class HfSource(Columns):
    """One split of a data set of `datasets`.

    Args:
      name: a repository, "owner/name"; or a folder that `datasets` can load or has saved.
      split: name of the split in `datasets`.
      cache: folder of downloaded data sets; None: that of `datasets`.
      revision: commit, tag or branch of the repository; None: the newest, which `notes` names.
      image_key, mask_key: names of the columns.
      info: the classes.
      values: as in `read_mask`.
      kind: kind of the photos.

    Raises:
      InputError: `datasets` is not installed, or there is no such data set, split or column.
    """

    exif = "each"
    remedy = "Remove the example from the data set."

    def __init__(
        self,
        name: str,
        split: str,
        cache: str | None,
        revision: str | None,
        image_key: str,
        mask_key: str,
        info: DataInfo,
        values: Mapping[int, int] | None = None,
        kind: ImageKind = RGB,
    ):
        self.notes: tuple[str, ...] = ()
        """Choices that were made for the user."""
        if revision is None and not Path(name).is_dir():
            revision = _newest(name)
            self.notes = (
                f"using the newest revision; a workdir pins it: config.data.hf_revision={revision}",
            )
        self.revision = revision
        keys = image_key, mask_key
        super().__init__(
            (name, split, cache, revision, image_key, mask_key, info, values, kind),
            _open(name, split, cache, revision, keys),
            name,
            split,
            keys,
            info,
            values,
            kind,
        )

    def content(self, record: Any, key: str, file: str) -> bytes:
        return _bytes(record[key], file)


def _datasets() -> Any:
    try:
        import datasets
    except ImportError as error:
        raise InputError(
            f"config.data.name='hf' needs the package datasets ({error}).",
            "pip install 'jaxseg[hf]'",
        ) from error
    return datasets


def _newest(name: str) -> str:
    """The commit of the newest revision of a repository."""
    _datasets()
    from huggingface_hub import HfApi

    try:
        return str(HfApi().dataset_info(name).sha)
    except Exception as error:  # no network, no such repository, or no permission
        raise _no_data(name, error) from error


def _open(name: str, split: str, cache, revision, keys: tuple[str, str]) -> Any:
    """Opens the split, with the stored bytes of both columns."""
    datasets = _datasets()
    try:
        if (Path(name) / "dataset_dict.json").is_file() or (Path(name) / "state.json").is_file():
            loaded = datasets.load_from_disk(name)
        else:
            loaded = datasets.load_dataset(name, revision=revision, cache_dir=cache)
    except Exception as error:  # no network, no such repository, or a damaged file
        raise _no_data(name, error) from error
    if isinstance(loaded, dict):
        if split not in loaded:
            raise InputError(
                f"'{name}' has no split '{split}'.",
                f"{nearest(split, loaded)} Set it in config.data.train_split or eval_split.",
            )
        loaded = loaded[split]
    images = [k for k, f in loaded.features.items() if isinstance(f, datasets.Image)]
    for field, key in zip(("image_key", "mask_key"), keys, strict=True):
        if key not in images:
            raise InputError(
                f"'{name}' has no image column '{key}' (config.data.{field}).",
                f"Its image columns: {', '.join(images) or 'none'}.",
            )
        loaded = loaded.cast_column(key, datasets.Image(decode=False))
    return loaded


def _bytes(cell: Mapping[str, Any] | None, file: str) -> bytes:
    """The bytes of an undecoded image, or of the file that it refers to."""
    try:
        if cell is not None and cell["bytes"] is not None:
            return cell["bytes"]
        if cell is not None and cell["path"]:
            return Path(cell["path"]).read_bytes()
    except OSError as error:
        raise InputError(
            f"{file} cannot be read ({reason(error)}).",
            remedy_for(error, "Download the data set again."),
        ) from error
    raise InputError(f"{file} is empty.", "Remove the example from the data set.")


def _no_data(name: str, error: Exception) -> InputError:
    reason = (str(error) or type(error).__name__).strip().partition("\n")[0].rstrip(".")
    return InputError(
        f"The data set '{name}' cannot be loaded ({reason}).",
        "Set config.data.hf_name to owner/name as on the Hub, or to a folder saved by "
        "`datasets`. Without a network connection, the data set must already be in the cache.",
    )
