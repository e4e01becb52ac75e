"""The networks in PyTorch of the models' tests are the references here, too."""

import pathlib
import sys

sys.path.append(str(pathlib.Path(__file__).resolve().parents[1] / "models"))
