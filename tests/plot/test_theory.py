import numpy as np
import pytest

from probscale import theory
from probscale.errors import ConfigError
from probscale.plot.theory import PHASE_COLOURS, plot_frontier, plot_local_exponents, plot_phase_diagram


def small_frontier():
    return theory.frontier(0.4, 0.4, compute=[1e6, 1e7], window=0.2)


def test_frontier_plot_draws_each_curve_and_the_frontier_on_the_given_axes(ax):
    steps = np.geomspace(1, 1e4, 20).round()
    curves = {d: (steps * d, theory.expected_loss(0.4, 0.4, params=d, steps=steps)) for d in (50, 200, 800)}
    assert plot_frontier(curves, small_frontier(), ax=ax) is ax
    assert len(ax.lines) == 4
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")
    assert ax.get_title() == "Phase Ib"
    assert ax.get_xlabel()
    assert ax.get_ylabel()
    ax.figure.canvas.draw()


def test_local_exponents_plot_shows_closed_form_and_legend(ax):
    plot_local_exponents([small_frontier()], ax=ax)
    assert ax.get_legend().get_texts()[0].get_text() == "Ib"
    assert ax.lines[1].get_ydata()[0] == pytest.approx(0.3)


def test_phase_diagram_colours_each_cell_by_its_phase(ax):
    plot_phase_diagram(ax=ax, samples=([1.0, 1.1], [0.7, 0.8]))
    mesh = ax.collections[0]
    ax.figure.canvas.draw()
    codes = mesh.get_array().reshape(800, 800)
    for name, (a, b) in theory.EXAMPLE_POINTS.items():
        code = codes[int(b / 1.6 * 800), int(a / 1.6 * 800)]
        assert sorted(PHASE_COLOURS)[int(code) - 1] == name
    assert {text.get_text() for text in ax.texts} >= set(theory.PHASES)


def test_named_points_take_the_place_of_the_examples(ax):
    plot_phase_diagram(ax=ax, points={"ours": (0.6, 0.9)})
    dots = [line for line in ax.lines if line.get_marker() == "o"]
    assert [line.get_xydata().tolist() for line in dots] == [[[1.2, 1.8]]]
    assert "ours" in {text.get_text() for text in ax.texts}
    assert not {text.get_text() for text in ax.texts} & set(theory.PHASES)


def test_nothing_to_draw_is_refused(ax):
    with pytest.raises(ConfigError, match="curves is empty"):
        plot_frontier({}, ax=ax)
    with pytest.raises(ConfigError, match="frontiers is empty"):
        plot_local_exponents([], ax=ax)
    with pytest.raises(ConfigError, match="limit must exceed"):
        plot_phase_diagram(limit=0.5, ax=ax)
