"""Folders in a bucket (gs://BUCKET/PATH) or on a disk."""

import contextlib
import pathlib
from collections.abc import Iterator
from typing import cast

from etils import epath

from jaxseg.errors import InputError
from jaxseg.utils.paths import given_path


def is_bucket(folder: str | pathlib.Path) -> bool:
    """Whether `folder` is in a bucket.

    >>> is_bucket("gs://mine/run"), is_bucket("/data/run")
    (True, False)
    """
    return str(folder).startswith("gs://")


def folder_at(address: str) -> pathlib.Path:
    """The folder of an absolute path or a gs:// URL; both kinds have the methods of a path.

    >>> folder_at("gs://mine/run") / "5"
    PosixGPath('gs://mine/run/5')
    """
    if not is_bucket(address):
        return given_path(address)
    import fsspec

    # Disables the cache of listings: other programs, such as TensorStore, also write there.
    fsspec.config.conf.setdefault("gcs", {})["use_listings_cache"] = False
    return cast(pathlib.Path, epath.Path(address))


def absolute(folder: pathlib.Path) -> epath.Path:
    """The absolute path of the folder, in the form that Orbax needs."""
    return epath.Path(folder if is_bucket(folder) else folder.absolute())


@contextlib.contextmanager
def reaching(folder: pathlib.Path) -> Iterator[None]:
    """Turns errors of the body, which accesses a bucket, into InputErrors.

    Raises:
      InputError: gcsfs is not installed, the bucket does not exist, or permission or network is
        missing.
    """
    try:
        yield
    except InputError:
        raise
    except ImportError as error:
        if not is_bucket(folder):
            raise
        raise InputError(
            f"config.checkpoint.folder is {folder}, but the package that accesses it is not "
            f"installed: {error}.",
            "pip install 'jaxseg[gcs]', or give a folder on a disk.",
        ) from None
    except Exception as error:  # gcsfs, aiohttp and google.auth errors have no common base class
        if not is_bucket(folder):
            raise
        reason = (str(error).splitlines() or [""])[0] or type(error).__name__
        raise InputError(
            f"config.checkpoint.folder is {folder}, which cannot be accessed: {reason}.",
            "Give an existing bucket with permission to list and write. Log in with `gcloud auth "
            "application-default login`.",
        ) from None
