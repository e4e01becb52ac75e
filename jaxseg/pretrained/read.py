"""Opens weights from any source: a file, a folder of `convert`, a run, the zoo or the Hub."""

import os

from jaxseg.checkpoint.workdir import run_above, runs_in
from jaxseg.errors import InputError
from jaxseg.pretrained.folder import MODEL_FILE, read_folder
from jaxseg.pretrained.run import is_run, read_run
from jaxseg.pretrained.tensor_file import TensorFile, read_tensors
from jaxseg.pretrained.zoo.names import GIVE, located, renewal
from jaxseg.pretrained.zoo.rows import find, unknown
from jaxseg.utils.access import check_readable


def read_weights(path: str | os.PathLike | TensorFile, step: str | int = "last") -> TensorFile:
    """Opens weights: reads names and shapes; most arrays are read when they are used.

    Args:
      path: a weight file for `read_tensors`, a folder written by `save_exported`, a run's workdir
        or `WORKDIR/checkpoints/STEP`, a name of `list_pretrained`, or `hf://owner/repo`; or opened
        weights.
      step: for a workdir: "last", "best" (by mean IoU) or the number of a step.

    Returns:
      A `JaxsegFile` for a folder or a run.

    Raises:
      InputError: the file does not exist, has none of these kinds, or is damaged.
    """
    if isinstance(path, TensorFile):
        return path
    name, path = path, located(path)
    if not os.path.lexists(path) and path.name == os.fspath(name) and not path.suffix:
        raise unknown(name)
    check_readable(path, depth=0)
    folder, own = os.path.isdir(path), os.path.isfile(path / MODEL_FILE)
    if folder and not own and is_run(path):
        return read_run(path, step)
    if step != "last":
        raise InputError(
            f"{path} is not the workdir of a run, so it has no step {step}.", "Remove the step."
        )
    if own:
        try:
            return read_folder(path)
        except InputError as error:
            raise InputError(error.problem, renewal(path) or error.remedy) from None
    if not folder:
        return read_tensors(path)
    above = run_above(path)
    give = f"Give its run, {above}." if above is not None else runs_in(path) or GIVE
    if find(os.fspath(name)):
        give = f"Rename the folder, which hides the network '{name}'. Otherwise g{GIVE[1:]}"
    raise InputError(
        f"{path} is a folder without {MODEL_FILE} (of a network) or config.json (of a run).", give
    )
