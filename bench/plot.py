#!/usr/bin/python3
"""plot.py: draws what bench/run.sh --save wrote (needs Debian's python3-matplotlib).

usage: bench/plot.py [--out FOLDER] [--format svg|png] [FILE.csv...]

Without files the newest of each data set and k in bench/results is taken, and the plots go to bench/results/plots:

    recall-qps-DATASET        recall against queries per second of one connection, all systems
    latency-DATASET           p50, p95, p99 at the smallest ef that reaches recall 0.95, one connection and many
    insert-DATASET            rows per second against connections, single rows, synchronous_commit off and on
    modes-DATASET             rows per second of the ways to insert
    build                     seconds of CREATE INDEX, all data sets
    rows-search-KIND-D-kK     ms per query at recall 0.95 against rows, where files differ only in rows (bench/sweep.sh);
                              files of three sizes or more appear only here
    rows-build-KIND-D-kK      seconds of CREATE INDEX against rows
"""
import argparse
import glob
import os
import re
import sys

import report

try:
    import matplotlib
except ImportError:
    sys.exit("plot.py: needs python3-matplotlib (apt-get install python3-matplotlib)")
matplotlib.use("Agg")
# The same numbers give the same file.
matplotlib.rcParams.update({"svg.hashsalt": "phnsw", "font.size": 10, "axes.grid": True, "grid.alpha": 0.3})
import matplotlib.pyplot as pyplot  # noqa: E402

HERE = os.path.dirname(os.path.abspath(__file__))
COLOURS = {"phnsw": "#c0392b", "pgvector": "#2c6fbb", "hnswlib": "#7f8c8d", "faiss": "#27ae60"}


class Plots:
    """The files of a folder; a plot without points is not written."""

    def __init__(self, folder, form):
        self.folder, self.form, self.written = folder, form, []

    def draw(self, name, title, xlabel, ylabel, fill, width=6.4):
        figure, axes = pyplot.subplots(figsize=(width, 4.2))
        axes.set(title=title, xlabel=xlabel, ylabel=ylabel)
        if fill(axes):
            axes.legend(fontsize=9)
            figure.tight_layout()
            path = os.path.join(self.folder, "%s.%s" % (re.sub(r"[^A-Za-z0-9.]+", "-", name), self.form))
            figure.savefig(path, metadata={"Date": None} if self.form == "svg" else None)
            self.written.append(path)
        pyplot.close(figure)


def systems_of(rows):
    found = {row["system"] for row in rows}
    return [name for name in COLOURS if name in found] + sorted(found - set(COLOURS))


def colour(system):
    return COLOURS.get(system, "#555555")


def label(row):
    return row["dataset"] + ("" if row["k"] == 10 else ", k %d" % row["k"])


def bars(axes, groups, systems, values):
    """Bars side by side: values[group][system] is (value, low, high)."""
    width = 0.8 / len(systems)
    for place, system in enumerate(systems):
        spots = [(i, values[group][system]) for i, group in enumerate(groups) if system in values[group]]
        heights = [v for _, (v, _, _) in spots]
        errors = [[v - low for _, (v, low, _) in spots], [high - v for _, (v, _, high) in spots]]
        drawn = axes.bar([i - 0.4 + width * (place + 0.5) for i, _ in spots], heights, width, yerr=errors, capsize=2, label=system,
                         color=colour(system))
        # The foot of a bar means nothing on a logarithmic axis: the number does.
        axes.bar_label(drawn, ["%.3g" % v if v < 1000 else "%d" % v for v in heights], fontsize=7, padding=2)
    axes.margins(y=0.1)
    axes.set_xticks(range(len(groups)))
    axes.set_xticklabels(groups)
    return bool(groups)


def recall_qps(axes, rows):
    rows = [row for row in rows if row["measure"] == "search" and row["clients"] == 1 and row["ef"] > 0]
    for system in systems_of(rows):
        points = sorted((r["recall"], r["qps"], r["qps_min"], r["qps_max"]) for r in rows if r["system"] == system)
        x, y, low, high = zip(*points)
        axes.errorbar(x, y, [[b - a for a, b in zip(low, y)], [b - a for a, b in zip(y, high)]], marker="o", markersize=4,
                      capsize=2, label=system, color=colour(system))
    axes.set_yscale("log")
    return bool(rows)


def latency(axes, rows):
    rows = [row for row in rows if row["measure"] == "search" and row["ef"] > 0 and row["recall"] >= 0.95]
    groups, values = [], {}
    for clients in sorted({row["clients"] for row in rows}):
        chosen = {}
        for row in sorted((r for r in rows if r["clients"] == clients), key=lambda r: r["ef"]):
            chosen.setdefault(row["system"], row)
        for part in ("p50", "p95", "p99"):
            group = "%s\n%d client%s" % (part, clients, "s" if clients > 1 else "")
            groups.append(group)
            values[group] = {s: (row[part + "_us"],) * 3 for s, row in chosen.items()}
    if groups:
        axes.set_yscale("log")
        bars(axes, groups, systems_of(rows), values)
    return bool(groups)


