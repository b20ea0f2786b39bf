"""What bench/run.sh runs once the cluster stands: loads, builds, searches, prints.

Repetitions are interleaved (every system once, then every system again), medians are reported with their spread.
"""
import argparse
import csv
import datetime
import json
import math
import os
import statistics
import subprocess
import sys

import datasets
import systems

ROOT = os.environ["BENCH_ROOT"]
PARTS = ("build", "search")


def numbers(text):
    return [int(x) for x in text.split(",")]


def arguments():
    parser = argparse.ArgumentParser(prog="run.sh")
    parser.add_argument("dataset")
    parser.add_argument("--rows", type=int)
    parser.add_argument("--only", default="build,search")
    parser.add_argument("--peers", default="")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--metric", choices=("l2", "ip", "cosine"))
    parser.add_argument("--ef", type=numbers, default=[10, 20, 40, 80, 160, 320, 640])
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--clients", type=numbers, default=[16])
    parser.add_argument("--queries", type=int, default=1000)
    parser.add_argument("--m", type=int, default=16)
    parser.add_argument("--ef-construction", type=int, default=64)
    parser.add_argument("--maintenance-work-mem", default="8GB")
    parser.add_argument("--save", action="store_true")
    options = parser.parse_args()
    options.only = options.only.split(",")
    for part in options.only:
        if part not in PARTS:
            parser.error("--only knows " + ", ".join(PARTS))
    return options


class Report:
    """Collects measurements; a JSON line each with --json, a table at the end without."""

    def __init__(self, options):
        self.options, self.rows = options, []

    def add(self, **row):
        self.rows.append(row)
        if self.options.json:
            print(json.dumps(row), flush=True)
        else:
            print(" ".join("%s=%s" % (k, v) for k, v in row.items() if k not in ("dataset", "dims")), file=sys.stderr, flush=True)

    def of(self, measure):
        return [row for row in self.rows if row["measure"] == measure]

    def table(self):
        for measure in ("build", "recall", "search"):
            rows = self.of(measure)
            if not rows:
                continue
            columns = [c for c in dict.fromkeys(c for row in rows for c in row) if c not in ("measure", "dataset", "dims")]
            cells = [columns] + [["" if row.get(c) is None else str(row[c]) for c in columns] for row in rows]
            widths = [max(len(line[i]) for line in cells) for i in range(len(columns))]
            print("\n" + measure)
            for line in cells:
                print("  ".join(cell.rjust(width) for cell, width in zip(line, widths)))
        for line in speed_at_recall(self.of("search")):
            print(line)

    def save(self, environment):
        folder = os.path.join(ROOT, "bench", "results")
        os.makedirs(folder, exist_ok=True)
        name = "%s-%s.csv" % (datetime.date.today().isoformat(), self.options.dataset.replace(":", "-").replace("/", "-"))
        with open(os.path.join(folder, name), "w", newline="") as file:
            for key, value in environment.items():
                file.write("# %s: %s\n" % (key, value))
            columns = list(dict.fromkeys(c for row in self.rows for c in row))
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            writer.writerows(self.rows)


def speed_at_recall(rows):
    """QPS of one connection where recall reaches 0.95 and 0.99, interpolated between the measured points."""
    lines = []
    for target in (0.95, 0.99):
        found = {}
        for system in dict.fromkeys(row["system"] for row in rows):
            points = sorted((r["recall"], r["qps"]) for r in rows if r["system"] == system and r["clients"] == 1 and r["ef"] > 0)
            above = [p for p in points if p[0] >= target]
            below = [p for p in points if p[0] < target]
            if above and below:
                (r0, q0), (r1, q1) = below[-1], above[0]
                share = (target - r0) / (r1 - r0)
                found[system] = math.exp(math.log(q0) + share * (math.log(q1) - math.log(q0)))
            elif above:
                found[system] = max(q for _, q in above)
        lines.append("QPS at recall %.2f: %s" % (target, ", ".join("%s %.0f" % item for item in found.items()) or "not reached"))
    return lines


