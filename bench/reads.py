"""The parts cold and filter (with within) of bench/run.sh."""
import getpass
import os
import statistics
import subprocess

import numpy

import systems
from report import spread

COLD_QUERIES = 100
COLD_EF = 40
FILTER_QUERIES = 200
FILTER_EF = 40
KEEP = ((100, 0.01), (1000, 0.001))
WITHIN_ROWS = 30
WITHIN_LIMIT = 100


def restart_server(disk_us=0):
    """Restarts the cluster, which empties shared buffers; with a disk of so many microseconds a page (pg/slow_disk.c)."""
    command = ["pg_ctl", "-D", os.environ["BENCH_DATA"], "-m", "fast", "-w", "-t", "120", "-s",
               "-l", os.path.join(os.environ["BENCH_DATA"], "server.log"), "restart"]
    if disk_us > 0:
        command = ["env", "LD_PRELOAD=" + os.path.join(systems.WORK, "slow_disk.so"), "SLOW_DISK_US=%d" % disk_us] + command
    user = os.environ["BENCH_SERVER_USER"]
    if user != getpass.getuser():
        command = ["runuser", "-u", user, "--"] + command
    subprocess.run(command, check=True, cwd=systems.WORK, stdout=subprocess.DEVNULL)


def drop_os_cache():
    """Empties the operating system's cache of files: "dropped", or "kept" where only root may and we are not, or cannot."""
    os.sync()
    try:
        with open("/proc/sys/vm/drop_caches", "w") as file:
            file.write("3\n")
    except OSError:
        return "kept"
    return "dropped"


def some_queries(dataset, count):
    path = os.path.join(systems.WORK, "some_queries.f32")
    dataset.query[:count].tofile(path)
    return path


def cold(options, dataset, servers, report):
    """The first queries after a restart, each asked once: from the disk that there is, and from a simulated one."""
    queries = some_queries(dataset, COLD_QUERIES)
    ef = max(COLD_EF, options.k)
    runs = {}
    for _ in range(options.repeat):
        for disk_us in [0] + [options.disk_us] * (options.disk_us > 0):
            for system in servers:
                restart_server(disk_us)
                # The simulated disk takes its time for files that the operating system holds, too.
                os_cache = "simulated %d us" % disk_us if disk_us else drop_os_cache()
                result, _ = system.ask(system.settings(ef), system.search_sql(), queries, 0)
                runs.setdefault((system, os_cache), []).append(result)
    restart_server()
    for (system, os_cache), results in runs.items():
        row = {key: round(statistics.median(r[key] for r in results), 1) for key in ("p99_us", "first_us")}
        report.add("cold", system, ef=ef, os_cache=os_cache, queries=min(COLD_QUERIES, len(dataset.query)),
                   **spread("p50_us", (r["p50_us"] for r in results), 1), **row)


def scans(system):
    """(what the scan is called, settings beside ef): pgvector returns too few rows unless it is told to go on."""
    if system.name == "phnsw":
        return [("default", "")]
    has = systems.psql(system.database, "LOAD 'vector'; SELECT count(*) FROM pg_settings WHERE name = 'hnsw.iterative_scan'")
    return [("default", "")] + ([("strict_order", "; SET hnsw.iterative_scan = strict_order")] if has == "1" else [])


def filtered(options, dataset, servers, report):
    """A condition beside the order that keeps few rows, and that no index knows."""
    queries = some_queries(dataset, FILTER_QUERIES)
    width = max(FILTER_EF, options.k)
    for modulus, keep in KEEP:
        kept = numpy.arange(dataset.rows) % modulus == 0
        truth = dataset.only(kept, FILTER_QUERIES)
        wanted = min(options.k, int(kept.sum()))
        runs = {}
        for _ in range(options.repeat):
            for system in servers:
                for ef in (0, width) if system.name == "phnsw" else (width,):
                    for scan, settings in scans(system):
                        result, answers = system.ask(system.settings(ef) + settings, system.search_sql("WHERE id %% %d = 0" % modulus),
                                                     queries, options.seconds)
                        result["rows_returned"] = round(sum(map(len, answers)) / len(answers), 2)
                        result["recall"] = round(truth.recall(answers, wanted), 4)
                        runs.setdefault((system, ef, scan), []).append(result)
        for (system, ef, scan), results in runs.items():
            report.add("filter", system, ef=ef, keep=keep, scan=scan, rows_returned=results[0]["rows_returned"], rows_wanted=wanted,
                       recall=results[0]["recall"], **spread("p50_us", (r["p50_us"] for r in results), 1),
                       p99_us=round(statistics.median(r["p99_us"] for r in results), 1))
    within(options, dataset, servers, report, queries)


def within(options, dataset, servers, report, queries):
    """A condition of the distance that is ordered by, which half of the queries meet with WITHIN_ROWS rows or fewer."""
    width = max(FILTER_EF, options.k)
    truth = dataset.truth[:FILTER_QUERIES, :WITHIN_LIMIT]
    nth = min(WITHIN_ROWS, truth.shape[1] - 1)
    radius = float(numpy.median((truth[:, nth - 1] + truth[:, nth]) / 2))
    wanted = float((truth < radius).sum(axis=1).mean())
    runs = {}
    for _ in range(options.repeat):
        for system in servers:
            sql = "SELECT id FROM items WHERE v {0} $1::vector < {1!r}::float8 ORDER BY v {0} $1::vector LIMIT {2}".format(
                system.operator, radius, WITHIN_LIMIT)
            for scan, settings in scans(system):
                result, answers = system.ask(system.settings(0 if system.name == "phnsw" else width) + settings, sql, queries, options.seconds)
                result["rows_returned"] = float(numpy.mean([len(ids) for ids in answers]))
                runs.setdefault((system, scan), []).append(result)
    for (system, scan), results in runs.items():
        report.add("within", system, ef=0 if system.name == "phnsw" else width, scan=scan, rows_returned=round(results[0]["rows_returned"], 2),
                   rows_wanted=round(wanted, 2), recall=round(results[0]["rows_returned"] / max(wanted, 1e-9), 4),
                   **spread("p50_us", (r["p50_us"] for r in results), 1), p99_us=round(statistics.median(r["p99_us"] for r in results), 1))
