"""The parts insert, mixed (a reader beside writers), copy, update and vacuum of bench/run.sh.

Every measurement starts from a fresh copy (CREATE DATABASE ... TEMPLATE) of the same database, read into shared buffers, and
writes the same rows in every system: no measurement sees what another one left behind.
"""
import contextlib
import json
import os
import statistics
import subprocess

import numpy

import in_hand
import systems
from report import spread

WRITERS = 4  # beside a reader
WARM = 25  # rows that each connection of insert writes one by one before the clock starts
WARM_BATCHES = 3  # or statements, of more rows, and one row for so many that the index has
WARM_ROWS_PER_ROW = 400
HELD_BACK = 20000  # rows for insert, at most a tenth of the data set
FLOOR_ROWS = 100000  # of which a table without an index takes 80,000 a second


class Wal:
    """WAL of all sessions since the object was made, from pg_walinspect."""

    def __init__(self):
        systems.psql("postgres", "SET client_min_messages = warning; CREATE EXTENSION IF NOT EXISTS pg_walinspect; CHECKPOINT")
        self.start = self.position()

    @staticmethod
    def position():
        return systems.psql("postgres", "SELECT pg_current_wal_insert_lsn()")

    def per_row(self, rows, pages=False):
        """Bytes per row without and in full-page images, those of the index alone; with pages, index pages changed per row."""
        end = self.position()
        # What is not flushed cannot be read back; a checkpoint would remove it.
        systems.psql("postgres", "SET synchronous_commit = on; SELECT pg_logical_emit_message(true, 'bench', '')")
        out = systems.psql("postgres", "SELECT coalesce(sum(record_size), 0), coalesce(sum(record_size) FILTER (WHERE"
                           " \"resource_manager/record_type\" = 'Generic'), 0), coalesce(sum(fpi_size), 0)"
                           " FROM pg_get_wal_stats('%s', '%s')" % (self.start, end)).split("|")
        names = ("wal_bytes_per_row", "wal_index_bytes_per_row", "wal_image_bytes_per_row")
        found = {name: round(float(value) / rows, 1) for name, value in zip(names, out)}
        if pages:
            changed = systems.psql("postgres", "SELECT coalesce(sum(regexp_count(block_ref, 'blkref #')), 0)"
                                   " FROM pg_get_wal_records_info('%s', '%s') WHERE resource_manager = 'Generic'" % (self.start, end))
            found["index_page_changes_per_row"] = round(int(changed) / rows, 2)
        return found


def copy_file(name, rows, first):
    """A file that the server can COPY from."""
    path = os.path.join(systems.WORK, name)
    with open(path, "wb") as file:
        for piece in systems.copy_binary(rows, numpy.arange(first, first + len(rows))):
            file.write(piece)
    os.chmod(path, 0o644)
    return path, "COPY items FROM '%s' (FORMAT binary)" % path


def start_writing(database, vectors, dims, first, batch, clients, transaction, synchronous_commit, warm=0, seconds=0.0):
    return subprocess.Popen(
        [os.path.join(systems.WORK, "write_client"), "dbname=" + database, "SET synchronous_commit = " + synchronous_commit,
         vectors, str(dims), str(first), str(batch), str(clients), str(int(transaction)), str(warm), str(seconds)],
        stdout=subprocess.PIPE)


