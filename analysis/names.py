"""The names that the command line offers, apart from what they mean: `--help` imports only this."""

FIGURES = (
    "main_comparison",
    "ablation_window_size",
    "ablation_n_sink",
    "results_summary",
    "perplexity_over_position",
    "latency_memory",
    "pareto",
)
IMAGE_FORMATS = ("png", "pdf", "svg")
TABLE_FORMATS = ("text", "markdown", "latex", "csv", "json")
EXPORT_FORMATS = ("csv", "json", "parquet", "markdown", "original")
LANGUAGES = ("en", "zh")
