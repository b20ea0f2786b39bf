"""What bench/run.sh runs once the cluster stands: loads, builds, measures part by part, prints.

Repetitions are interleaved (every system once, then every system again), medians are reported with their spread.
"""
import argparse
import datetime
import os
import statistics
import subprocess
import sys

import datasets
import in_hand
import reads
import systems
import writes
from report import Report, commit, merge_histograms, spread

ROOT = os.environ["BENCH_ROOT"]
PARTS = ("build", "search", "insert", "mixed", "copy", "update", "vacuum", "cold", "filter")
BUILD_SECONDS, BUILD_RUNS = 10, 5
BUILD_SHORT, BUILD_SHORT_RUNS = 20, 3
EFS = [10, 20, 40, 80, 160, 320, 640]
# What phnsw's calibration is measured for, and its default among the targets.
CALIBRATED_K, DEFAULT_TARGET = 10, 0.95


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
    parser.add_argument("--ef", type=numbers)
    parser.add_argument("--target", type=lambda text: [float(x) for x in text.split(",") if x], default=[0.9, 0.93, 0.97, 0.99])
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--clients", type=numbers, default=[16])
    parser.add_argument("--queries", type=int, default=1000)
    parser.add_argument("--m", type=int, default=16)
    parser.add_argument("--ef-construction", type=int, default=64)
    parser.add_argument("--maintenance-work-mem")
    parser.add_argument("--k", type=numbers, default=[10])
    parser.add_argument("--changes", type=int, default=2000)
    parser.add_argument("--write-seconds", type=float, default=2.0)
    parser.add_argument("--write-clients", type=numbers, default=[1, 2, 4, 8])
    parser.add_argument("--batches", type=numbers, default=[10, 100, 500, 1000])
    parser.add_argument("--commits", type=lambda text: text.split(","), default=["off", "on"])
    parser.add_argument("--cycles", type=int, default=1)
    parser.add_argument("--disk-us", type=int, default=500)
    # run.sh sets it up; here it only tells the files apart.
    parser.add_argument("--huge-pages", action="store_true")
    parser.add_argument("--fresh-memory", action="store_true")
    parser.add_argument("--save", action="store_true")
    options = parser.parse_args()
    # Every part but search has one k, the first.
    options.ks, options.k = options.k, options.k[0]
    options.ef_written = max(80, options.k)
    options.only = options.only.split(",")
    for part in options.only:
        if part not in PARTS:
            parser.error("--only knows " + ", ".join(PARTS))
    return options


def widths(options, k):
    """ef of the search part: never below k, which no system can answer."""
    if options.ef is None and k <= EFS[0]:
        return EFS
    return [ef for ef in options.ef or [] if ef >= k] or [k, 2 * k, 4 * k, 8 * k]


def memory():
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def enough_memory(dataset):
    """maintenance_work_mem that holds every system's graph, with room.  Not simply much: pgvector's parallel build allocates, and
    the kernel clears, all of it, which takes seconds."""
    wanted = 1.5 * dataset.rows * (4 * dataset.dims + 1024)
    return "%dMB" % max(64, min(wanted, memory() / 2) / 2**20)


def wal_bytes(dataset):
    """What the largest statement logs: an index with vectors in full and their links.  No more than run.sh's min_wal_size keeps."""
    return min(dataset.rows * (4 * dataset.dims + 1024), 4 * 2**30)


def environment(options, dataset, chosen):
    # What run.sh has set, but for places and languages.
    settings = systems.psql("postgres", "SELECT string_agg(name || '=' || current_setting(name), ' ' ORDER BY name) FROM pg_settings"
                            " WHERE source = 'configuration file' AND name !~* '^(lc_|log_|timezone|datestyle|default_text|dynamic_shared|"
                            "listen|port|unix_socket)'")
    with open("/proc/cpuinfo") as file:
        cpu = next((line.split(":")[1].strip() for line in file if line.startswith("model name")), "unknown")
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "commit": commit(ROOT),
        "cpu": "%s, %d cores" % (cpu, os.cpu_count()),
        "machine": "%.0f GB, %s %s" % (memory() / 2**30, os.uname().sysname, os.uname().release),
        "compiler": subprocess.run(["gcc", "--version"], stdout=subprocess.PIPE).stdout.decode().split("\n")[0],
        "flags": "phnsw -O2, leaf kernels and build -O3; hnswlib -O3 -march=native; faiss, PostgreSQL, pgvector as packaged",
        "postgresql": systems.psql("postgres", "SHOW server_version"),
        "shared_buffers": systems.psql("postgres", "SHOW shared_buffers"),
        "huge_pages": systems.psql("postgres", "SHOW huge_pages"),
        "maintenance_work_mem": options.maintenance_work_mem,
        "build_memory": "%d MB in hand before each build" % (options.in_hand >> 20) if options.in_hand else "as the machine has it",
        "settings": settings,
        "index": "m=%d ef_construction=%d threads=%d" % (options.m, options.ef_construction, options.threads),
        "systems": ", ".join("%s %s" % (s.name, s.version()) for s in chosen),
        "dataset": "%s, %d x %d, %s, %d queries" % (dataset.name, dataset.rows, dataset.dims, dataset.metric, len(dataset.query)),
        "options": " ".join(sys.argv[1:]),
    }


