"""Every recipe in configs/: it loads, and its network takes the sizes that it asks for."""

import functools

import jax
import jax.numpy as jnp
import pytest

from jaxseg.cli.config_args import read_config
from jaxseg.config import validate
from jaxseg.errors import InputError
from jaxseg.models import list_models, model_from_config

SPECS = [
    *(f"quickstart.py{v}" for v in ("", ":fcn16s", ":fcn32s", ":deconvnet", ":pspnet")),
    *(f"camvid_{n}.py{v}" for n in ("fcn8s", "deconvnet", "pspnet") for v in ("", ":full")),
    "fcn8s.py",
]


def test_none_is_forgotten(repository):
    assert {spec.split(":")[0] for spec in SPECS} == {p.name for p in repository.glob("configs/*")}


@pytest.mark.parametrize("spec", SPECS)
def test_recipe(spec, repository):
    config = read_config(str(repository / "configs" / spec), ())
    validate(config)
    assert config.model.name in list_models()
    sizes = [config.augment.crop, config.eval.input_size]
    sizes += [config.data.scenes_size] if config.data.name == "scenes" else []
    model = model_from_config(config.model, 11)
    variables = None
    for size in filter(None, sizes):
        x = jax.ShapeDtypeStruct((2, *size, 3), jnp.float32)
        if variables is None:
            variables = jax.eval_shape(model.init, jax.random.key(0), x)
        heads = jax.eval_shape(functools.partial(model.apply, method="heads"), variables, x)
        assert heads[0].upsampling.out_size == size
    assert variables or spec == "fcn8s.py"  # which takes photographs as they are


@pytest.mark.parametrize(
    "name", ["quickstart", "camvid_fcn8s", "camvid_deconvnet", "camvid_pspnet"]
)
def test_a_variant_that_is_none(name, repository):
    with pytest.raises(InputError, match="no variant 'ful'"):
        read_config(str(repository / f"configs/{name}.py:ful"), ())
