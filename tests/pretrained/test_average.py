import shutil

import jax
import numpy as np
import pytest

import jaxseg
from jaxseg.cli import run
from jaxseg.errors import InputError
from jaxseg.pretrained.average import average, last_checkpoints
from jaxseg.pretrained.trained import open_trained


@pytest.mark.slow
def test_the_last_checkpoints_of_a_run(finished, tmp_path, capsys):
    workdir, out = finished[0].path, tmp_path / "averaged"
    assert run(["average", str(workdir), "--last", "2", "--out", str(out)]) == 0
    assert "the average of" in capsys.readouterr().out
    (_, before), (_, last) = sources = last_checkpoints(workdir, 2)
    assert last == 40
    one, two = (open_trained(workdir, step).variables for step in (before, last))
    mean = jax.tree.map(lambda a, b: (np.asarray(a, float) + np.asarray(b, float)) / 2, one, two)
    saved = jaxseg.load(out)
    for values in (average(sources).variables, saved.variables):
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-7), values, mean)
    assert any(jax.tree.leaves(jax.tree.map(lambda a, b: np.any(a != b), one, two)))
    assert saved.classes == jaxseg.load(workdir).classes


def test_refusals(finished, tmp_path):
    workdir = finished[0].path
    with pytest.raises(InputError, match="has 2 checkpoint.* not 9"):
        last_checkpoints(workdir, 9)
    with pytest.raises(InputError, match="at least two networks"):
        average([(workdir, "last")])
    other = tmp_path / "other"
    shutil.copytree(workdir, other, ignore=shutil.ignore_patterns("tensorboard"))
    classes = (other / "classes.json").read_text()
    (other / "classes.json").write_text(classes.replace("disc", "coin"))
    with pytest.raises(InputError, match="different networks: classes"):
        average([(workdir, "last"), (other, "last")])