def more_builds(seconds):
    least = BUILD_SHORT_RUNS if seconds[0] < BUILD_SHORT else 1
    return len(seconds) < least or len(seconds) < BUILD_RUNS and sum(seconds) < BUILD_SECONDS


def build(options, dataset, chosen, report):
    """Builds as often as is asked for; what builds fast, again and again in its turn until it has taken BUILD_SECONDS, and three times
    where that is a matter of BUILD_SHORT seconds each: a build that follows a minute of another system's also pays for memory that the
    host of a virtual machine has taken back meanwhile, and sizes are to be compared in the same state."""
    wanted = "build" in options.only
    results = {system.name: [] for system in chosen}
    for _ in range(options.repeat if wanted else 1):
        for system in chosen:
            turn = [system.build(options)]
            while wanted and more_builds([run["seconds"] for run in turn]):
                turn.append(system.build(options))
            results[system.name] += turn
    if not wanted:
        return
    for system in chosen:
        runs = results[system.name]
        row = {key: max(run[key] for run in runs) for key in runs[0] if key not in ("seconds", "in_hand_bytes")}
        row["in_hand_bytes"] = min(run["in_hand_bytes"] for run in runs)
        for name in ("index_bytes", "peak_private_bytes"):
            if name in row:
                row[name + "_per_1000_rows"] = round(row[name] * 1000 / dataset.rows)
        report.add("build", system, threads=options.threads, **spread("seconds", (run["seconds"] for run in runs), 3), **row)
        for ef in sorted({max(ef, options.k) for ef in (40, 80, 160)}):
            report.add("recall", system, ef=ef, recall=system.recall(ef))


def latencies(results):
    """Medians of the percentiles, and QPS with its spread; the latencies of all repetitions in one histogram."""
    row = {key: round(statistics.median(r[key] for r in results), 1) for key in ("p50_us", "p95_us", "p99_us")}
    row["histogram"] = merge_histograms(r["histogram"] for r in results)
    memory = [r["backend_private_bytes"] for r in results if "backend_private_bytes" in r]
    if memory:
        row["backend_private_bytes"] = max(memory)
    return {**spread("qps", (r["qps"] for r in results), 1), **row}


def search(options, dataset, chosen, report):
    floor(options, chosen, report)
    recalls, counters = {}, {}
    for k in options.ks:
        for system in chosen:
            system.k = k
        found = search_alone(options, dataset, chosen, report, k)
        if not recalls:
            recalls, counters = found
    for system in chosen:
        system.k = options.k
    search_together(options, chosen, report, recalls, counters)


def floor(options, chosen, report):
    """What a query costs without an index, with the same client, parameter and protocol: one row that no table is read for; of phnsw's
    table k rows, without and with their distances, over one connection."""
    servers = [system for system in chosen if system.is_server]
    ours = servers[0]
    asked = [("floor", system, "select_1", clients) for clients in [1] + [n for n in options.clients if n != 1] for system in servers]
    asked += [("floor_one_core", system, "select_1", 1) for system in servers]
    asked += [(measure, ours, statement, 1) for statement in ("rows", "distances") for measure in ("floor", "floor_one_core")]
    runs = {row: [] for row in asked}
    with ours.floor_index():
        for _ in range(options.repeat):
            for measure, system, statement, clients in asked:
                runs[measure, system, statement, clients].append(
                    system.floor(statement, options.seconds, clients, one_core=measure == "floor_one_core"))
    for (measure, system, statement, clients), results in runs.items():
        report.add(measure, system, statement=statement, **latencies(results), clients=clients)


def knob(ef):
    """What a row says of it: 0 and below 1, phnsw has chosen ef by a target."""
    return {"ef": ef} if ef >= 1 else {"ef": 0, "target": ef or DEFAULT_TARGET}


