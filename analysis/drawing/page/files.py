"""From a figure to a file: the same rows give the same bytes."""

from io import BytesIO
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from analysis.drawing.style import MAX_PIXELS, Look
from analysis.errors import AnalysisError, writing

MAX_BYTES = 600_000
MOST_GAINED = 1.08
"""Packing once more makes a file smaller by at most that (2 to 5 % measured) and takes a second."""


def save(figure: Figure, path: Path, look: Look) -> None:
    """Write the figure; the same rows give the same bytes.

    Raises `AnalysisError` for a place that cannot be written and for a picture with more
    pixels than a computer should hold.
    """
    width, height = figure.get_size_inches()
    pixels = width * height * look.dpi**2
    kind = path.suffix.removeprefix(".")
    if kind == "png" and pixels > MAX_PIXELS:
        most = int((MAX_PIXELS / (width * height)) ** 0.5)
        raise AnalysisError(
            f"{path.name}: {width:.1f} x {height:.1f} inches at {look.dpi} dpi are "
            f"{pixels / 1e6:.0f} million pixels, more than {MAX_PIXELS / 1e6:.0f}; "
            f"use --dpi {most} at most, a smaller --width, or --format pdf"
        )
    with writing(path), look.drawing():
        if kind == "png":
            _save_png(figure, path, look.dpi)
        else:
            # No date in the file: the same rows give the same bytes.
            metadata = {"pdf": {"CreationDate": None}, "svg": {"Date": None}}[kind]
            figure.savefig(path, metadata=metadata)


def _save_png(figure: Figure, path: Path, dpi: int) -> None:
    """Write without the alpha channel, which a third of the bytes would say nothing with."""
    figure.set_dpi(dpi)
    canvas = figure.canvas
    assert isinstance(canvas, FigureCanvasAgg)
    canvas.draw()  # type: ignore[no-untyped-call]
    pixels = np.asarray(canvas.buffer_rgba())  # type: ignore[no-untyped-call]
    image = Image.fromarray(pixels[:, :, :3])
    packed = BytesIO()
    image.save(packed, format="png", dpi=(dpi, dpi), compress_level=6)
    if MAX_BYTES < packed.tell() <= MOST_GAINED * MAX_BYTES:
        packed = BytesIO()
        image.save(packed, format="png", dpi=(dpi, dpi), optimize=True)
    path.write_bytes(packed.getvalue())
