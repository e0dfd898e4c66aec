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
    settings = run["settings"]
    lines += [
        "",
        f"Medians of {settings['rounds']} interleaved rounds of fresh processes. cold: the first pass; "
        f"warm: the best of the {settings['warm_passes']} after it.",
        "first ÷ it: how many times faster the first line of the case is, the median of the rounds' ratios.",
    ]
    return "\n".join(lines)


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
