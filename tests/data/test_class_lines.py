"""Lines of classes.txt that would give a class another index than its author meant."""

import pytest

from jaxseg.data.listing import read_class_names
from jaxseg.errors import InputError


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("# mine\nsky\nroad\n", "Line 1 "),
        ("sky\nroad\n# car\n", "Line 3 "),
        ("0: sky\n2: road\n1: car\n", "Line 2 "),
        ("7 road\n8 sidewalk\n", "Line 1 "),
        ("1 sky 0 0 255\n3 road 9 9 9\n", "Line 2 "),
    ],
)
def test_a_line_out_of_its_place_is_named(tmp_path, text, line):
    (tmp_path / "classes.txt").write_text(text)
    with pytest.raises(InputError, match=line):
        read_class_names(tmp_path / "classes.txt")


@pytest.mark.parametrize(
    "names", [["0 sky", "1 road"], ["1 sky", "2 road"], ["10 euro", "50 euro"], ["3d", "4 wheeler"]]
)
def test_numbers_in_place_and_names_with_numbers_stay(tmp_path, names):
    (tmp_path / "classes.txt").write_text("\n".join(names))
    assert read_class_names(tmp_path / "classes.txt") == names
