"""How a number is written in a figure or a table: few digits, never a made-up zero.

People get a minus sign, which is as wide as a plus; a hyphen is none. Programs get what Python
writes.
"""

from collections.abc import Callable

from analysis.rows.frames import is_missing
from analysis.rows.intervals import Interval

LARGE = 10_000_000
"""From here on numbers are written with an exponent: no cell has 300 digits."""

Write = Callable[[float], str]
"""How one kind of number is written."""

MISSING = "–"  # noqa: RUF001
MINUS = "−"  # noqa: RUF001


def written(value: float, form: str, unit: str = "") -> str:
    """Format a number for people: the one place that decides what a minus looks like."""
    return f"{value:{form}}{unit}".replace("-", MINUS)


def plain(value: float) -> str:
    """Write a number as it is, as at the ticks of an axis."""
    return written(value, ",.10g")


def perplexity_text(value: float) -> str:
    """Write a perplexity with two decimals, or as a whole number from a thousand on."""
    if value == float("inf"):
        return "∞"
    if value >= LARGE:
        return written(value, ".2e")
    return written(value, ",.0f" if value >= 1000 else ".2f")


def milliseconds(value: float) -> str:
    """Write a time with about three significant digits."""
    if value >= 100:
        return written(value, ".2e" if value >= LARGE else ",.0f")
    return written(value, ".1f" if value >= 10 else ".2f")


def times(value: float) -> str:
    """Write a ratio with the times sign."""
    if value >= LARGE:
        return "∞" if value == float("inf") else written(value, ".2e", "×")  # noqa: RUF001
    return written(value, ".1f" if value >= 100 else ".2f", "×")  # noqa: RUF001


def percent(fraction: float, *, signed: bool = False) -> str:
    """Write a fraction in percent, large ones as a factor's worth of percent."""
    value = 100 * fraction
    if abs(value) >= LARGE:
        infinite = value == float("inf")
        return f"{'+' if signed else ''}∞ %" if infinite else written(value, "+.2e", " %")
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2
    return written(value, f"{'+' if signed else ''},.{digits}f", " %")


def share(fraction: float) -> str:
    """Write a compression ratio: `69.8 %`."""
    return written(100 * fraction, ".1f", " %")


def increase_text(interval: Interval) -> str:
    """Write a relative difference with its interval: `+0.93 % [+0.41, +1.48]`."""
    bounds = (interval.low, interval.high)
    low, high = (percent(bound, signed=True).removesuffix(" %") for bound in bounds)
    return f"{percent(interval.value, signed=True)} [{low}, {high}]"


def whole(value: float | None) -> str:
    """Write a count, or a dash."""
    return MISSING if value is None or is_missing(value) else written(int(value), ",")
