#!/usr/bin/python3
"""plot.py: draws what bench/run.sh --save wrote (needs Debian's python3-matplotlib).

usage: bench/plot.py [--out FOLDER] [--format svg|png] [FILE.csv...]

Without files the newest of each name in bench/results and bench/results/sweep is taken, and the plots go to bench/results/plots:

    recall-qps-DATASET        recall against queries per second of one connection, all systems
    latency-DATASET           p50, p95, p99 at the smallest ef that reaches recall 0.95, one connection and many
    histogram-DATASET         latencies of one connection at that ef
    insert-DATASET            rows per second against connections, single rows, synchronous_commit off and on
    modes-DATASET             rows per second of the ways to insert
    build                     seconds of CREATE INDEX, all data sets
    sweep-build-KIND          bench/sweep.sh, against rows, a panel for each number of dimensions: seconds of CREATE INDEX,
    sweep-memory-KIND         bytes of the index for a row, and private memory of the build,
    sweep-search-KIND-kK      ms per query at recall 0.95,
    sweep-insert-KIND         rows per second of single-row statements and of the largest batch

Files of one data set and size belong together (build and search in one, writes in another).  Data sets synth:N:D and noise:N:D of
three sizes or more appear in the sweep's plots only.
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
            self.save(figure, name)
        else:
            pyplot.close(figure)

    @staticmethod
    def slug(name):
        return re.sub(r"[^A-Za-z0-9.]+", "-", name)

    def save(self, figure, name):
        figure.tight_layout()
        path = os.path.join(self.folder, "%s.%s" % (self.slug(name), self.form))
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
    # Of a data set and parts of it, the whole.
    rows = sorted(rows, key=lambda row: row["rows"])
    values = {g: {r["system"]: (r["seconds"], r["seconds_min"], r["seconds_max"]) for r in rows if label(r) == g} for g in groups}
    if groups:
        axes.set_yscale("log")
        bars(axes, groups, systems_of(rows), values)
    return bool(groups)


def histogram(axes, rows):
    rows = [row for row in rows if row["measure"] == "search" and row["clients"] == 1 and row["ef"] > 0 and row["recall"] >= 0.95]
    drawn = False
    for system in systems_of(rows):
        row = min((row for row in rows if row["system"] == system), key=lambda row: row["ef"])
        counts = report.read_histogram(row.get("histogram", ""))
        if not counts:
            continue
        places = range(min(counts), max(counts) + 2)
        edges = [10 ** (place / 20) for place in places]
        shares = [100 * counts.get(place, 0) / sum(counts.values()) for place in places[:-1]]
        axes.stairs(shares, edges, label="%s, ef %d, recall %.3f" % (system, row["ef"], row["recall"]), color=colour(system), fill=True,
                    alpha=0.5)
        drawn = True
    axes.set_xscale("log")
    return drawn


def by_data_set(files):
    """{(dataset, rows, k): rows of all files}"""
    groups = {}
    for rows in files:
        for row in rows:
            groups.setdefault((row["dataset"], row["rows"], row["k"]), []).append(row)
    return groups


def split(groups):
    """(groups of their own, {kind: [rows]} of the sweeps): synth and noise of one kind and dimensions with three sizes or more."""
    sizes = {}
    for (dataset, count, k), rows in groups.items():
        kind = dataset.split(":")[0]
        if kind in ("synth", "noise"):
            sizes.setdefault((kind, rows[0]["dims"]), set()).add(count)
    alone, swept = {}, {}
    for key, rows in groups.items():
        kind = key[0].split(":")[0]
        if len(sizes.get((kind, rows[0]["dims"]), ())) > 2:
            swept.setdefault(kind, []).extend(rows)
        else:
            alone[key] = rows
    return alone, swept


def panels(plots, name, title, ylabel, rows, lines):
    """lines(rows of one data set) -> {(system, line style, label): value}; a panel for each number of dimensions."""
    dims = sorted({row["dims"] for row in rows})
    figure, all_axes = pyplot.subplots(1, len(dims), figsize=(3.4 * len(dims) + 0.6, 4.2), sharey=True, squeeze=False)
    for axes, d in zip(all_axes[0], dims):
        found = {}
        for count in sorted({row["rows"] for row in rows if row["dims"] == d}):
            for key, value in lines([row for row in rows if row["dims"] == d and row["rows"] == count]).items():
                found.setdefault(key, []).append((count, value))
        for (system, style, label), points in sorted(found.items(), key=lambda item: item[0][2]):
            axes.plot(*zip(*points), marker="o", markersize=4, linestyle=style, label=label, color=colour(system))
        axes.set(title="%d dimensions" % d, xlabel="rows", xscale="log", yscale="log")
        if found:
            axes.legend(fontsize=7)
    all_axes[0][0].set_ylabel(ylabel)
    figure.suptitle(title)
    plots.save(figure, name)


def build_seconds(rows):
    return {(r["system"], "-", r["system"]): r["seconds"] for r in rows if r["measure"] == "build"}


def memory(rows):
    found = {}
    for row in (row for row in rows if row["measure"] == "build"):
        found[row["system"], "-", row["system"] + ", index"] = row["index_bytes"] / row["rows"]
        if row.get("peak_private_bytes"):
            found[row["system"], ":", row["system"] + ", build, private"] = row["peak_private_bytes"] / row["rows"]
    return found


def milliseconds_at_95(rows):
    return {(system, "-", system): 1000 / qps for system, qps in report.speed_at_recall(rows, 0.95).items()}


def insert_rates(rows):
    found, largest = {}, {}
    for row in (row for row in rows if row["measure"] == "insert" and row["synchronous_commit"] == "off"):
        system, mode = row["system"], row["mode"]
        if mode == "single":
            label = "%s, single, %d client%s" % (system, row["clients"], "s" if row["clients"] > 1 else "")
            found[system, "-" if row["clients"] == 1 else "--", label] = row["rows_per_s"]
        elif mode.startswith("batch"):
            largest[system] = max(largest.get(system, (0, 0)), (int(mode[5:]), row["rows_per_s"]))
    for system, (batch, rate) in largest.items():
        found[system, ":", "%s, largest batch" % system] = rate
    return found


def draw_sweep(plots, kind, rows):
    panels(plots, "sweep-build-" + kind, "CREATE INDEX, " + kind, "seconds", rows, build_seconds)
    panels(plots, "sweep-memory-" + kind, "Memory, " + kind, "bytes per row", rows, memory)
    searches = [row for row in rows if row["measure"] == "search"]
    for k in sorted({row["k"] for row in searches}):
        panels(plots, "sweep-search-%s-k%d" % (kind, k), "k %d, recall 0.95, %s" % (k, kind), "ms per query",
               [row for row in searches if row["k"] == k], milliseconds_at_95)
    inserts = [row for row in rows if row["measure"] == "insert"]
    if inserts:
        panels(plots, "sweep-insert-" + kind, "INSERT, " + kind, "rows/s", inserts, insert_rates)


def draw_data_set(plots, key, rows):
    dataset, count, k = key
    name = "%s%s" % (dataset, "" if k == 10 else "-k%d" % k)

    def draw(kind, *arguments, **keywords):
        # A part of a data set stands beside the whole, which comes first.
        taken = any(path.endswith("/%s-%s.%s" % (kind, plots.slug(name), plots.form)) for path in plots.written)
        plots.draw("%s-%s%s" % (kind, name, "-%drows" % count if taken else ""), *arguments, **keywords)

    title = "%s, %d x %d, k %d" % (dataset, count, rows[0]["dims"], k)
    draw("recall-qps", title, "recall@%d" % k, "queries/s, one connection", lambda axes: recall_qps(axes, rows))
    draw("latency", title + ", recall 0.95", "", "microseconds", lambda axes: latency(axes, rows))
    draw("histogram", title + ", one connection", "microseconds", "percent of the queries", lambda axes: histogram(axes, rows))
    draw("insert", title, "connections", "rows/s, single-row statements", lambda axes: insert_clients(axes, rows))
    draw("modes", title, "", "rows/s", lambda axes: insert_modes(axes, rows), width=8)


def newest(*folders):
    """The newest file of each name; names begin with the date."""
    files = {}
    for folder in folders:
        for path in sorted(glob.glob(os.path.join(folder, "*.csv"))):
            files[folder, re.sub(r"^\d+-\d+-\d+-", "", os.path.basename(path))] = path
    return list(files.values())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*")
    parser.add_argument("--out", default=os.path.join(HERE, "results", "plots"))
    parser.add_argument("--format", choices=("svg", "png"), default="svg")
    options = parser.parse_args()
    results = os.path.join(HERE, "results")
    files = [rows for _, rows in map(report.read, options.files or newest(results, os.path.join(results, "sweep"))) if rows]
    if not files:
        sys.exit("plot.py: there is nothing in bench/results: bench/run.sh DATASET --save writes there")
    os.makedirs(options.out, exist_ok=True)
    plots = Plots(options.out, options.format)
    alone, swept = split(by_data_set(files))
    for key, rows in sorted(alone.items(), key=lambda item: (item[0][0], -item[0][1], item[0][2])):
        draw_data_set(plots, key, rows)
    plots.draw("build", "CREATE INDEX", "", "seconds",
               lambda axes: build(axes, [row for rows in alone.values() for row in rows]), width=8)
    for kind, rows in swept.items():
        draw_sweep(plots, kind, rows)
    for path in plots.written:
        print("%s %d bytes" % (path, os.path.getsize(path)))


if __name__ == "__main__":
    main()