def warm_statements(rows, batch, clients, filled):
    """Of each connection before the clock starts, with so many rows in the index: a quarter of the rows to insert at most."""
    batches = WARM_BATCHES + -(-filled // (WARM_ROWS_PER_ROW * batch))
    return min(WARM if batch == 1 else batches, rows // (4 * batch * clients))


def written(process):
    """What write_client says when it is done."""
    out = process.communicate()[0]
    if process.returncode != 0:
        raise SystemExit("run.sh: write_client failed")
    return json.loads(out)


class Results:
    """Runs of the cases of a part, by case and system."""

    def __init__(self):
        self.runs = {}

    def add(self, case, system, **run):
        self.runs.setdefault((case, system), []).append(run)

    def first(self, case, system):
        return (case, system) not in self.runs


def loads(options, dataset, servers, report):
    """insert, mixed and copy: rows that come to an index, or to an empty table that has one."""
    rows_inserted = max(1, min(options.changes, dataset.rows // 5))
    rows_copied = max(1, min(10000, dataset.rows // 10))
    held_back = max(1, min(HELD_BACK, dataset.rows // 10)) if "insert" in options.only else 1
    start = dataset.rows - max(rows_inserted, rows_copied, held_back)
    with contextlib.ExitStack() as templates:
        for system in servers:
            base = templates.enter_context(system.elsewhere(system.name + "_base", dataset.prefix(start)))
            base.create(options)
            systems.psql(base.database, "COPY items FROM STDIN BINARY", systems.copy_binary(base.dataset.base))
            systems.psql(base.database, "VACUUM ANALYZE items")
            base.build(options)
        if "insert" in options.only:
            insert(options, dataset, servers, report, start, rows_inserted)
            floor(options, dataset, servers[0], report)
        if "mixed" in options.only:
            mixed(options, dataset, servers, report, start, max(rows_inserted, rows_copied))
        if "copy" in options.only:
            bulk(options, dataset, servers, report, start, rows_copied)


def insert(options, dataset, servers, report, start, count):
    """Rows one by one and in batches, each case timed for --write-seconds by connections that are warm.

    How many rows that are depends on the system, so recall and WAL are those of another run, in the first repetition, of the same
    rows for all.
    """
    vectors = {rows: os.path.join(systems.WORK, "insert%d.f32" % rows) for rows in (count, dataset.rows - start)}
    for rows, path in vectors.items():
        dataset.base[start : start + rows].tofile(path)
    pool = dataset.rows - start
    after = dataset.prefix(start + count)
    # mode, rows per statement, clients, one transaction, synchronous_commit
    cases = [("single", 1, clients, False, commit) for commit in options.commits for clients in options.write_clients]
    cases += [("single_tx", 1, 1, True, "off")]
    cases += [("batch%d" % batch, batch, 1, False, commit) for commit in options.commits for batch in options.batches if batch <= count]
    results, equal = Results(), {}
    for _ in range(options.repeat):
        for case in cases:
            for system in servers:
                if results.first(case, system):
                    with system.elsewhere(system.name + "_run", after, system.name + "_base") as there:
                        wal = Wal()
                        written(start_writing(there.database, vectors[count], dataset.dims, start, *case[1:]))
                        equal[case, system] = wal.per_row(count, pages=case[0] == "single" and case[2] == 1)
                        equal[case, system]["recall"] = there.recall(options.ef_written)
                with system.elsewhere(system.name + "_run", None, system.name + "_base") as there:
                    systems.psql("postgres", "CHECKPOINT")
                    in_hand.take(options.in_hand)
                    results.add(case, system, **written(start_writing(
                        there.database, vectors[pool], dataset.dims, start, *case[1:],
                        warm=warm_statements(pool, *case[1:3], start), seconds=options.write_seconds)))
    for (case, system), runs in results.runs.items():
        mode, batch, clients, transaction, commit = case
        medians = {key: round(statistics.median(r[key] for r in runs), 1) for key in ("rows", "backend_us_per_row")
                   if all(key in r for r in runs)}
        report.add("insert", system, mode=mode, clients=clients, synchronous_commit=commit, rows_inserted=count,
                   **spread("rows_per_s", (r["rows_per_s"] for r in runs), 1), **spread("p50_us", (r["p50_us"] for r in runs), 1),
                   p99_us=max(r["p99_us"] for r in runs), rows_timed=medians.pop("rows"), **medians, ef=options.ef_written,
                   **equal[case, system])


def floor(options, dataset, system, report):
    """What the server does without any index, as connections are added: the same client, statements and table as insert's."""
    vectors = os.path.join(systems.WORK, "floor.f32")
    rows = min(dataset.rows, FLOOR_ROWS)
    dataset.base[:rows].tofile(vectors)
    cases = [(clients, commit) for commit in options.commits for clients in options.write_clients]
    results = {case: [] for case in cases}
    for _ in range(options.repeat):
        for clients, commit in cases:
            with system.elsewhere(system.name + "_run", None, system.name + "_base") as there:
                bare = there.without_index()
                systems.psql("postgres", "CHECKPOINT")
                results[clients, commit].append(written(start_writing(
                    there.database, vectors, dataset.dims, dataset.rows, 1, clients, False, commit,
                    warm=warm_statements(rows, 1, clients, 0), seconds=options.write_seconds)))
    for (clients, commit), runs in results.items():
        medians = {key: round(statistics.median(r[key] for r in runs), 1) for key in ("rows", "backend_us_per_row")
                   if all(key in r for r in runs)}
        report.add("floor_insert", bare, mode="single", clients=clients, synchronous_commit=commit,
                   **spread("rows_per_s", (r["rows_per_s"] for r in runs), 1), **spread("p50_us", (r["p50_us"] for r in runs), 1),
                   p99_us=max(r["p99_us"] for r in runs), rows_timed=medians.pop("rows"), **medians)
    os.unlink(vectors)


def mixed(options, dataset, servers, report, start, count):
    """The latency of one reader, alone and while WRITERS connections insert rows as fast as they can.

    The reader asks all queries once (query_client's pass), again and again until the writers are done; the last pass, which
    they did not see to its end, is left out unless it is the only one.

    On few cores the reader also waits for a core, which says nothing about the index.  query_client takes the time that
    backend and client were ready to run without a core off each latency (the kernel counts it); what is left, "running",
    over the same number of the reader alone is running_slowdown: locks, cold processor caches, a changing graph.
    """
    vectors = os.path.join(systems.WORK, "mixed.f32")
    dataset.base[start : start + count].tofile(vectors)
    ef = options.ef_written
    runs = {system: [] for system in servers}
    for _ in range(options.repeat):
        for system in servers:
            with system.elsewhere(system.name + "_run", template=system.name + "_base") as there:
                there.search(ef, 0)
                alone = there.search(ef, 0)[0]
                writing = start_writing(there.database, vectors, dataset.dims, start, 1, WRITERS, False, "off")
                passes = []
                while writing.poll() is None:
                    passes.append(there.search(ef, 0)[0])
                rate = written(writing)["rows_per_s"]
                passes = passes[:-1] or passes
                beside = {key: statistics.median(one[key] for one in passes) for key in alone if key.endswith("_us")}
                runs[system].append({"alone": alone, "beside": beside, "passes": len(passes), "rate": rate})
    for system, results in runs.items():
        row = spread("p50_us", (r["beside"]["p50_us"] for r in results), 1)
        for name, when, key in (("p99_us", "beside", "p99_us"), ("p50_alone_us", "alone", "p50_us"), ("p99_alone_us", "alone", "p99_us")):
            row[name] = round(statistics.median(r[when][key] for r in results), 1)
        for key in ("p50_running_us", "p99_running_us"):
            if all(key in r["beside"] and r["alone"][key] > 0 for r in results):
                row[key] = round(statistics.median(r["beside"][key] for r in results), 1)
                row[key.replace("us", "slowdown")] = round(statistics.median(r["beside"][key] / r["alone"][key] for r in results), 3)
        report.add("mixed", system, ef=ef, writers=WRITERS, **row, passes=min(r["passes"] for r in results),
                   **spread("rows_per_s", (r["rate"] for r in results), 1))


def bulk(options, dataset, servers, report, start, count):
    """COPY into an index (copy), into an empty table with an index (copy_empty), and before CREATE INDEX (copy_build)."""
    many = min(100000, dataset.rows)
    path, copy_some = copy_file("copy.bin", dataset.base[start : start + count], start)
    path_many, copy_many = copy_file("copy_many.bin", dataset.base[:many], 0)
    cases = {"copy": (count, dataset.prefix(start + count)), "copy_empty": (many, dataset.prefix(many)),
             "copy_build": (many, dataset.prefix(many))}
    results = Results()
    for _ in range(options.repeat):
        for mode, (rows, after) in cases.items():
            for system in servers:
                template = system.name + "_base" if mode == "copy" else None
                with system.elsewhere(system.name + "_run", after, template) as there:
                    if not template:
                        there.create(options)
                    if mode == "copy_empty":
                        systems.psql(there.database, there.index_sql)
                    wal = Wal()
                    in_hand.take(options.in_hand)
                    seconds = there.timed(*{"copy": [copy_some], "copy_empty": [copy_many],
                                            "copy_build": [copy_many, there.index_sql]}[mode])
                    run = {"rows_per_s": rows / seconds}
                    if results.first(mode, system):
                        run.update(wal.per_row(rows), recall=there.recall(options.ef_written), index_bytes=there.index_bytes())
                    results.add(mode, system, **run)
    for (mode, system), runs in results.runs.items():
        first = {key: value for key, value in runs[0].items() if key != "rows_per_s"}
        report.add("insert", system, mode=mode, clients=1, synchronous_commit="on", rows_inserted=cases[mode][0],
                   **spread("rows_per_s", (r["rows_per_s"] for r in runs), 1), ef=options.ef_written, **first)
    os.unlink(path)
    os.unlink(path_many)


def update(options, dataset, servers, report):
    """Another indexed column changes, so that every index gets a new entry; the same without the vector's index beside it, whose
    time is taken off for the share of that index."""
    step = max(1, dataset.rows // options.changes)
    count = -(-dataset.rows // step)
    statement = "UPDATE items SET other = other + 1 WHERE id %% %d = 0" % step
    results = Results()
    for _ in range(options.repeat):
        for with_index in (True, False):
            for system in servers:
                with system.elsewhere(system.name + "_run", template=system.name) as there:
                    systems.psql(there.database, "ALTER TABLE items ADD COLUMN other int4 NOT NULL DEFAULT 0;"
                                 " CREATE INDEX items_other ON items (other)" + ("" if with_index else "; DROP INDEX items_v"))
                    wal = Wal()
                    run = {"seconds": there.timed(statement) / count}
                    if with_index and results.first(True, system):
                        run.update(wal.per_row(count), recall=there.recall(options.ef_written))
                    results.add(with_index, system, **run)
    for system in servers:
        runs, without = results.runs[True, system], results.runs[False, system]
        first = {key: value for key, value in runs[0].items() if key != "seconds"}
        whole = spread("seconds_per_row", (r["seconds"] for r in runs), 9)
        rest = statistics.median(r["seconds"] for r in without)
        report.add("update", system, rows_updated=count, **whole,
                   **spread("index_seconds_per_row", (r["seconds"] - rest for r in runs), 9), ef=options.ef_written, **first)


def come_back(there, dataset, which):
    ids = numpy.flatnonzero(which)
    systems.psql(there.database, "COPY items FROM STDIN BINARY", systems.copy_binary(dataset.base[ids], ids))


def worth(there, options, suffix):
    return {"recall" + suffix: there.recall(options.ef_written), "recall_ef40" + suffix: there.recall(max(40, options.k)),
            "index_bytes" + suffix: there.index_bytes()}


def vacuum(options, dataset, servers, report):
    """A tenth of the rows is deleted, VACUUM runs; with --cycles they come back by COPY and another tenth goes.

    churn, behind more than one cycle: all rows are there again, and what the index then is worth is compared with a REINDEX.
    """
    tenths = numpy.arange(dataset.rows) % 10
    results, churned = Results(), {}
    for _ in range(options.repeat):
        for system in servers:
            with system.elsewhere(system.name + "_run", template=system.name) as there:
                for cycle in range(options.cycles):
                    if cycle > 0:
                        come_back(there, dataset, tenths == (cycle - 1) % 10)
                    gone = tenths == cycle % 10
                    first = results.first(cycle, system)
                    run = {"rows_deleted": int(gone.sum())}
                    if first:
                        run["recall_before"] = there.recall(options.ef_written)
                    systems.psql(there.database, "DELETE FROM items WHERE id %% 10 = %d; CHECKPOINT" % (cycle % 10))
                    wal = Wal()
                    run["seconds"] = there.timed("VACUUM items")
                    if first:
                        run.update(wal.per_row(run["rows_deleted"]), recall_after=there.recall(options.ef_written, dataset.only(~gone)),
                                   index_bytes=there.index_bytes())
                    results.add(cycle, system, **run)
                if options.cycles > 1 and system not in churned:
                    come_back(there, dataset, tenths == (options.cycles - 1) % 10)
                    churned[system] = worth(there, options, "")
                    systems.psql(there.database, there.session_sql + "; REINDEX INDEX items_v")
                    churned[system].update(worth(there, options, "_rebuilt"))
    for system, run in churned.items():
        report.add("churn", system, cycles=options.cycles, ef=options.ef_written, **run)
    for (cycle, system), runs in results.runs.items():
        first = {key: value for key, value in runs[0].items() if key != "seconds"}
        report.add("vacuum", system, cycle=cycle, **spread("seconds", (r["seconds"] for r in runs), 4), ef=options.ef_written, **first)
