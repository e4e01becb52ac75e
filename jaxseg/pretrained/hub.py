"""Networks on the Hugging Face Hub: a repository contains the files of a network's folder."""

import os
import pathlib
import re

from jaxseg.errors import InputError
from jaxseg.pretrained.card import model_card
from jaxseg.pretrained.folder import MODEL_FILE, VARIABLES_FILE, check_exported, read_folder
from jaxseg.pretrained.zoo.cache import OFFLINE, is_offline
from jaxseg.utils.paths import given_path

SCHEME = "hf://"
_CARD = "README.md"


def parse(address: str) -> tuple[str, str | None]:
    """Owner/repository and revision of `hf://owner/repo[@revision]`.

    >>> parse("hf://me/streets@v1")
    ('me/streets', 'v1')
    """
    match = re.fullmatch(r"hf://([\w.-]+/[\w.-]+)(?:@([\w./-]+))?", address)
    if match is None:
        raise InputError(
            f"{address!r} is not the address of a Hub repository.",
            "Give hf://owner/repo or hf://owner/repo@revision.",
        )
    return match[1], match[2]


def fetch_repository(address: str) -> pathlib.Path:
    """Returns the folder of a network, from a repository or from the Hub's own cache.

    Args:
      address: `hf://owner/repo[@revision]`.

    Raises:
      InputError: the extra is not installed, there is no such repository, it has no jaxseg network,
        or it cannot be reached.
    """
    repository, revision = parse(address)
    hub, offline = _client(), is_offline()
    try:
        folder = hub.snapshot_download(
            repository,
            revision=revision,
            allow_patterns=[MODEL_FILE, VARIABLES_FILE, _CARD],
            local_files_only=offline,
        )
    except Exception as error:  # the client raises many types
        if offline:
            raise InputError(
                f"{address} is not in the Hub's cache, but {OFFLINE} is set.",
                f"Run `hf download {repository} --local-dir DIR` elsewhere, and give that folder.",
            ) from None
        raise _failed(f"{address} cannot be downloaded", error) from None
    try:
        check_exported(folder)
    except InputError:
        raise InputError(
            f"{address} contains no jaxseg network: it has no {MODEL_FILE} or no {VARIABLES_FILE}.",
            "Give a repository written by `python -m jaxseg convert --push`.",
        ) from None
    return pathlib.Path(folder)


def push(folder: str | os.PathLike, address: str) -> str:
    """Uploads a network's folder with a model card; creates the repository if it is missing.

    Args:
      folder: a folder written by `save_exported`.
      address: `hf://owner/repo[@branch]`.

    Returns:
      The URL of the commit.

    Raises:
      InputError: as `check_push`, or the Hub refuses the upload.
    """
    check_push(address)
    repository, revision = parse(address)
    card = model_card(read_folder(folder), repository)
    hub = _client()
    try:
        api = hub.HfApi()
        api.create_repo(repository, exist_ok=True)
        path = given_path(folder)
        additions = [
            hub.CommitOperationAdd(name, str(path / name)) for name in (MODEL_FILE, VARIABLES_FILE)
        ]
        additions.append(hub.CommitOperationAdd(_CARD, card.encode()))
        commit = api.create_commit(
            repository,
            operations=additions,
            commit_message="A jaxseg network",
            revision=revision,
        )
    except Exception as error:  # the client raises many types
        raise _failed(f"{folder} cannot be uploaded to {address}", error) from None
    return str(commit.commit_url)


def check_push(address: str) -> None:
    """Checks all that `push` needs on this side, before a network is converted for it.

    Raises:
      InputError: not an address, the extra is not installed, or downloads are disabled.
    """
    parse(address)
    _client()
    if is_offline():
        raise InputError(
            f"Nothing can be uploaded to {address}, because {OFFLINE} is set.", f"Unset {OFFLINE}."
        )


def _client():
    try:
        import huggingface_hub
    except ImportError:
        raise InputError(
            "hf:// needs huggingface_hub, which is not installed.", "pip install 'jaxseg[hub]'"
        ) from None
    return huggingface_hub


def _failed(what: str, error: Exception) -> InputError:
    lines = [line.strip().rstrip(".") for line in str(error).splitlines() if line.strip()]
    message = ". ".join(lines[:2]) or type(error).__name__  # the first may be a bare status
    return InputError(
        f"{what}: {message}.",
        "Check the name and the network connection; a private repository needs `hf auth login` "
        "first.",
    )
