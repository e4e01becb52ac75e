"""Label maps in MATLAB files, as SBD and PASCAL-Context publish theirs.

SciPy reads them: jax needs it anyhow, so that it costs no further dependency.
"""

from pathlib import Path

import numpy as np

from jaxseg.errors import InputError


def read_mat_labels(path: Path) -> np.ndarray:
    """The label map in `path`, [H, W] of an unsigned integer type, as stored.

    It is `GTcls.Segmentation` (SBD: classes 0..20) or `LabelMap` (PASCAL-Context: 1..459).

    Raises:
      InputError: the file is damaged or holds neither.
    """
    import scipy.io

    try:
        content = scipy.io.loadmat(path, variable_names=("GTcls", "LabelMap"))
    except Exception as error:  # whatever a damaged file makes of the reader
        raise InputError(
            f"{path} cannot be read ({type(error).__name__}: {str(error).rstrip('.')}).",
            "Replace the file with a whole one, or take its id out of the list.",
        ) from error
    try:
        labels = np.asarray(
            content["LabelMap"] if "LabelMap" in content else content["GTcls"]["Segmentation"][0, 0]
        )
    except (KeyError, IndexError, ValueError, TypeError):
        labels = np.zeros(())
    if labels.ndim != 2 or labels.size == 0 or labels.dtype.kind != "u":
        raise InputError(
            f"{path} holds no label map.",
            "Give a file of SBD's cls folder or of PASCAL-Context's trainval folder.",
        )
    return labels
