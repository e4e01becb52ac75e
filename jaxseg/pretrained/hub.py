"""Networks on the Hugging Face Hub: a repository contains the files of a network's folder."""

import os
import pathlib
import re

from jaxseg.errors import InputError
from jaxseg.pretrained.card import model_card
from jaxseg.pretrained.folder import MODEL_FILE, VARIABLES_FILE, check_exported, read_folder
from jaxseg.pretrained.zoo.cache import OFFLINE, is_offline
from jaxseg.utils.exhausted import disk_is_full
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
        raise _failed(
            f"{address} cannot be downloaded", error, address, "the same command again"
        ) from None
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
        raise _failed(
            f"{folder} cannot be uploaded to {address}",
            error,
            address,
            f"`python -m jaxseg convert {folder} --out OTHER --push {address}`",
        ) from None
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


def _failed(what: str, error: Exception, address: str, command: str) -> InputError:
    """The error for a request that failed, by what the Hub answered, if it did."""
    causes = [error]
    while (cause := causes[-1].__cause__) is not None and isinstance(cause, Exception):
        causes.append(cause)
    response = next((r for e in causes if (r := getattr(e, "response", None)) is not None), None)
    if response is None:
        reason = str(causes[-1]).strip().partition("\n")[0] or type(causes[-1]).__name__
        fix = "Check the network connection and the proxy (HTTPS_PROXY)"
        if disk_is_full(error):
            fix = "Free space in the Hub's cache (HF_HOME selects its folder)"
        elif isinstance(causes[-1], ValueError):
            fix = "Correct the address"
    elif response.headers.get("X-Error-Code") == "RevisionNotFound":
        reason = "the repository has no such revision"
        fix = f"Give a branch, tag or commit of {SCHEME}{parse(address)[0]}"
    elif response.status_code in (401, 403, 404):
        reason = f"there is no such repository for this user ({_status(response)})"
        fix = "Check the name, and run `hf auth login` or set HF_TOKEN, with the rights needed"
    elif response.status_code == 429 or response.status_code >= 500:
        reason = f"the Hub answers {_status(response)}"
        fix = "Wait until it works again"
    else:
        said = next((m for e in causes if (m := getattr(e, "server_message", None))), None)
        reason = f"the Hub answers {_status(response)}" + (f", {said}" if said else "")
        fix = "Correct what the Hub refuses"
    return InputError(f"{what}: {reason.rstrip('.')}.", f"{fix}; then run {command}.")


def _status(response) -> str:
    return f"{response.status_code} {response.reason_phrase}".rstrip()
