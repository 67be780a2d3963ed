"""What goes into a paper: compiled, and printed as it is in the store."""

import re
import shutil
import subprocess
import unicodedata
from pathlib import Path

import pytest
from PIL import Image

from analysis.drawing.latex import DEFINED, latex, latex_row, preamble
from analysis.outputs import columns, folder, table
from analysis.rows import frames
from tests.support.analysis_rows import row
from tests.support.analysis_rows import table as arrow

PRINTED = (
    "a<b>c|d \"e\" 'f' `g` h^i~j*k",
    "[0pt] an option",
    "*{3}{c} a star",
    "\\input{x} $y$ 50% #1 {z} & @",
    "--x---y -z ,,q <<r>> ?`s !`t",
    "Café Ångström Žižek Łódź straße",
    "100 ≤ 200 ± 3 · 4 ≈ 5 → ∞ – −1 ×",  # noqa: RUF001
)
"""Names that pdfLaTeX prints as they are, with its own font."""
NUMBERED = (
    ("中文", "U+4E2D U+6587"),
    ("\u05e9\u05dc", "U+05E9 U+05DC"),
    ("αβ", "U+03B1 U+03B2"),
    ("😀", "U+1F600"),
)
"""And names that it has no letters for."""
needs_tex = pytest.mark.skipif(
    any(shutil.which(name) is None for name in ("pdflatex", "pdftotext")),
    reason="needs pdflatex and pdftotext",
)


def printed(body: str, place: Path, packages: str) -> str:
    """Compile a document; return what stands on its pages, without spaces."""
    lines = [r"\documentclass{article}", r"\usepackage[landscape,margin=1cm]{geometry}", packages]
    source = "\n".join([*lines, r"\pagestyle{empty}\begin{document}", body, r"\end{document}"])
    (place / "paper.tex").write_text(source, encoding="utf-8")
    words = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"]
    for _ in range(2):  # the second one reads the list of figures
        done = subprocess.run(words, cwd=place, capture_output=True, text=True, errors="replace")
        assert done.returncode == 0, done.stdout
    words = ["pdftotext", "-layout", "paper.pdf", "-"]
    done = subprocess.run(words, cwd=place, capture_output=True, check=True)
    return bare(done.stdout.decode())


def bare(text: str) -> str:
    """Drop spaces, and what one letter or another font may be extracted as."""
    same = str.maketrans({"\u2212": "-", "\u2013": "-", "\u2014": "---", "Ł": "L", "ł": "l"})
    plain = unicodedata.normalize("NFKD", text).translate(same)
    return "".join(c for c in plain if not c.isspace() and not unicodedata.combining(c))


@pytest.mark.parametrize("packages", ["", r"\usepackage[T1]{fontenc}\usepackage{lmodern}"])
@pytest.mark.slow
@needs_tex
def test_names_are_printed_as_they_are(packages: str, tmp_path: Path) -> None:
    names = [*PRINTED, *(name for name, _ in NUMBERED)]
    rows = [
        row(method="dense", changes={"dataset": name, "hostname": name, "row_id": name})
        for name in names
    ]
    frame = columns.prepared(frames.tidy(arrow(rows)).assign(quality_unusable=None), {})
    shown = columns.chosen(["dataset", "hostname", "perplexity"], frame)
    written = table.render_table(frame, shown, {}, "latex")
    entry = folder.SavedFigure(
        path=tmp_path / "one.png",
        title=" ".join(names),
        caption="; ".join(names),
        command="analysis plot --model '" + "\n".join(names),
        rows=frame,
    )
    Image.new("RGB", (90, 9)).save(entry.path)
    folder.explain([entry], tmp_path)
    body = "\n".join([r"\noindent", written, r"\input{figures}", r"\listoffigures"])
    text = printed(body, tmp_path, packages + r"\usepackage{booktabs,graphicx}")
    for name in [*PRINTED, *(numbers for _, numbers in NUMBERED)]:
        assert text.count(bare(name)) >= 4, (name, text)


@pytest.mark.slow
@needs_tex
@pytest.mark.parametrize("options", ["", "twocolumn"])
def test_a_high_figure_with_a_long_caption_is_a_float_that_a_page_holds(
    options: str, tmp_path: Path
) -> None:
    frame = columns.prepared(frames.tidy(arrow([row(method="dense")])), {})
    sentences = "What the picture shows is said in a sentence like this one. " * 40
    entry = folder.SavedFigure(
        path=tmp_path / "high.png",
        title="A high figure",
        caption=sentences.strip(),
        command="analysis plot",
        rows=frame,
    )
    Image.new("RGB", (330, 1800)).save(entry.path)
    folder.explain([entry], tmp_path)
    lines = [rf"\documentclass[{options}]{{article}}", r"\usepackage{graphicx}\begin{document}"]
    source = "\n".join([*lines, r"Words.\input{figures}", r"\end{document}"])
    (tmp_path / "paper.tex").write_text(source, encoding="utf-8")
    words = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, errors="replace")
    assert done.returncode == 0, done.stdout
    assert "Float too large" not in done.stdout
    assert "More in README.md." in " ".join((tmp_path / "figures.tex").read_text().split())
    assert sentences.strip() in (tmp_path / "README.md").read_text()


def test_signs_of_the_default_font_are_commands() -> None:
    assert latex("<>|") == r"\textless{}\textgreater{}\textbar{}"
    assert latex('"^~') == r"\texttt{\char34}\texttt{\char94}\texttt{\char126}"
    assert latex("'`") == r"\textquotesingle{}\textasciigrave{}"
    assert latex("---,,") == r"-\kern0pt-\kern0pt-,\kern0pt,"
    assert latex("e\u0301\x7f") == r"é\textbackslash{}x7f"


def test_no_cell_is_an_option_of_the_line_before() -> None:
    assert latex_row(["[a]", "[b]"]) == r"{}[a] & [b] \\"
    assert latex_row(["*", "1"]) == r"{}* & 1 \\"
    assert latex_row(["a", "*"]) == r"a & * \\"


def test_letters_of_other_scripts_bring_their_command_along() -> None:
    assert latex("a中文ąb") == (
        r"a\sinksweeptext{-}{中文}{U+4E2D U+6587}\sinksweeptext{T1}{ą}{U+0105}b"
    )
    assert DEFINED in preamble(latex("中"), "booktabs")
    assert preamble("plain", "booktabs") == [r"% needs \usepackage{booktabs}"]


def test_every_sign_of_a_text_is_known_or_numbered() -> None:
    for point in range(0x20, 0x3000):
        written = re.sub(r"\\\w+\{(-|T1)\}\{.*?\}\{U\+.*?\}", "", latex(f"x{chr(point)}x"))
        assert all(letter < "\u0180" or letter in "—“”‘’" for letter in written), hex(point)  # noqa: RUF001
