"""Every word that a figure shows, in English and Chinese.

Captions say what was drawn and what was left out; what follows from it is for the reader.
"""

from analysis.names import LANGUAGES

# ruff: noqa: RUF001, E501 (Chinese punctuation and the times sign are meant; a caption is one line)


_TEXTS: dict[str, tuple[str, str]] = {
    # axes and legends
    "perplexity": ("perplexity", "困惑度"),
    "perplexity_log": ("perplexity (log scale)", "困惑度（对数坐标）"),
    "runtime": ("runtime (ms)", "运行时间 (ms)"),
    "runtime_log": ("runtime (ms, log scale)", "运行时间 （ms，对数坐标）"),
    "speedup": ("speedup (×)", "加速比 (×)"),
    "compression": ("compression ratio (%)", "缓存压缩率 (%)"),
    "window_size_axis": ("window size (tokens, log2 scale)", "窗口大小（token，log2 坐标）"),
    "n_sink_axis": ("number of sinks (log2 scale)", "sink 数量（log2 坐标）"),
    "percent": ("%", "%"),
    "infinite": ("infinite", "无穷大"),
    "position": ("position in the text (tokens)", "文本位置（token）"),
    "latency": ("latency (ms per token)", "延迟（ms/token）"),
    "latency_log": ("latency (ms per token, log scale)", "延迟（ms/token，对数坐标）"),
    "memory": ("memory (MiB)", "内存 (MiB)"),
    "cache_word": ("cache ", "缓存 "),
    "cache_size": ("cache size (tokens, log2 scale)", "缓存大小（token，log2 坐标）"),
    "eviction": ("first eviction, at {position}", "首次淘汰，位置 {position}"),
    "trained": ("trained length, {position}", "训练长度 {position}"),
    "frontier": ("best of both", "帕累托前沿"),
    "no_blocks": ("no block sums are stored", "未存储分块数据"),
    "recompute": ("recompute (baseline)", "recompute（基线）"),
    "recompute_strided": (
        "recompute, stride {stride} (baseline)",
        "recompute，步长 {stride}（基线）",
    ),
    "streaming": ("StreamingLLM", "StreamingLLM"),
    "window": ("window (0 sinks)", "窗口（0 个 sink）"),
    "dense": ("dense", "dense（全缓存）"),
    "best": ("lowest perplexity", "困惑度最低"),
    "paper": ("published", "已发表"),
    "tied": ("tied for the lowest perplexity", "困惑度并列最低"),
    "best_filled": ("lowest of the filled points", "实心点中困惑度最低"),
    "no_sink": ("n_sink = 0", "n_sink = 0"),
    "one": ("1× (as fast as the baseline)", "1×（与基线一样快）"),
    "hollow": ("hollow: see caption", "空心：见图注"),
    "not_measured": ("not measured", "未测量"),
    "no_pair": ("no pair", "无可比基线"),
    # titles
    "comparison_title": (
        "StreamingLLM and recompute, {sinks} + {window}",
        "StreamingLLM 与 recompute，{sinks} + {window}",
    ),
    "panel_perplexity": ("(a) Perplexity", "(a) 困惑度"),
    "panel_compression_b": ("(b) KV cache compression", "(b) KV 缓存压缩率"),
    "panel_runtime": (
        "Runtime of {tokens} decoded tokens",
        "解码 {tokens} 个 token 的时间",
    ),
    "panel_runtime_plain": ("Runtime", "运行时间"),
    "panel_speedup": ("(c) Speedup over recompute", "(c) 相对 recompute 的加速比"),
    "panel_compression": ("(d) KV cache compression", "(d) KV 缓存压缩率"),
    "window_title": (
        "Window size, {fixed}, {dataset}",
        "窗口大小，{fixed}，{dataset}",
    ),
    "sink_title": ("Attention sinks, {fixed}, {dataset}", "注意力 sink 数量，{fixed}，{dataset}"),
    "fixed_n_sink": ("{value} sinks", "{value} 个 sink"),
    "fixed_one_sink": ("1 sink", "1 个 sink"),
    "fixed_window_size": ("window {value}", "窗口 {value}"),
    "fixed_budget": ("budget {value}", "缓存预算 {value}"),
    "summary_title": ("Results", "结果汇总"),
    "position_title": ("Perplexity over position, {dataset}", "困惑度随位置的变化，{dataset}"),
    "latency_title": ("Latency and memory, {dataset}", "延迟与内存，{dataset}"),
    "pareto_title": ("Perplexity against latency, {dataset}", "困惑度与延迟，{dataset}"),
    "panel_latency": ("(a) Latency per token", "(a) 每个 token 的延迟"),
    "panel_peak_memory_bytes": ("(b) Peak memory of decoding", "(b) 解码峰值内存"),
    "panel_kv_cache_bytes": ("(b) KV cache (computed)", "(b) KV 缓存（计算值）"),
    # captions
    "position_budget": (
        "Budget of recompute and streaming: {budget} tokens.",
        "recompute 与流式方法的缓存预算：{budget} 个 token。",
    ),
    "position_note": ("Perplexity of stretches of equal length.", "各等长区段的困惑度。"),
    "position_note_many": (
        "Perplexity of stretches of equal length, over the {documents} documents that reach them.",
        "各等长区段的困惑度，对到达该区段的文档取平均（共 {documents} 篇）。",
    ),
    "latency_note": (
        "StreamingLLM with {sinks}. Mean per decoded token; bars from the median to the 90th percentile.",
        "StreamingLLM 使用 {sinks}。每个解码 token 的均值；竖线为中位数到 90 % 分位数。",
    ),
    "kv_note": (
        "Peak memory was not measured; the KV cache is computed from the model's shape; recompute keeps none.",
        "未测量峰值内存；KV 缓存由模型形状计算得出；recompute 不保留缓存。",
    ),
    "pareto_labels": (
        "Labels: sinks + window, or the window of recompute.",
        "标签：sink + 窗口，或 recompute 的窗口。",
    ),
    "pareto_line": (
        "The line joins what nothing else beats in both.",
        "连线为两项指标均未被超越的点。",
    ),
    "published_note": ("Published: {source}.", "已发表数据：{source}。"),
    "setting": (
        "{model} ({dtype}) on {device}.",
        "{model}({dtype})，设备：{device}。",
    ),
    "unknown": ("unknown", "未知"),
    "several_devices": ("several devices", "多种设备"),
    "unknown_device": ("a device that was not recorded", "未记录的设备"),
    "whiskers": (
        "Perplexity whiskers: 95 % intervals for {population}.",
        "困惑度误差线：{population}的 95 % 区间。",
    ),
    "brackets": (
        "Brackets: 95 % intervals for {population}.",
        "方括号：{population}的 95 % 区间。",
    ),
    "documents-t": (
        "documents like these (Student's t over documents)",
        "同类文档（按文档的 t 区间）",
    ),
    "passages-t": (
        "other passages of these documents (t over four long stretches of each)",
        "这些文档其他段落（每篇四个长段的 t 区间）",
    ),
    "on_texts": ("{population}: {names}", "{population}：{names}"),
    "too_little": (
        "Too little text for an interval (it takes four documents, or about 1,000 tokens of each): {names}.",
        "文本过少，无法给出区间（需四篇文档，或每篇约 1,000 个 token）：{names}。",
    ),
    "no_difference": (
        "No difference beyond the interval: {names}.",
        "差异未超出区间：{names}。",
    ),
    "sampled_bars": (
        "{names}: the baseline was scored on {blocks} whole blocks of the text; perplexities of "
        "both are those of the same tokens.",
        "{names}：基线只在文本的 {blocks} 个完整分块上计算；两者的困惑度均取自相同的 token。",
    ),
    "sampled_curve": (
        "{names}: the baseline was scored on {blocks} whole blocks of the text, and its curve is "
        "what they estimate for all of it.",
        "{names}：基线只在文本的 {blocks} 个完整分块上计算，其曲线是由此对全文的估计。",
    ),
    "sampled_rows": (
        "{names}: the baseline was scored on {blocks} whole blocks of the text; its perplexity is "
        "that of those tokens, the increase is paired on them.",
        "{names}：基线只在文本的 {blocks} 个完整分块上计算；其困惑度属于这些 token，增幅在其上成对计算。",
    ),
    "sampled_left_out": (
        "Left out: baselines on a sample of the text, whose perplexity is that of other tokens.",
        "未显示：只在部分文本上计算的基线，其困惑度属于不同的 token。",
    ),
    "runtime_note": (
        "Runtime: median of {repeats} repeats of {tokens} decode steps, whiskers from the fastest "
        "to the slowest.",
        "运行时间：{tokens} 步解码重复 {repeats} 次的中位数，误差线为最快到最慢。",
    ),
    "runtime_imported": ("Runtime as imported.", "运行时间为导入值。"),
    "speedup_note": (
        "Speedup whiskers: extremes over the repeats.",
        "加速比误差线：各次重复的极值之比。",
    ),
    "paired_note": (
        "With each text: paired perplexity increase over recompute with its 95 % interval.",
        "各数据集名旁：相对 recompute 的成对困惑度增幅及其 95 % 区间。",
    ),
    "best_note": (
        "Differences below perplexities: paired, to the lowest, with 95 % intervals.",
        "困惑度下方的差异：与最低点的成对差异及其 95 % 区间。",
    ),
    "tie_note": (
        "Tied: the lowest perplexity does not differ from the others marked beyond its paired interval.",
        "并列：最低困惑度与其他带标记的点之差未超出成对区间。",
    ),
    "no_lead_note": (
        "None is called the lowest: without block sums no interval says which differ.",
        "未标出最低点：没有分块数据，无法给出差异的区间。",
    ),
    "strip_note": (
        "At the points: runtime, and the speedup over recompute.",
        "各点旁：运行时间及相对 recompute 的加速比。",
    ),
    "recompute_note_one": (
        "Perplexity increase over recompute of the same budget: {low}.",
        "相对同预算 recompute 的困惑度增幅：{low}。",
    ),
    "recompute_note": (
        "Perplexity increase over recompute of the same budget: {low} to {high}.",
        "相对同预算 recompute 的困惑度增幅：{low} 至 {high}。",
    ),
    "never_evicted": (
        "{sign}: {points} never evicted a token.",
        "{sign}：{points} 从未淘汰任何 token。",
    ),
    "hollow_sign": ("Hollow", "空心"),
    "unusable": (
        "Hollow: {points} cannot be used ({rule}: see analysis audit).",
        "空心：{points} 不可用（{rule}：见 analysis audit）。",
    ),
    "beyond": (
        "{sign}: {points} beyond the trained {trained} positions.",
        "{sign}：{points} 超出训练长度 {trained}。",
    ),
    "cpu_note": ("CPU timing, threads: {threads}.", "CPU 计时，线程数：{threads}。"),
    "attention_title": (
        "Attention to the first positions ({dataset})",
        "对最前位置的注意力（{dataset}）",
    ),
    "attention_head": ("head", "注意力头"),
    "attention_layer": ("layer", "层"),
    "attention_first": ("mean attention to position 0", "对位置 0 的平均注意力"),
    "attention_position": ("position attended to", "被关注的位置"),
    "attention_share": ("share of the attention (%)", "注意力占比（%）"),
    "attention_shares": ("mean over heads, by position", "全部注意力头的平均，按位置"),
    "attention_rest": ("rest", "其余"),
    "attention_how": (
        "Whole causal attention, averaged over queries from position 1 on and over texts; bars: "
        "over all heads.",
        "完整因果注意力，对位置 1 起的查询与各文本取平均；柱形为全部注意力头的平均。",
    ),
    "attention_note": (
        "{dataset}: {share} of the heads pay more than {threshold} to position 0 (texts: {texts}, "
        "at most {tokens} tokens of each).",
        "{dataset}：{share} 的注意力头对位置 0 的注意力超过 {threshold}"
        "（{texts} 篇文本，每篇至多 {tokens} 个词元）。",
    ),
    "bos_note": ("BOS at the start of a text: {value}.", "文本开头的 BOS：{value}。"),
    "special_tokens_note": (
        "Special tokens inside texts: {value}.",
        "文本中的特殊标记：{value}。",
    ),
    "imported_note": ("As reported, not measured here.", "按原报告数据，并非本系统测得。"),
    "dtype_partly": ("{dtype} where stated", "已注明处为 {dtype}"),
    "not_stated": ("number format not stated", "未注明数值格式"),
    "recompute_reported": (
        "baseline as reported (window {window}, stride {stride})",
        "报告的基线（窗口 {window}，步长 {stride}）",
    ),
    "recompute_reported_plain": ("baseline as reported", "报告的基线"),
    "other_device": (
        "Results of other devices left out: {count}.",
        "略去其他设备的结果：{count} 项。",
    ),
    "other_model": (
        "Results of other models or number formats left out: {count}.",
        "略去其他模型或数值格式的结果：{count} 项。",
    ),
    "other_text": (
        "Results at other text lengths or revisions left out: {count}.",
        "略去其他文本长度或版本的结果：{count} 项。",
    ),
    "other_dataset": ("Other texts not shown: {names}.", "未显示的其他文本：{names}。"),
    "speed_elsewhere": (
        "Speeds measured on other devices or versions not shown: {count}.",
        "未显示在其他设备或版本上测得的速度：{count} 项。",
    ),
    "speed_retimed": (
        "Speeds with other timing settings not shown: {count}.",
        "未显示计时设置不同的速度：{count} 项。",
    ),
    "other_seed": (
        "Repeats with another seed, on which these results do not depend, left out: {count}; "
        "the latest is shown.",
        "略去仅随机种子不同（结果与之无关）的重复结果：{count} 项；显示最新的一项。",
    ),
    "not_full": (
        "Speeds not compared because the cache was not full at the timed positions: {count}.",
        "因计时位置上缓存未满而未作比较的速度：{count} 项。",
    ),
    # the summary table
    "col_dataset": ("text", "文本"),
    "col_method": ("method", "方法"),
    "col_cache": ("cache", "缓存"),
    "col_perplexity": ("perplexity", "困惑度"),
    "col_runtime": ("runtime (ms)", "运行时间 (ms)"),
    "col_speedup": ("speedup", "加速比"),
    "col_compression": ("compression", "压缩率"),
    "col_increase": ("perplexity increase", "困惑度增幅"),
    "col_tokens": ("tokens", "token 数"),
    "box": (
        "model {model}   ·   {dtype}   ·   window {window_size}   ·   sinks {n_sink}   ·   {device}",
        "模型 {model}   ·   {dtype}   ·   窗口 {window_size}   ·   sink {n_sink}   ·   {device}",
    ),
    "columns_left_out": (
        "Not shown at this width: {names}.",
        "此宽度下未显示：{names}。",
    ),
    "rows_left_out": (
        "The page has room for {shown} of {count} rows; analysis table shows all.",
        "页面可容纳 {count} 行中的 {shown} 行；analysis table 列出全部。",
    ),
    "unusable_note": (
        "† cannot be used ({rules}) and is compared with nothing.",
        "† 不可用（{rules}），不与任何结果比较。",
    ),
    "summary_note_reported": (
        "Compared with the baseline of the same report; – : not reported.",
        "与同一报告中的基线比较；– ：未报告。",
    ),
    "summary_note": (
        "Intervals of an increase are paired. Compared with recompute of the same "
        "budget; – : not measured or no comparable baseline.",
        "增幅为成对区间。与同预算的 recompute 比较；– ：未测量或无可比基线。",
    ),
}


def text(key: str, lang: str, **values: object) -> str:
    """Return a text in a language, with the values filled in."""
    return _TEXTS[key][LANGUAGES.index(lang)].format(**values)


def keys() -> tuple[str, ...]:
    """Return the keys of all texts."""
    return tuple(_TEXTS)