def environment(options, dataset, chosen):
    def output(*command):
        return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout.decode().strip()

    with open("/proc/cpuinfo") as file:
        cpu = next((line.split(":")[1].strip() for line in file if line.startswith("model name")), "unknown")
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "commit": output("git", "-C", ROOT, "describe", "--always", "--dirty"),
        "cpu": "%s, %d cores" % (cpu, os.cpu_count()),
        "compiler": output("gcc", "--version").split("\n")[0],
        "postgresql": systems.psql("postgres", "SHOW server_version"),
        "shared_buffers": systems.psql("postgres", "SHOW shared_buffers"),
        "systems": ", ".join("%s %s" % (s.name, s.version()) for s in chosen),
        "dataset": "%s, %d x %d, %s, %d queries" % (dataset.name, dataset.rows, dataset.dims, dataset.metric, len(dataset.query)),
        "options": " ".join(sys.argv[1:]),
    }


def build(options, dataset, chosen, report, shared):
    repeat = options.repeat if "build" in options.only else 1
    results = {system.name: [] for system in chosen}
    for _ in range(repeat):
        for system in chosen:
            results[system.name].append(system.build(options))
    if "build" not in options.only:
        return
    for system in chosen:
        runs = results[system.name]
        seconds = [run["seconds"] for run in runs]
        row = {key: max(run[key] for run in runs) for key in runs[0] if key != "seconds"}
        report.add(measure="build", system=system.name, **shared, threads=options.threads,
                   seconds=round(statistics.median(seconds), 3), seconds_min=round(min(seconds), 3),
                   seconds_max=round(max(seconds), 3), **row)
        for ef in (40, 80, 160):
            recall = dataset.recall(system.search(ef, 0.05)[1])
            report.add(measure="recall", system=system.name, **shared, ef=ef, recall=round(recall, 4))


def search(options, dataset, chosen, report, shared):
    runs, recalls, counters = {}, {}, {}
    for _ in range(options.repeat):
        for ef in [0] + options.ef:
            for system in chosen:
                # 0: the index chooses; the peers have no such thing.
                if ef == 0 and system.name != "phnsw":
                    continue
                result, answers = system.search(ef, options.seconds)
                runs.setdefault((system, ef), []).append(result)
                if (system, ef) not in recalls:
                    recalls[system, ef] = round(dataset.recall(answers), 4)
                    counters[system, ef] = system.counters(ef)
    for (system, ef), results in sorted(runs.items(), key=lambda item: (item[0][0].name, item[0][1])):
        row = {key: round(statistics.median(r[key] for r in results), 1) for key in ("qps", "p50_us", "p95_us", "p99_us")}
        qps = [r["qps"] for r in results]
        report.add(measure="search", system=system.name, **shared, ef=ef, recall=recalls[system, ef], **row,
                   qps_min=min(qps), qps_max=max(qps), clients=1, **counters[system, ef])

    # Many clients, at the smallest ef that reaches 0.95.
    for clients in options.clients:
        for system in chosen:
            enough = [ef for ef in options.ef if recalls.get((system, ef), 0) >= 0.95]
            if system.name == "hnswlib" or not enough:
                continue
            results = [system.search(enough[0], options.seconds, clients)[0] for _ in range(options.repeat)]
            row = {key: round(statistics.median(r[key] for r in results), 1) for key in ("qps", "p50_us", "p95_us", "p99_us")}
            report.add(measure="search", system=system.name, **shared, ef=enough[0], recall=recalls[system, enough[0]], **row,
                       clients=clients, lock_waits=max(r["lock_waits"] for r in results))


def main():
    options = arguments()
    cache = os.path.join(ROOT, "bench", "cache")
    dataset = datasets.load(options.dataset, options.rows, options.metric, options.queries, cache)
    chosen = systems.available([peer for peer in options.peers.split(",") if peer])
    shared = {"dataset": dataset.name, "rows": dataset.rows, "dims": dataset.dims}
    report = Report(options)
    for system in chosen:
        system.load(dataset, options)
    try:
        about = environment(options, dataset, chosen)
        if not options.json:
            print("\n".join("%s: %s" % item for item in about.items()), flush=True)
        build(options, dataset, chosen, report, shared)
        if "search" in options.only:
            search(options, dataset, chosen, report, shared)
    finally:
        for system in chosen:
            system.close()
    if not options.json:
        report.table()
    if options.save:
        report.save(about)


if __name__ == "__main__":
    main()
