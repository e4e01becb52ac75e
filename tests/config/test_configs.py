"""Every recipe in configs/ loads, and its network takes the recipe's image sizes."""

import functools

import jax
import jax.numpy as jnp
import pytest

from jaxseg.cli.config_options import read_config, read_stages
from jaxseg.errors import InputError
from jaxseg.models import list_models, model_from_config

SLOW = (  # similar to the recipes of CamVid and ADE20K, which are tested by default
    *("pets_fcn8s.py", "pets_deconvnet.py", "pets_pspnet.py"),
    *("pspnet_cityscapes.py", "pspnet_voc2012.py", "deconvnet.py"),
)
PETS = ("", ":full", ":pretrained")
SPECS = [
    *(f"quickstart.py{v}" for v in ("", ":fcn16s", ":fcn32s", ":deconvnet", ":pspnet")),
    *(f"camvid_{n}.py{v}" for n in ("fcn8s", "deconvnet", "pspnet") for v in ("", ":full")),
    *(f"pets_{n}.py{v}" for n in ("fcn8s", "deconvnet", "pspnet") for v in PETS),
    *(f"{n}.py{v}" for n in ("fcn32s", "fcn16s") for v in ("", ":mean", ":cvpr")),
    *(f"fcn8s.py{v}" for v in ("", ":mean", ":cvpr", ":staged", ":staged_mean", ":staged_cvpr")),
    *(f"fcn8s_atonce.py{v}" for v in ("", ":mean")),
    *(f"fcn_alexnet.py{v}" for v in ("", ":cvpr")),
    "fcn_googlenet.py",
    *(f"deconvnet.py{v}" for v in ("", ":stage_1", ":stage_2")),
    *(f"pspnet_{n}.py{v}" for n in ("ade20k", "voc2012", "cityscapes") for v in ("", ":semseg")),
]  # and each has its `:smoke` variant


def test_every_recipe_is_tested(repository):
    assert {spec.split(":")[0] for spec in SPECS} == {p.name for p in repository.glob("configs/*")}


@pytest.mark.default_cases(1)
@pytest.mark.parametrize(
    "spec",
    [pytest.param(s, marks=pytest.mark.slow if ":" in s or s in SLOW else ()) for s in SPECS],
)
def test_recipe(spec, repository):
    for _, config in read_stages(str(repository / "configs" / spec)):
        assert config.model.name in list_models()
        check_sizes(config)


def check_sizes(config):
    """The network takes the recipe's images and gives logits of their size."""
    sizes = {config.augment.crop, config.eval.input_size, config.eval.crop}
    sizes |= {config.data.scenes_size} if config.data.name == "scenes" else set()
    model = model_from_config(config.model, 11)
    for size in filter(None, sizes):
        assert logits_size(model, size) == size


@functools.cache
def logits_size(model, size):
    """Cached: many recipes share a network."""
    x = jax.ShapeDtypeStruct((2, *size, 3), jnp.float32)
    variables = jax.eval_shape(model.init, jax.random.key(0), x)
    heads = jax.eval_shape(functools.partial(model.apply, method="heads"), variables, x)
    return heads[0].upsampling.out_size


@pytest.mark.parametrize(
    "name",
    ["quickstart", "camvid_fcn8s", "camvid_deconvnet", "camvid_pspnet", "fcn8s", "deconvnet"],
)
def test_an_unknown_variant(name, repository):
    with pytest.raises(InputError, match="no variant 'ful'"):
        read_config(str(repository / f"configs/{name}.py:ful"), ())
