"""One process of a run, alone or one of several: trains, then writes two confusion matrices.

One matrix is counted on the devices, the other from label maps that each process makes by itself.

Arguments: config file, workdir, field=value...
"""

import os
import sys

import numpy as np

from jaxseg.cli.config_options import read_config
from jaxseg.distributed.multihost import COORDINATOR, joined


def main():
    with joined(COORDINATOR in os.environ) as first:
        from jaxseg.evaluation.evaluator import Evaluator
        from jaxseg.evaluation.trained_run import open_run
        from jaxseg.training.loop import train

        spec, workdir, *fields = sys.argv[1:]
        overrides = [tuple(field.split("=", 1)) for field in fields]
        train(read_config(spec, overrides), workdir)
        run = open_run(workdir)
        confusion = Evaluator.of_run(run.model, run.source, run.config).confusion(run.variables)
        if first:
            np.save(f"{workdir}/confusion.npy", confusion)
        sliding = {"eval.protocol": "sliding", "eval.crop": (32, 32), "eval.batch_size": None}
        run = open_run(workdir, fields=sliding)
        confusion = Evaluator.of_run(run.model, run.source, run.config).confusion(run.variables)
        if first:
            np.save(f"{workdir}/confusion_of_maps.npy", confusion)


if __name__ == "__main__":
    main()
