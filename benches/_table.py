"""A run as plain text: one block per case, one line per API."""

from __future__ import annotations

from statistics import median
from typing import Any

Run = dict[str, Any]


def table(run: Run) -> str:
    """Return the table of a run."""
    lines = [machine_line(run), versions_line(run)]
    for case in run["cases"]:
        lines += ["", *_block(case)]
    lines += ["", *(f"skipped: {each}" for each in run["skipped"])] if run["skipped"] else []
    training = any(case["kind"] == "training" for case in run["cases"])
    return "\n".join([*lines, "", *(_about_training(run) if training else _about_passes(run))])


def _about_passes(run: Run) -> list[str]:
    settings = run["settings"]
    return [
        f"Medians of {settings['rounds']} interleaved rounds of fresh processes. cold: the first pass; "
        f"warm: the best of the {settings['warm_passes']} after it.",
        "first ÷ it: how many times faster the first line of the case is, the median of the rounds' ratios.",
    ]


def _about_training(run: Run) -> list[str]:
    return [
        f"Medians of {run['settings']['rounds']} interleaved rounds, each training in a fresh process.",
        "first ÷ it: how many times faster the first line of the case is, for each byte of text; the median "
        "of the rounds' ratios.",
        "peak MB: memory at most, less what there was before: libraries and, for the peers, the text; of a "
        "prototype all of it.",
    ]


def machine_line(run: Run) -> str:
    machine = run["machine"]
    return f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_gib']} GiB · {machine['date']}"


def versions_line(run: Run) -> str:
    machine = run["machine"]
    versions = " · ".join(f"{name} {version}" for name, version in machine["versions"].items())
    kernel = run["settings"]["kernel"]
    return f"{versions} · commit {machine['commit']} · Python {machine['python']} · {machine['system']}" + (
        f" · kernel {kernel}" if kernel else ""
    )


def _block(case: dict[str, Any]) -> list[str]:
    if case["kind"] == "training":
        return _training_block(case)
    unit = {"MB/s": "MB/s", "ns": "ns/call", "s": "s"}[case["unit"]]
    rows = case["rows"]
    width = max(34, *(len(row["api"]) for row in rows))
    peak = any(row["peak_bytes"] for row in rows)
    columns = {"load s": 8, "first ms": 9, "cold": 9, "warm": 9, "first ÷ it cold": 16, " warm": 6}
    columns |= {"peak MB": 9} if peak else {}
    head = " ".join(f"{name:>{size}}" for name, size in columns.items())
    lines = [f"{case['name']} ({unit})", f"  {'':<{width}} {head}"]
    for row in rows:
        if row["problem"]:
            lines.append(f"  {row['api']:<{width}} {row['problem']}")
            continue
        cold, warm = (row["medians"].get(series, {}) for series in ("cold", "warm"))
        cells = [
            _median(row["load"], 1, "8.3f"),
            _median(row["first_call"], 1e3, "9.1f"),
            f"{_rate(cold.get('per_second'), case['unit']):>9}",
            f"{_rate(warm.get('per_second'), case['unit']):>9}",
            f"{_ratio(cold.get('first_faster_by')):>16}",
            f"{_ratio(warm.get('first_faster_by')):>6}",
        ]
        if row["peak_bytes"]:
            cells.append(_median(row["peak_bytes"], 1e-6, "9.0f"))
        lines.append(f"  {row['api']:<{width}} {' '.join(cells)}")
    return [line.rstrip() for line in lines]


def _training_block(case: dict[str, Any]) -> list[str]:
    columns = {"MB": 8, "seconds": 9, "least": 9, "MB/s": 9, "first ÷ it": 12, "peak MB": 9}
    head = " ".join(f"{name:>{size}}" for name, size in columns.items())
    lines = [case["name"], f"  {'':<34} {head}"]
    for row in case["rows"]:
        if row["problem"]:
            lines.append(f"  {row['api']:<34} {row['problem']}")
            continue
        seconds, medians = row["seconds"]["cold"], row["medians"]["cold"]
        cells = [
            f"{row['work'] / 1e6:8.1f}",
            _median(seconds, 1, "9.3f"),
            f"{min(seconds):9.3f}",
            f"{_rate(medians['per_second'], 'MB/s'):>9}",
            f"{_ratio(medians['first_faster_by']):>12}",
            _median(row["peak_bytes"], 1e-6, "9.1f"),
        ]
        lines.append(f"  {row['api']:<34} {' '.join(cells)}")
    return [line.rstrip() for line in lines]


def _median(values: list[float], scale: float, form: str) -> str:
    return format(median(values) * scale, form) if values else " " * int(form.partition(".")[0])


def _rate(per_second: float | None, unit: str) -> str:
    if per_second is None:
        return ""
    if unit == "MB/s":
        megabytes = per_second / 1e6
        return f"{megabytes:.0f}" if megabytes >= 100 else f"{megabytes:.1f}"
    return f"{1e9 / per_second:.0f}" if unit == "ns" else f"{1 / per_second:.3f}"


def _ratio(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"
