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
three sizes or more, and files in a folder named sweep, appear in the sweep's plots only.
"""
import argparse
import glob
import math
import os
import re
import statistics
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
import matplotlib.ticker  # noqa: E402

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
        figure.savefig(path, bbox_inches="tight", metadata={"Date": None} if self.form == "svg" else None)
        self.written.append(path)
        pyplot.close(figure)


def in_order(systems):
    return [name for name in COLOURS if name in systems] + sorted(set(systems) - set(COLOURS))


def systems_of(rows):
    return in_order({row["system"] for row in rows})


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
        errors = errors if any(map(any, errors)) else None
        drawn = axes.bar([i - 0.4 + width * (place + 0.5) for i, _ in spots], heights, width, yerr=errors, capsize=2, label=system,
                         color=colour(system))
        # The foot of a bar means nothing on a logarithmic axis: the number does.
        axes.bar_label(drawn, ["%.3g" % v if v < 1000 else "{:,.0f}".format(v) for v in heights], fontsize=7, padding=2)
    axes.grid(visible=False, axis="x")
    axes.margins(y=0.16)
    axes.set_xticks(range(len(groups)))
    axes.set_xticklabels(groups)
    return bool(groups)


def points_with_spread(axes, x, y, low, high, **keywords):
    """Lines through points; bars at them where the repetitions differ."""
    errors = [[b - a for a, b in zip(low, y)], [b - a for a, b in zip(y, high)]]
    axes.errorbar(x, y, errors if any(map(any, errors)) else None, marker="o", markersize=4, capsize=2, **keywords)


def nines(recall):
    """Where recalls stand on an axis that gives each tenth of the misses the same room; 1 is where 0.9999 is."""
    return -math.log10(max(1 - recall, 1e-4))


def floor_line(axes, rows, column, draw):
    """What the server and its clients take without an index."""
    floors = [row[column] for row in rows if row["measure"] == "floor" and row["clients"] == 1 and row.get("statement", "select_1") == "select_1"]
    if floors:
        draw(statistics.median(floors), color="#999999", linestyle=":", linewidth=1.2, label="a query without index or table")


def recall_qps(axes, all_rows):
    rows = [row for row in all_rows if row["measure"] == "search" and row["clients"] == 1 and (row["ef"] > 0 or "target" in row)]
    for system in systems_of(rows):
        for style, by, chosen in (("-", "", False), ("--", ", by target_recall", True)):
            points = sorted((r["recall"], r["qps"], r["qps_min"], r["qps_max"]) for r in rows
                            if r["system"] == system and (r["ef"] == 0) == chosen)
            if points:
                x, y, low, high = zip(*points)
                points_with_spread(axes, [nines(recall) for recall in x], y, low, high, label=system + by, color=colour(system), linestyle=style)
    axes.set_yscale("log")
    if rows:
        floor_line(axes, all_rows, "qps", axes.axhline)
        marks = [0, 0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999, 1]
        low, high = (pick(row["recall"] for row in rows) for pick in (min, max))
        marks = [m for m in marks if max(n for n in marks if n <= low) <= m <= min(n for n in marks if n >= high)]
        axes.set_xticks([nines(m) for m in marks])
        axes.set_xticklabels(["%g" % m for m in marks], fontsize=9)
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
                points_with_spread(axes, x, y, low, high, linestyle=style, label="%s, synchronous_commit %s" % (system, commit),
                                   color=colour(system))
                axes.set_xticks(x)
    # Room for the legend.
    axes.set_ylim(bottom=0, top=1.4 * max((row["rows_per_s_max"] for row in rows), default=1))
    axes.yaxis.set_major_formatter(matplotlib.ticker.StrMethodFormatter("{x:,.0f}"))
    return len({row["clients"] for row in rows}) > 1


def insert_modes(axes, rows):
    rows = [row for row in rows if row["measure"] == "insert" and row["clients"] == 1
            and not (row["mode"].startswith(("single", "batch")) and row["synchronous_commit"] == "on")]
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
    # Bars are for comparing: what was measured alone is in the sweep's plots, or in its file.
    groups = [g for g in groups if len(values[g]) > 1] or groups
    if groups:
        axes.set_yscale("log")
        bars(axes, groups, systems_of(rows), values)
    return bool(groups)


def histogram(axes, all_rows):
    rows = [row for row in all_rows if row["measure"] == "search" and row["clients"] == 1 and row["ef"] > 0 and row["recall"] >= 0.95]
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
    if drawn:
        floor_line(axes, all_rows, "p50_us", axes.axvline)
        axes.set_ylim(top=1.3 * axes.get_ylim()[1])
    return drawn


def by_data_set(files):
    """{(dataset, rows, k): rows of all files}"""
    groups = {}
    for rows in files:
        for row in rows:
            groups.setdefault((row["dataset"], row["rows"], row["k"]), []).append(row)
    return groups


def split(groups, sweep):
    """(groups of their own, {kind: rows} of the sweeps).  A sweep's are those of bench/sweep.sh, and synth and noise of one kind and
    dimensions with three sizes or more; to the first belong, as further points, files of sizes that it has not measured."""
    swept = {}
    for (dataset, _, _), rows in sweep.items():
        swept.setdefault(dataset.split(":")[0], []).extend(rows)
    sizes, alone = {}, {}
    for (dataset, count, _), rows in groups.items():
        sizes.setdefault((dataset.split(":")[0], rows[0]["dims"]), set()).add(count)
    for key, rows in groups.items():
        kind, dims = key[0].split(":")[0], rows[0]["dims"]
        many = kind in ("synth", "noise") and len(sizes[kind, dims]) > 2
        measured = {row["rows"] for row in swept.get(kind, []) if row["dims"] == dims}
        if many or (measured and key[1] not in measured):
            swept.setdefault(kind, []).extend(rows)
        if not many:
            alone[key] = rows
    return alone, swept


def panels(plots, name, title, ylabel, rows, lines):
    """lines(rows of one data set) -> {(system, line style, label): value}; a panel for each number of dimensions."""
    dims = sorted({row["dims"] for row in rows})
    figure, all_axes = pyplot.subplots(1, len(dims), figsize=(max(3.4 * len(dims) + 0.6, 5.2), 4.4), sharex=True, sharey=True, squeeze=False)
    labels = {}
    for axes, d in zip(all_axes[0], dims):
        found = {}
        for count in sorted({row["rows"] for row in rows if row["dims"] == d}):
            for key, value in lines([row for row in rows if row["dims"] == d and row["rows"] == count]).items():
                found.setdefault(key, []).append((count, value))
        order = in_order({system for system, _, _ in found})
        for (system, style, label), points in sorted(found.items(), key=lambda item: (order.index(item[0][0]), item[0][2])):
            labels[label], = axes.plot(*zip(*points), marker="o", markersize=4, linestyle=style, color=colour(system))
        axes.set(title="%d dimensions" % d, xlabel="rows", xscale="log", yscale="log")
        axes.yaxis.set_major_formatter(matplotlib.ticker.StrMethodFormatter("{x:,g}"))
    all_axes[0][0].set_ylabel(ylabel)
    figure.suptitle(title)
    # One legend for all panels, under them.
    if labels:
        figure.legend(list(labels.values()), list(labels), loc="upper center", bbox_to_anchor=(0.5, 0.0), ncol=3, fontsize=9)
    plots.save(figure, name)


def build_seconds(rows):
    return {(r["system"], "-", r["system"]): r["seconds"] for r in rows if r["measure"] == "build"}


def memory(rows):
    found = {}
    for row in (row for row in rows if row["measure"] == "build"):
        found[row["system"], "-", row["system"] + ", index"] = row["index_bytes"] / row["rows"]
        if row.get("peak_private_bytes"):
            found[row["system"], ":", row["system"] + ", build"] = row["peak_private_bytes"] / row["rows"]
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
    panels(plots, "sweep-memory-" + kind, "Size of the index, and private memory of its build, " + kind, "bytes per row", rows, memory)
    searches = [row for row in rows if row["measure"] == "search"]
    for k in sorted({row["k"] for row in searches}):
        panels(plots, "sweep-search-%s-k%d" % (kind, k), "Search, k %d, at recall 0.95, one connection, %s" % (k, kind), "ms per query",
               [row for row in searches if row["k"] == k], milliseconds_at_95)
    inserts = [row for row in rows if row["measure"] == "insert"]
    if inserts:
        panels(plots, "sweep-insert-" + kind, "INSERT, synchronous_commit off, " + kind, "rows/s", inserts, insert_rates)


def draw_data_set(plots, key, rows):
    dataset, count, k = key
    name = "%s%s" % (dataset, "" if k == 10 else "-k%d" % k)

    def draw(kind, *arguments, **keywords):
        # A part of a data set stands beside the whole, which comes first.
        taken = any(path.endswith("/%s-%s.%s" % (kind, plots.slug(name), plots.form)) for path in plots.written)
        plots.draw("%s-%s%s" % (kind, name, "-%drows" % count if taken else ""), *arguments, **keywords)

    title = "%s, %d x %d, k %d" % (dataset, count, rows[0]["dims"], k)
    draw("recall-qps", title, "recall@%d" % k, "queries/s, one connection", lambda axes: recall_qps(axes, rows))
    draw("latency", title + ", at recall 0.95", "", "microseconds", lambda axes: latency(axes, rows))
    draw("histogram", title + ", one connection", "microseconds", "percent of the queries", lambda axes: histogram(axes, rows))
    into = "INSERT into %s, %d x %d" % (dataset, count, rows[0]["dims"])
    draw("insert", into, "connections", "rows/s, single-row statements", lambda axes: insert_clients(axes, rows))
    draw("modes", into + ", one connection", "", "rows/s", lambda axes: insert_modes(axes, rows), width=8)


def newest(folder):
    """The newest file of each name; names begin with the date.  Not of another kind of server."""
    files = {}
    for path in sorted(glob.glob(os.path.join(folder, "*.csv"))):
        if not path.endswith("-hugepages.csv"):
            files[re.sub(r"^\d+-\d+-\d+-", "", os.path.basename(path))] = path
    return list(files.values())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*")
    parser.add_argument("--out", default=os.path.join(HERE, "results", "plots"))
    parser.add_argument("--format", choices=("svg", "png"), default="svg")
    options = parser.parse_args()
    results = os.path.join(HERE, "results")
    paths = options.files or newest(results) + newest(os.path.join(results, "sweep"))
    files = {path: report.read(path)[1] for path in paths}
    if not any(files.values()):
        sys.exit("plot.py: there is nothing in bench/results: bench/run.sh DATASET --save writes there")
    swept_files, alone_files = [], []
    for path, rows in files.items():
        in_sweep = os.path.basename(os.path.dirname(os.path.abspath(path))) == "sweep"
        (swept_files if in_sweep else alone_files).append(rows)
    os.makedirs(options.out, exist_ok=True)
    plots = Plots(options.out, options.format)
    alone, swept = split(by_data_set(alone_files), by_data_set(swept_files))
    for key, rows in sorted(alone.items(), key=lambda item: (item[0][0], -item[0][1], item[0][2])):
        draw_data_set(plots, key, rows)
    builds = [row for rows in alone.values() for row in rows if row["measure"] == "build"]
    threads = sorted({row["threads"] for row in builds})
    plots.draw("build", "CREATE INDEX, %s threads" % " or ".join(map(str, threads)), "", "seconds", lambda axes: build(axes, builds), width=8)
    for kind, rows in swept.items():
        draw_sweep(plots, kind, rows)
    for path in plots.written:
        print("%s %d bytes" % (path, os.path.getsize(path)))


if __name__ == "__main__":
    main()
