"""Training in stages: consecutive runs, each from the weights of the previous one.

FCN-8s is trained in this way (FCN-32s, then FCN-16s, then FCN-8s; Long et al. 2015, section 4.2),
and so is DeconvNet (single objects, then whole boxes; Noh et al. 2015, section 4.2). A stage is an
ordinary run in its own folder inside the workdir: `1_fcn32s`, `2_fcn16s`, `3_fcn8s`.
"""

import pathlib
from collections.abc import Callable, Sequence

import flax.linen as nn
import jax
import ml_collections

from jaxseg.checkpoint.steps import saved_position, whole_steps
from jaxseg.checkpoint.workdir import Workdir, stage_folders
from jaxseg.config import load_config, validate
from jaxseg.data import check_position, open_data, position
from jaxseg.distributed.devices import device_count
from jaxseg.errors import InputError
from jaxseg.evaluation.evaluator import Evaluator
from jaxseg.models import model_from_config
from jaxseg.pretrained.fill import closest_fit, find_source
from jaxseg.pretrained.folder import JaxsegFile
from jaxseg.training.automatic import resolved
from jaxseg.training.comparable import evaluated
from jaxseg.training.loop import train
from jaxseg.training.setup import Program
from jaxseg.utils.bucket import is_bucket
from jaxseg.utils.json_files import read_object

Stage = tuple[str, ml_collections.ConfigDict]
"""A name, such as "fcn16s", and the config of a run."""


def train_stages(
    stages: Sequence[Stage], workdir: str | pathlib.Path, say: Callable[[str], None] = print
) -> dict[str, dict]:
    """Trains all stages in order, resuming an earlier call in `workdir`.

    A stage starts from the newest checkpoint of the previous one, with a new optimizer, as in the
    released solvers. The first stage starts as set by its `config.init`. Finished stages are not
    run again. All stages are checked before the first one begins.

    Args:
      stages: the runs. In all but the first, `init.pretrained` must be None; it is set here. If
        `checkpoint.folder` is set, each stage's checkpoints go into a subfolder with its name.
      workdir: contains a folder for each stage, named by its number and name.
      say: receives a line for each stage that begins or is already finished.

    Returns:
      The metrics of every stage by name, as in its `scores.json`.

    Raises:
      InputError: as `train`, for any stage; the network of a stage cannot load the weights of the
        previous one; or the workdir contains another run.
    """
    outer = Workdir(workdir).path
    stages = [
        (name, _in_own_folder(config, f"{i}_{name}")) for i, (name, config) in enumerate(stages, 1)
    ]
    folders = [
        Workdir(outer / f"{i}_{name}", config.checkpoint.folder)
        for i, (name, config) in enumerate(stages, 1)
    ]
    _check_workdir(outer, folders)
    configs: list[ml_collections.ConfigDict] = []
    for (name, config), folder in zip(stages, folders, strict=True):
        before = folders[len(configs) - 1] if configs else None
        configs.append(config if before is None else _started_from(name, config, folder, before))
    begun = [bool(whole_steps(folder.checkpoints)) for folder in folders]
    for i in range(1, len(stages)):
        if not begun[i]:
            _check_start(stages[i - 1][0], configs[i - 1], stages[i][0], _network(configs[i]))

    scores: dict[str, dict] = {}
    for i, (name, _) in enumerate(stages):
        heading = f"stage {i + 1} of {len(stages)}: {name}"
        found = _finished(folders[i], configs[i]) if begun[i] else None
        if found is not None:
            folders[i].open(_with_numbers(configs[i]))  # must be the same run
            if configs[i].log.pictures and not folders[i].picture.is_file():
                train(configs[i], folders[i].path)  # killed before its picture; takes no steps
        elif any(begun[i + 1 :]):
            raise InputError(
                f"{folders[i].path} is not finished for train.steps = {configs[i].train.steps}, "
                "but a later stage has already started from it.",
                "Restore its original train.steps, or give another --workdir.",
            )
        say(f"{heading} {'is finished' if found is not None else f'in {folders[i].path}'}")
        scores[name] = train(configs[i], folders[i].path) if found is None else found
    return scores


def _in_own_folder(config: ml_collections.ConfigDict, name: str) -> ml_collections.ConfigDict:
    """The config of a stage, with its own subfolder of `checkpoint.folder`, if set."""
    folder = config.checkpoint.folder
    if folder is None:
        return config
    validate(config)
    if jax.process_count() > 1 and is_bucket(folder):  # processes read each other's workdirs
        raise InputError(
            f"config.checkpoint.folder is {folder}, but stages with several processes must keep "
            "their checkpoints in the workdir, on a shared disk.",
            "Set it to None, or train the stages one by one, each from the previous workdir with "
            "config.init.pretrained.",
        )
    config = config.copy_and_resolve_references()
    config.checkpoint.folder = f"{folder.rstrip('/')}/{name}"
    return config