def search_alone(options, dataset, chosen, report, k):
    """One connection, each ef, on two cores and on one; phnsw also with targets.  Returns recalls and counters by
    (system, ef)."""
    runs, one_core, recalls, counters = {}, {}, {}, {}
    for _ in range(options.repeat):
        for ef in [0] + (options.target if k == CALIBRATED_K else []) + widths(options, k):
            for system in chosen:
                # Below 1: the index chooses; the peers have no such thing.
                if (ef < 1 and system.name != "phnsw") or ef > system.ef_max:
                    continue
                result, answers = system.search(ef, options.seconds)
                runs.setdefault((system, ef), []).append(result)
                if system.is_server:
                    one_core.setdefault((system, ef), []).append(system.search(ef, options.seconds, one_core=True)[0])
                if (system, ef) not in recalls:
                    recalls[system, ef] = round(dataset.recall(answers, k), 4)
                    counters[system, ef] = system.counters(ef)
    for (system, ef), results in sorted(runs.items(), key=lambda item: (item[0][0].name, item[0][1])):
        report.add("search", system, k=k, **knob(ef), recall=recalls[system, ef], **latencies(results), clients=1, **counters[system, ef])
        if system.is_server:
            report.add("search_one_core", system, k=k, **knob(ef), recall=recalls[system, ef], **latencies(one_core[system, ef]), clients=1)
    return recalls, counters


def search_together(options, chosen, report, recalls, counters):
    """Many clients, at the smallest ef that reaches 0.95, phnsw also by its default target where that does; speedup: times the
    QPS of one client, measured beside it."""
    # One client is what search_alone() has measured.
    for clients in (n for n in options.clients if n != 1):
        for system in (s for s in chosen if s.is_server):
            enough = [ef for ef in widths(options, options.k) if recalls.get((system, ef), 0) >= 0.95][:1]
            for ef in enough + [0] * (recalls.get((system, 0), 0) >= 0.95):
                alone, results = [], []
                for _ in range(options.repeat):
                    alone.append(system.search(ef, options.seconds)[0]["qps"])
                    results.append(system.search(ef, options.seconds, clients)[0])
                report.add("search", system, **knob(ef), recall=recalls[system, ef], **latencies(results), clients=clients, **counters[system, ef],
                           speedup=round(statistics.median(r["qps"] / one for r, one in zip(results, alone)), 3),
                           lock_waits=max(r["lock_waits"] for r in results))


def measure(options, dataset, chosen, report):
    """All parts that were asked for.  insert, mixed and copy make their own databases; the others share one of all rows."""
    servers = [system for system in chosen if system.is_server]
    if set(options.only) - {"insert", "mixed", "copy"}:
        for system in chosen:
            system.load(dataset, options)
        build(options, dataset, chosen, report)
    else:
        for system in servers:
            system.describe(dataset, options)
    if "search" in options.only:
        search(options, dataset, chosen, report)
    if "filter" in options.only:
        reads.filtered(options, dataset, servers, report)
    if {"insert", "mixed", "copy"} & set(options.only):
        writes.loads(options, dataset, servers, report)
    if "update" in options.only:
        writes.update(options, dataset, servers, report)
    if "vacuum" in options.only:
        writes.vacuum(options, dataset, servers, report)
    if "cold" in options.only:
        reads.cold(options, dataset, servers, report)


def main():
    options = arguments()
    cache = os.path.join(ROOT, "bench", "cache")
    dataset = datasets.load(options.dataset, options.rows, options.metric, options.queries, cache, max(options.ks))
    if max(options.ks) > dataset.rows:
        raise SystemExit("run.sh: there are no %d neighbours among %d rows" % (max(options.ks), dataset.rows))
    options.maintenance_work_mem = options.maintenance_work_mem or enough_memory(dataset)
    options.in_hand = 0 if options.fresh_memory else in_hand.wanted(dataset.rows, dataset.dims)
    chosen = systems.available([peer for peer in options.peers.split(",") if peer])
    report = Report(options.json, dataset=dataset.name, rows=dataset.rows, dims=dataset.dims, k=options.k)
    about = environment(options, dataset, chosen)
    systems.recycle_wal(wal_bytes(dataset))
    if not options.json:
        print("\n".join("%s: %s" % item for item in about.items()), flush=True)
    try:
        measure(options, dataset, chosen, report)
    finally:
        for system in chosen:
            system.close()
    if not options.json:
        report.table()
    if options.save:
        report.save(os.environ.get("PHNSW_RESULTS") or os.path.join(ROOT, "bench", "results"), about, options)


if __name__ == "__main__":
    main()