def insert_clients(axes, rows):
    rows = [row for row in rows if row["measure"] == "insert" and row["mode"] == "single"]
    for system in systems_of(rows):
        for commit, style in (("off", "-"), ("on", "--")):
            points = sorted((r["clients"], r["rows_per_s"], r["rows_per_s_min"], r["rows_per_s_max"]) for r in rows
                            if r["system"] == system and r["synchronous_commit"] == commit)
            if points:
                x, y, low, high = zip(*points)
                axes.errorbar(x, y, [[b - a for a, b in zip(low, y)], [b - a for a, b in zip(y, high)]], marker="o", markersize=4,
                              capsize=2, linestyle=style, label="%s, synchronous_commit %s" % (system, commit), color=colour(system))
                axes.set_xticks(x)
    axes.set_ylim(bottom=0)
    return bool(rows)


def insert_modes(axes, rows):
    rows = [row for row in rows if row["measure"] == "insert" and row["clients"] == 1
            and (row["mode"] != "single" or row["synchronous_commit"] == "off")]
    groups = list(dict.fromkeys(row["mode"] for row in rows))
    values = {g: {r["system"]: (r["rows_per_s"], r["rows_per_s_min"], r["rows_per_s_max"]) for r in rows if r["mode"] == g}
              for g in groups}
    if groups:
        axes.set_yscale("log")
        bars(axes, groups, systems_of(rows), values)
    return bool(groups)


def build(axes, rows):
    rows = [row for row in rows if row["measure"] == "build" and row["k"] == 10]
    groups = list(dict.fromkeys(label(row) for row in rows))
    values = {g: {r["system"]: (r["seconds"], r["seconds_min"], r["seconds_max"]) for r in rows if label(r) == g} for g in groups}
    if groups:
        axes.set_yscale("log")
        bars(axes, groups, systems_of(rows), values)
    return bool(groups)


def sweeps(files):
    """Of data sets synth:N:D and noise:N:D: {(kind, dims, k): {rows: rows of the file}}, where there are several N."""
    found = {}
    for rows in files:
        kind = rows[0]["dataset"].split(":")
        if kind[0] in ("synth", "noise"):
            found.setdefault((kind[0], rows[0]["dims"], rows[0]["k"]), {})[rows[0]["rows"]] = rows
    return {key: sizes for key, sizes in sorted(found.items()) if len(sizes) > 1}


def cost_of_rows(axes, sizes, measure):
    """measure(rows of one file) -> {system: value}"""
    lines = {}
    for count, rows in sorted(sizes.items()):
        for system, value in measure(rows).items():
            lines.setdefault(system, []).append((count, value))
    for system in [s for s in COLOURS if s in lines] + sorted(set(lines) - set(COLOURS)):
        axes.plot(*zip(*lines[system]), marker="o", markersize=4, label=system, color=colour(system))
    axes.set_xscale("log")
    axes.set_yscale("log")
    return bool(lines)


def milliseconds_at_95(rows):
    rows = [row for row in rows if row["measure"] == "search"]
    return {system: 1000 / qps for system, qps in report.speed_at_recall(rows, 0.95).items()}


def build_seconds(rows):
    return {row["system"]: row["seconds"] for row in rows if row["measure"] == "build"}


def newest(folder):
    """The newest file of each data set (and k); names begin with the date."""
    files = {}
    for path in sorted(glob.glob(os.path.join(folder, "*.csv"))):
        files[re.sub(r"^\d+-\d+-\d+-", "", os.path.basename(path))] = path
    return list(files.values())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*")
    parser.add_argument("--out", default=os.path.join(HERE, "results", "plots"))
    parser.add_argument("--format", choices=("svg", "png"), default="svg")
    options = parser.parse_args()
    files = [rows for _, rows in map(report.read, options.files or newest(os.path.join(HERE, "results"))) if rows]
    if not files:
        sys.exit("plot.py: there is nothing in bench/results: bench/run.sh DATASET --save writes there")
    os.makedirs(options.out, exist_ok=True)
    plots = Plots(options.out, options.format)
    sizes = sweeps(files)
    # A sweep has a file for each point of its charts; charts of each file would only hide those.
    swept = {id(rows) for group in sizes.values() if len(group) > 2 for rows in group.values()}
    for rows in (rows for rows in files if id(rows) not in swept):
        name, first = label(rows[0]), rows[0]
        title = "%s, %d x %d, k %d" % (first["dataset"], first["rows"], first["dims"], first["k"])
        plots.draw("recall-qps-" + name, title, "recall@%d" % first["k"], "queries/s, one connection", lambda axes: recall_qps(axes, rows))
        plots.draw("latency-" + name, title + ", recall 0.95", "", "microseconds", lambda axes: latency(axes, rows))
        plots.draw("insert-" + name, title, "connections", "rows/s, single-row statements", lambda axes: insert_clients(axes, rows))
        plots.draw("modes-" + name, title, "", "rows/s", lambda axes: insert_modes(axes, rows), width=8)
    plots.draw("build", "CREATE INDEX", "", "seconds",
               lambda axes: build(axes, [row for rows in files if id(rows) not in swept for row in rows]), width=8)
    for (kind, dims, k), group in sizes.items():
        title = "%s, %d dimensions, k %d" % (kind, dims, k)
        plots.draw("rows-search-%s-%d-k%d" % (kind, dims, k), title, "rows", "ms per query at recall 0.95",
                   lambda axes: cost_of_rows(axes, group, milliseconds_at_95))
        plots.draw("rows-build-%s-%d-k%d" % (kind, dims, k), title, "rows", "seconds of CREATE INDEX",
                   lambda axes: cost_of_rows(axes, group, build_seconds))
    for path in plots.written:
        print("%s %d bytes" % (path, os.path.getsize(path)))


if __name__ == "__main__":
    main()
