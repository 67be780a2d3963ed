"""The names that the command line offers, apart from what they mean: `--help` imports only this."""

FIGURES = (
    "main_comparison",
    "ablation_window_size",
    "ablation_n_sink",
    "results_summary",
    "perplexity_over_position",
    "latency_memory",
    "pareto",
    "attention_sinks",
)
IMAGE_FORMATS = ("png", "pdf", "svg")
TABLE_FORMATS = ("text", "markdown", "latex", "csv", "json")
EXPORT_FORMATS = ("csv", "json", "parquet", "markdown", "original")
LANGUAGES = ("en", "zh")
FACETS = ("model", "text", "device", "dtype")
STYLES = ("paper", "screen", "dark")
WIDTHS = {"column": 3.3, "text": 5.5, "page": 6.9, "slide": 10.0}
"""Widths of figures in inches: a column, a text of one column, a page of two, a slide."""
