"""An option in conflict with a field of the recipe: the error does not blame the user's option."""

import re

import pytest

from jaxseg.cli.config_options import read_config
from jaxseg.errors import InputError

CAMVID = "configs/camvid_fcn8s.py"


@pytest.mark.parametrize(
    ("recipe", "override", "others"),
    [
        (CAMVID, ("eval.protocol", "sliding"), [("eval.crop", "(180, 240)")]),
        (CAMVID, ("model.name", "pspnet_resnet50"), []),
    ],
)
def test_the_fix_unsets_it_and_works(recipe, override, others):
    overrides = [override, *others]
    with pytest.raises(InputError, match=f"{recipe} sets it, not your options: add ") as error:
        read_config(recipe, overrides)
    words = re.findall(r"--config\.([\w.]+)=(\S+)", error.value.remedy)
    read_config(recipe, [*overrides, *((name, text.strip("'")) for name, text in words)])


def test_a_field_set_by_the_user_is_blamed_on_the_user():
    with pytest.raises(InputError, match="loss.gamma is 3.0, which has no effect") as error:
        read_config(CAMVID, [("loss.gamma", "3.0")])
    assert "sets it" not in error.value.remedy
