"""The report that shows what stacks of rates see."""

import numpy as np
import pytest
from PIL import Image

from encnet_jax.errors import UserError
from encnet_jax.report import gridding

HOLES = ",".join("2" * 23) + "/4,4,4"


def test_the_table_has_the_known_numbers(capsys, tmp_path):
    output = tmp_path / "new" / "gridding.png"
    dilations = ["hdc_bigger", "plain", HOLES]
    gridding.main(["gridding", *dilations, "--output", str(output)])
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[1:4] == [
        ["hdc_bigger", "249", "1.000", "1.11", "1", "3"],
        ["plain", "111", "1.000", "3.05", "1", "2"],
        [HOLES, "117", "0.254", "inf", "2", "2"],
    ]
    assert lines[4] == ["gridding:", str(output)]
    picture = np.asarray(Image.open(output))
    assert picture.shape[0] > 800 and picture.std() > 20


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["1,2/3"], "lists 2 and 1 rates"),
        (["--backbone", "vgg99"], "--backbone is 'vgg99'; expected one of: "),
    ],
)
def test_mistakes_are_reported_in_one_line(arguments, message, tmp_path):
    output = tmp_path / "gridding.png"
    with pytest.raises(UserError, match=message):
        gridding.main(["gridding", *arguments, "--output", str(output)])
    assert not output.exists()