def _check_workdir(outer: pathlib.Path, folders: Sequence[Workdir]) -> None:
    """Raises InputError if `outer` contains another run, or stages with other names."""
    if Workdir(outer).config.is_file():
        raise InputError(
            f"The workdir {outer} contains a single run, not stages.", "Give another --workdir."
        )
    names = [folder.path.name for folder in folders]
    others = [path.name for path in stage_folders(outer) if path.name not in names]
    if others:
        raise InputError(
            f"The workdir {outer} contains the stage {others[0]}, but the config has "
            f"{', '.join(names)}.",
            "Give another --workdir, or the config of the existing stages.",
        )


def _started_from(
    name: str, config: ml_collections.ConfigDict, folder: Workdir, before: Workdir
) -> ml_collections.ConfigDict:
    """The config of a stage that starts from the stage in `before`."""
    if config.init.pretrained is not None:
        raise InputError(
            f"Stage {name} has init.pretrained = {config.init.pretrained!r}, but it starts from "
            "the previous stage.",
            "Set it only for the first stage.",
        )
    config = config.copy_and_resolve_references()
    config.init.pretrained = str(before.path)
    if whole_steps(folder.checkpoints):  # the workdir may have been moved since
        config.init.pretrained = load_config(folder.config).init.pretrained
    return config


def _network(config: ml_collections.ConfigDict) -> nn.Module:
    """The network of a run, after checking everything that `train` needs."""
    validate(config)
    if not config.train.batch_size:  # the batch size is chosen when the stage begins
        config = config.copy_and_resolve_references()
        config.train.batch_size = device_count()
    program = Program(config, open_data(config.data, "train", config.seed))
    evaluation = open_data(config.data, "eval", config.seed)
    Evaluator.of_run(program.model, evaluation, config).check(program.like.variables)
    return program.model


def _check_start(
    before: str, config: ml_collections.ConfigDict, name: str, network: nn.Module
) -> None:
    """Raises InputError unless `network` can start from the network of `config`."""
    earlier = model_from_config(config.model, network.num_classes, config.data)
    file = JaxsegFile(
        path=pathlib.Path(before),
        container="jaxseg",
        tensors={},
        name=config.model.name,
        model=earlier,
    )
    closest = closest_fit(find_source(file).fits(file), network)
    differences = closest[1] if closest else [f"its network is a {type(network).__name__}"]
    if differences:
        raise InputError(
            f"Stage {name} cannot start from stage {before}: {', '.join(differences)}.",
            "Give both the same config.model, except for the stride and the fields that only "
            "training uses; or two networks on VGG16 with batch norm and the same width.",
        )


def _with_numbers(config: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
    """The config as written by a started run, except fields that depend on the machine."""
    return resolved(config, open_data(config.data, "train", config.seed), lambda line: None)


def finished_scores(workdir: str | pathlib.Path, config: ml_collections.ConfigDict) -> dict | None:
    """The metrics of the run of `config` in a workdir.

    Returns:
      The content of its `scores.json`; None if the run is not finished, or is now evaluated on
      other images or in another way.

    Raises:
      InputError: the workdir contains another run, or one of other training examples.
    """
    folder = Workdir(workdir, config.checkpoint.folder)
    found = _finished(folder, config)
    if found is None:
        return None
    folder.check_same(_with_numbers(config))
    saved = saved_position(folder.checkpoints, found["step"])
    ran = load_config(folder.config)
    source = open_data(config.data, "train", config.seed)
    check_position(
        saved,
        position(source, step=0, seed=config.seed, batch_size=ran.train.batch_size),
    )
    marks = evaluated(open_data(config.data, "eval", config.seed), config.eval)
    return found if saved == saved | marks else None


def _finished(folder: Workdir, config: ml_collections.ConfigDict) -> dict | None:
    """The metrics of a finished run; None for a run that is not finished."""
    try:
        scores = read_object(folder.scores)
    except (OSError, ValueError):
        return None
    steps = whole_steps(folder.checkpoints)
    if not steps or scores.get("step") != steps[-1]:
        return None  # the run was resumed after its evaluation
    ran = load_config(folder.config).train
    if config.train.max_minutes is not None:
        wanted = ran.steps
    elif config.train.epochs is not None:
        wanted = _with_numbers(config).train.steps
    else:
        wanted = config.train.steps
    ended_early = config.train.patience is not None or config.train.max_minutes is not None
    return scores if steps[-1] == wanted or (ended_early and ran.steps == wanted) else None
