"""The analysis from Python: its documentation is true, and its plots keep the house rules."""

import json
import re
from pathlib import Path

import pandas as pd
import pytest
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from analysis import api
from analysis.names import FIGURES
from orchestrator.errors import UsageError
from orchestrator.store.store import Store
from tests.support.analysis_rows import quickstart, row

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def frame(tmp_path_factory) -> pd.DataFrame:
    store = Store(tmp_path_factory.mktemp("api"))
    shared = row(method="streaming", window_size=1024, changes={"device_shared": True})
    store.append_trials([*quickstart(), shared])
    return api.load(store.uri)


@pytest.fixture
def curve(frame) -> pd.DataFrame:
    """StreamingLLM with four sinks on one text, over the window."""
    chosen = frame["method"].eq("streaming") & frame["n_sink"].eq(4) & frame["dataset"].eq("pydoc")
    return frame[chosen]


class TestDocumentation:
    def test_the_examples_run_as_they_stand(self, tmp_path, monkeypatch, capsys):
        monkeypatch.chdir(tmp_path)
        for name in ("api.md", "analysis-api.md"):
            text = (ROOT / "docs" / name).read_text(encoding="utf-8")
            (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
            exec(compile(code, name, "exec"), {"__name__": "example"})
        assert "perplexity_increase" in capsys.readouterr().out
        assert {"comparison.pdf", "window.pdf", "increase.pdf"} <= {
            path.name for path in tmp_path.iterdir()
        }

    def test_every_cell_of_the_notebook_runs(self, tmp_path, monkeypatch, capsys):
        monkeypatch.chdir(tmp_path)
        notebook = json.loads((ROOT / "docs" / "notebook.ipynb").read_text(encoding="utf-8"))
        cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
        names: dict[str, object] = {}
        for cell in cells:
            exec(compile("".join(cell["source"]), cell["id"], "exec"), names)
            assert cell["outputs"] == []
        assert len(cells) == 7
        assert names["summary"].ok == 6
        assert "they differ in method_label" in capsys.readouterr().out

    def test_every_public_name_is_documented(self):
        text = (ROOT / "docs" / "analysis-api.md").read_text(encoding="utf-8")
        assert [name for name in api.__all__ if f"`{name}(" not in text] == []
        assert [name for name in FIGURES if f"`plot.{name}" not in text] == []


class TestFrame:
    def test_a_frame_is_typed_and_paired_and_knows_its_store_after_a_filter(self, frame, curve):
        kinds = frame.dtypes
        assert str(kinds["budget"]) == str(kinds["evicted_tokens"]) == "Int64"
        assert str(kinds["hollow"]) == str(kinds["latency_full_budget"]) == "boolean"
        assert kinds["perplexity"] == kinds["speedup"] == "float64"
        assert str(kinds["finished_at"]).startswith("datetime64[")
        assert frame.loc[frame["method"].eq("dense"), "budget"].isna().all()
        assert curve["perplexity_increase"].notna().sum() == 6
        assert curve.attrs == frame.attrs

    def test_a_table_has_numbers_with_the_paired_intervals(self, curve):
        table = api.table(curve, ["perplexity", "increase", "speedup"])
        paired = table[table["increase_percent"].notna()]
        assert len(paired) == 6
        assert (paired["increase_percent_low"] < paired["increase_percent"]).all()
        assert table["speedup"].tolist() == pytest.approx(curve["speedup"].tolist(), nan_ok=True)

    def test_the_audit_is_a_frame_errors_first(self, frame):
        found = api.audit(frame)
        assert found.iloc[0][["severity", "rule"]].tolist() == ["error", "device-shared"]
        assert found.iloc[0]["rows"][0].startswith("pydoc StreamingLLM 4+1024")


class TestFigures:
    @pytest.mark.parametrize("name", FIGURES)
    def test_every_figure_of_the_house_is_there(self, frame, name):
        figure = getattr(api.plot, name)(frame, width=11, title="Mine $x$")
        assert isinstance(figure, Figure)
        assert figure.get_figwidth() == 11
        (title,) = [text for text in figure.texts if text.get_gid() == "title"]
        assert title.get_text() == "Mine $x$"
        assert not title.get_parse_math()

    def test_a_figure_is_drawn_on_the_axes_of_the_caller(self, frame):
        figure, axes = plt.subplots(2, 2)
        assert api.plot.main_comparison(frame, axes=axes, title="All") is figure
        assert next(one.get_title(loc="left") or one.get_title() for one in axes.flat) == (
            "(a) Perplexity"
        )
        assert len(axes[0, 0].patches) == 4
        assert figure.get_suptitle() == "All"
        with pytest.raises(UsageError, match=r"4 are needed \('\(a\) Perplexity'"):
            api.plot.main_comparison(frame, axes=axes[0])
        plt.close(figure)


class TestAnyTwoColumns:
    def test_points_and_whiskers_are_the_values_and_intervals_of_the_frame(self, curve):
        (axes,) = api.plot(curve, x="window_size", y="perplexity").axes
        filled = curve[~curve["hollow"]].sort_values("window_size")
        line = axes.get_lines()[0]
        assert line.get_xdata().tolist() == filled["window_size"].tolist()
        assert line.get_ydata().tolist() == filled["perplexity"].tolist()
        whiskers = [path.vertices[:, 1].tolist() for path in axes.collections[0].get_paths()]
        assert sorted(whiskers)[0] == pytest.approx(
            sorted(curve[["perplexity_low", "perplexity_high"]].to_numpy().tolist())[0]
        )

    def test_a_baseline_makes_it_the_paired_comparison(self, curve):
        (axes,) = api.plot(curve, x="window_size", y="perplexity", baseline="recompute").axes
        known = curve[curve["perplexity_increase"].notna() & ~curve["hollow"]]
        expected = (100 * known.sort_values("window_size")["perplexity_increase"]).tolist()
        assert axes.get_lines()[0].get_ydata().tolist() == pytest.approx(expected)
        assert axes.get_ylabel() == "perplexity increase (%)"
        (speed,) = api.plot(curve, x="window_size", y="runtime_ms", baseline="recompute").axes
        assert speed.get_ylabel() == "speedup (times)"
        assert "without a value: 1" in legend(speed)

    def test_what_cannot_be_used_or_never_streamed_is_hollow_on_no_line_and_named(self, curve):
        (axes,) = api.plot(curve, x="window_size", y="runtime_ms").axes
        line, hollow = axes.get_lines()
        assert 1024 not in line.get_xdata()
        assert 1024 in hollow.get_xdata()
        assert hollow.get_markerfacecolor() == "white"
        assert "cannot be used: device-shared (1)" in legend(axes)

    def test_hue_makes_lines_and_col_makes_panels(self, frame):
        chosen = frame[frame["method"].eq("streaming") & frame["n_sink"].isin([4, 8])]
        chosen = chosen[chosen["window_size"].eq(128)]
        figure = api.plot(chosen, x="n_sink", y="perplexity", hue="dataset", title="T")
        assert legend(figure.axes[0])[:2] == ["pydoc", "stdlib"]
        assert figure.get_suptitle() == "T"
        panels = api.plot(chosen, x="n_sink", y="perplexity", col="dataset").axes
        assert [one.get_title(loc="left") or one.get_title() for one in panels] == [
            "dataset = pydoc",
            "dataset = stdlib",
        ]

    def test_names_on_the_axis_are_not_joined(self, frame):
        chosen = frame[frame["n_sink"].eq(4) & frame["window_size"].eq(64)]
        (axes,) = api.plot(chosen, x="dataset", y="perplexity").axes
        assert axes.get_lines()[0].get_linestyle() in ("None", "none", "")

    @pytest.mark.parametrize(
        ("wanted", "said"),
        [
            ({"x": "window_size", "y": "perplexity"}, "stand at one point: they differ in dataset"),
            ({"x": "budget", "y": "perplexity", "hue": "dataset"}, "differ in method_label"),
            ({"x": "windowsize", "y": "perplexity"}, "did you mean 'window_size'"),
            ({"x": "budget", "y": "method"}, "is not a number; choose one of perplexity"),
            ({"x": "budget", "y": "n_tokens", "baseline": "recompute"}, "no paired comparison"),
            ({"x": "budget", "y": "perplexity", "baseline": "dense"}, "baseline must be recompute"),
        ],
    )
    def test_what_would_mix_or_mislead_is_refused_with_what_differs(self, frame, wanted, said):
        with pytest.raises(UsageError, match=re.escape(said)):
            api.plot(frame, **wanted)

    def test_a_line_over_two_devices_is_refused_for_speeds_and_not_for_perplexities(self, tmp_path):
        store = Store(tmp_path)
        store.append_trials(
            [
                row(method="streaming", window_size=64),
                row(method="streaming", window_size=128, changes={"device_name": "GPU"}),
            ]
        )
        frame = api.load(store.uri)
        assert api.plot(frame, x="window_size", y="perplexity")
        with pytest.raises(UsageError, match="not comparable: they differ in device_name"):
            api.plot(frame, x="window_size", y="runtime_ms")
        assert api.plot(frame, x="window_size", y="runtime_ms", hue="device_name")

    def test_names_are_never_formulas(self, tmp_path):
        store = Store(tmp_path)
        store.append_trials(
            [row(method="streaming", window_size=64, changes={"device_name": "$\\frac{"})]
        )
        frame = api.load(store.uri)
        figure = api.plot(frame, x="window_size", y="perplexity", hue="device_name", title="$\\x{")
        figure.savefig(tmp_path / "figure.png")
        figure = api.plot(frame, x="device_name", y="perplexity", col="device_name")
        figure.savefig(tmp_path / "figure.png")


def legend(axes) -> list[str]:
    return [text.get_text() for text in axes.get_legend().get_texts()]
