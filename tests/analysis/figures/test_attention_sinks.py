"""The figure shows the stored means, and names what is missing."""

import numpy as np
import pytest

from analysis.errors import MissingRowsError
from analysis.figures.attention_sinks import select
from tests.analysis.figures.test_figures import caption, choose, draw
from tests.support.analysis_rows import attention, quickstart, row

SHAPE = (2, 3, 4, 9)


def means(dataset):
    return np.array(attention(dataset)["attention_mean"]).reshape(SHAPE).mean(0)


def test_the_heat_map_is_the_attention_to_position_0():
    figure = draw(quickstart(), "attention_sinks")
    (image,) = figure.axes[0].images
    np.testing.assert_allclose(image.get_array(), means("pydoc")[..., 0])


def test_the_bars_are_the_shares_of_each_text():
    figure = draw(quickstart(), "attention_sinks")
    for bars, dataset in zip(figure.axes[1].containers, ("pydoc", "stdlib"), strict=True):
        heights = [bar.get_height() for bar in bars]
        np.testing.assert_allclose(heights, means(dataset).mean((0, 1)) * 100)
        assert sum(heights) == pytest.approx(100)


def test_the_caption_counts_sink_heads():
    assert "pydoc: 100 % of the heads pay more than 30 %" in caption(
        draw(quickstart(), "attention_sinks")
    )


def test_without_a_map_the_command_that_makes_one_is_named():
    with pytest.raises(MissingRowsError) as caught:
        select(choose([row(method="streaming")]))
    assert '"measure": ["attention"]' in caught.value.command


def test_no_value_is_written_over_a_bar():
    axes = draw(quickstart(), "attention_sinks").axes[1]
    bars = [bar.get_window_extent() for one in axes.containers for bar in one]
    values = [text.get_window_extent() for text in axes.texts if text.get_text()]
    assert values
    assert not [1 for value in values for bar in bars if value.overlaps(bar.shrunk(0.98, 0.98))]
