"""The systems that bench/run.sh measures: extensions in the throw-away cluster, and hnswlib in memory.

Each has load(dataset), build(options) -> dict, search(ef, seconds, clients) -> (dict, answers) and close().  Those of the
cluster (is_server) have databases, too, which writes.py copies, fills and throws away.
"""
import contextlib
import copy
import json
import os
import subprocess
import sys
import threading

import numpy

import in_hand

WORK = os.environ["BENCH_WORK"]
# The names of recycled segments are those of the WAL to come.
WAL_SEGMENTS = "(SELECT name FROM pg_ls_waldir() WHERE name ~ '^[0-9A-F]{24}$') AS segments"


def psql(database, sql, stdin=None):
    command = ["psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-d", database]
    if stdin is None:
        return subprocess.run(command, input=sql.encode(), stdout=subprocess.PIPE, check=True).stdout.decode().strip()
    process = subprocess.Popen(command + ["-c", sql], stdin=subprocess.PIPE)
    for piece in stdin:
        process.stdin.write(piece)
    process.stdin.close()
    if process.wait() != 0:
        raise SystemExit("run.sh: psql failed: " + sql)
    return None


def recycle_wal(bytes_wanted):
    """Writes this much WAL and has its segments recycled: the files of a server that has run for a while are there when a statement
    needs them, those of a new one would be created and filled with zeros meanwhile."""
    psql("postgres", "SET wal_init_zero = off; SELECT count(pg_logical_emit_message(false, 'bench', repeat('x', 8 * 1024 * 1024)))"
         " FROM generate_series(1, %d); SELECT pg_switch_wal(); CHECKPOINT" % max(1, bytes_wanted >> 23))


def copy_binary(rows, ids=None, block=20000):
    """COPY BINARY of (id int4, v vector): the id is the row's number, unless others are given."""
    ids = numpy.arange(len(rows)) if ids is None else ids
    dims = rows.shape[1]
    layout = numpy.dtype(
        [("fields", ">i2"), ("id_bytes", ">i4"), ("id", ">i4"), ("bytes", ">i4"), ("dims", ">i2"), ("zero", ">i2"), ("v", ">f4", dims)]
    )
    yield b"PGCOPY\n\xff\r\n\0" + b"\0" * 8
    for start in range(0, len(rows), block):
        part = rows[start : start + block]
        out = numpy.zeros(len(part), dtype=layout)
        out["fields"], out["id_bytes"], out["bytes"], out["dims"] = 2, 4, 4 + 4 * dims, dims
        out["id"] = ids[start : start + len(part)]
        out["v"] = part
        yield out.tobytes()
    yield b"\xff\xff"


def read_answers(path):
    numbers = numpy.fromfile(path, dtype=numpy.int32)
    answers, place = [], 0
    while place < len(numbers):
        count = numbers[place]
        answers.append(numbers[place + 1 : place + 1 + count])
        place += 1 + count
    return answers


class MemorySampler(threading.Thread):
    """Peak of the anonymous memory of a backend and its parallel workers, sampled every 20 ms."""

    def __init__(self, pid):
        super().__init__(daemon=True)
        self.pid, self.peak, self.done = pid, 0, threading.Event()

    @staticmethod
    def anonymous(pid):
        try:
            with open("/proc/%d/status" % pid) as file:
                return next((int(line.split()[1]) * 1024 for line in file if line.startswith("RssAnon")), 0)
        except OSError:
            return 0

    def workers(self):
        try:
            with open("/proc/%d/status" % self.pid) as file:
                parent = next(int(line.split()[1]) for line in file if line.startswith("PPid"))
            with open("/proc/%d/task/%d/children" % (parent, parent)) as file:
                children = [int(x) for x in file.read().split()]
        except (OSError, StopIteration):
            return []
        found = []
        for child in children:
            try:
                with open("/proc/%d/cmdline" % child) as file:
                    if "parallel worker for PID %d" % self.pid in file.read():
                        found.append(child)
            except OSError:
                pass
        return found

    def run(self):
        while not self.done.wait(0.02):
            self.peak = max(self.peak, sum(map(self.anonymous, [self.pid] + self.workers())))


class Extension:
    """phnsw or pgvector: a database of its own, since both call their type vector."""

    is_server = True

    def __init__(self, name, extension, method, ef_setting, ef_max):
        self.name, self.extension, self.method, self.ef_setting, self.ef_max = name, extension, method, ef_setting, ef_max
        self.database = name
        self.dataset = None

    def version(self):
        return psql("postgres", "SELECT default_version FROM pg_available_extensions WHERE name = '%s'" % self.extension)

    def describe(self, dataset, options):
        """What the other methods need to know of the data set."""
        self.dataset, self.k = dataset, options.k
        self.opclass = {"l2": "vector_l2_ops", "ip": "vector_ip_ops", "cosine": "vector_cosine_ops"}[dataset.metric]
        self.operator = {"l2": "<->", "ip": "<#>", "cosine": "<=>"}[dataset.metric]
        self.index_sql = "CREATE INDEX items_v ON items USING %s (v %s) WITH (m = %d, ef_construction = %d)" % (
            self.method, self.opclass, options.m, options.ef_construction)
        self.session_sql = "SET maintenance_work_mem = '%s'; SET max_parallel_maintenance_workers = %d" % (
            options.maintenance_work_mem, options.threads - 1)
        self.query_file = os.path.join(WORK, "queries.f32")
        dataset.query.tofile(self.query_file)

    def create(self, options):
        """The database with an empty table."""
        psql("postgres", "CREATE DATABASE %s" % self.database)
        psql(self.database, "CREATE EXTENSION %s; CREATE EXTENSION pg_prewarm; CREATE TABLE items (id int4, v vector(%d));"
             " ALTER TABLE items SET (parallel_workers = %d)" % (self.extension, self.dataset.dims, options.threads - 1))

    def load(self, dataset, options):
        self.describe(dataset, options)
        self.create(options)
        psql(self.database, "CREATE TABLE queries (LIKE items)")
        for table, rows in (("items", dataset.base), ("queries", dataset.query)):
            psql(self.database, "COPY %s FROM STDIN BINARY" % table, copy_binary(rows))
        psql(self.database, "VACUUM ANALYZE items, queries")

    @contextlib.contextmanager
    def elsewhere(self, database, dataset=None, template=None):
        """This system in a database that is dropped afterwards: new, or a copy of the template with its tables in memory."""
        there = copy.copy(self)
        there.database, there.dataset = database, dataset or self.dataset
        if template:
            psql("postgres", "CREATE DATABASE %s TEMPLATE %s STRATEGY file_copy" % (database, template))
            psql(database, "SELECT count(pg_prewarm(oid::regclass)) FROM pg_class WHERE relname ~ '^items' AND relkind IN ('r', 'i')")
        try:
            yield there
        finally:
            there.close()

    def build(self, options):
        psql(self.database, "SET client_min_messages = warning; DROP INDEX IF EXISTS items_v; CHECKPOINT")
        process = subprocess.Popen(["psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-d", self.database], stdin=subprocess.PIPE,
                                   stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, bufsize=1)
        process.stdin.write("SELECT pg_backend_pid();\n")
        sampler = MemorySampler(int(process.stdout.readline()))
        memory = in_hand.take(options.in_hand)
        sampler.start()
        process.stdin.write(
            "%s;\nSELECT max(name) AS newest FROM %s \\gset\n"
            "SELECT pg_current_wal_insert_lsn() AS lsn, clock_timestamp() AS started \\gset\n%s;\n"
            "SELECT extract(epoch FROM clock_timestamp() - :'started') || ' ' || pg_current_wal_insert_lsn() - :'lsn'"
            " || ' ' || pg_relation_size('items_v') || ' ' || (SELECT count(*) FROM %s WHERE name > :'newest');\n"
            % (self.session_sql, WAL_SEGMENTS, self.index_sql, WAL_SEGMENTS)
        )
        process.stdin.close()
        line = process.stdout.readline().split()
        sampler.done.set()
        sampler.join()
        if process.wait() != 0 or len(line) != 4:
            raise SystemExit("run.sh: CREATE INDEX of %s failed" % self.name)
        return {"seconds": float(line[0]), "index_bytes": int(line[2]), "wal_bytes": int(line[1]), "wal_segments_created": int(line[3]),
                "peak_private_bytes": sampler.peak, "in_hand_bytes": memory}

    def timed(self, *statements):
        """Seconds that the statements take together, by the server's clock, each in a transaction of its own."""
        script = "%s;\nSELECT clock_timestamp() AS started \\gset\n%s;\nSELECT extract(epoch FROM clock_timestamp() - :'started');\n" % (
            self.session_sql, ";\n".join(statements))
        return float(psql(self.database, script).split("\n")[-1])

    def index_bytes(self):
        return int(psql(self.database, "SELECT pg_relation_size('items_v')"))

    def settings(self, ef):
        """ef, or, below 1, the recall that phnsw is to choose it by."""
        width = "SET phnsw.target_recall = %g" % ef if 0 < ef < 1 else "SET %s = %d" % (self.ef_setting, ef)
        return width + "; SET enable_seqscan = off; SET plan_cache_mode = force_generic_plan"

    def search_sql(self, where=""):
        return "SELECT id FROM items %s ORDER BY v %s $1::vector LIMIT %d" % (where, self.operator, self.k)

    def ask(self, settings, sql, query_file, seconds, clients=1, one_core=False):
        """Runs pg/query_client: its numbers, and the answers of its first pass."""
        answers = os.path.join(WORK, "answers." + self.name)
        core = [str(max(os.sched_getaffinity(0)))] if one_core else []
        out = subprocess.run([os.path.join(WORK, "query_client"), "dbname=" + self.database, settings, sql, query_file,
                              str(self.dataset.dims), str(seconds), str(clients), answers] + core, stdout=subprocess.PIPE, check=True)
        return json.loads(out.stdout), read_answers(answers)

    def search(self, ef, seconds, clients=1, one_core=False):
        watch = LockWatch(self.database) if clients > 1 else None
        result, answers = self.ask(self.settings(ef), self.search_sql(), self.query_file, seconds, clients, one_core)
        if watch:
            result["lock_waits"] = watch.stop()
        return result, answers

    def floor(self, statement, seconds, clients, one_core=False):
        """A query that takes the parameter and returns int4, as search() does: a constant without a table ("select_1"), or k rows of
        the table, others for each query and spread over the heap ("rows"), each with its distance computed ("distances")."""
        if statement == "select_1":
            return self.ask("SET plan_cache_mode = force_generic_plan", "SELECT 1::int4 WHERE $1::vector IS NOT NULL", self.query_file,
                            seconds, clients, one_core)[0]
        # As a filter of its own `$1 IS NOT NULL` would add a node to the plan.
        where = {"rows": "hashint4(id) >= CASE WHEN $1::vector IS NULL THEN 0 ELSE $2 END",
                 "distances": "hashint4(id) >= $2 AND (v %s $1::vector) IS NOT NULL" % self.operator}[statement]
        sql = "SELECT id FROM items WHERE %s LIMIT %d" % (where, self.k)
        settings = "SET enable_seqscan = off; SET enable_bitmapscan = off; SET plan_cache_mode = force_generic_plan"
        self.require_floor_plan(settings, sql)
        result, answers = self.ask(settings, sql, self.query_file, seconds, clients, one_core)
        # Half of the hashes are above what any query begins at.
        if min(map(len, answers)) < min(self.k, self.dataset.rows // 4):
            raise SystemExit("run.sh: the floor's statement does not return %d rows: %s" % (self.k, sql))
        return result

    def require_floor_plan(self, settings, sql):
        """LIMIT above the rows as the b-tree of floor_index() has them, nothing else."""
        limit = json.loads(psql(self.database, "%s; PREPARE floor AS %s; EXPLAIN (FORMAT JSON) EXECUTE floor(NULL, 0)" % (settings, sql)))[0]["Plan"]
        scan = limit.get("Plans", [{}])[0]
        shape = limit["Node Type"], scan.get("Node Type"), scan.get("Index Name"), "Index Cond" in scan, "Plans" in scan
        if shape != ("Limit", "Index Scan", "items_floor", True, False):
            raise SystemExit("run.sh: the floor's statement is not a scan of its b-tree: %s\n%s" % (sql, json.dumps(limit)))

    @contextlib.contextmanager
    def floor_index(self):
        """The b-tree that floor() takes rows by, for as long as it is asked.  In the order of the hashes rows lie anywhere in the heap, as
        neighbours do."""
        psql(self.database, "CREATE INDEX items_floor ON items (hashint4(id))")
        try:
            yield
        finally:
            psql(self.database, "DROP INDEX items_floor")

    def without_index(self):
        """The server alone: this system, which is copied, without its index."""
        psql(self.database, "DROP INDEX items_v")
        bare = copy.copy(self)
        bare.name = "none"
        return bare

    def recall(self, ef, dataset=None):
        """Recall at this ef, against another data set's truth when one is given."""
        return round((dataset or self.dataset).recall(self.search(ef, 0)[1], self.k), 4)

    def counters(self, ef, queries=200):
        """Heap rows fetched and buffers touched per query (TOAST included)."""
        search = ("SELECT count(r.id) FROM (SELECT * FROM queries ORDER BY id LIMIT %d) q CROSS JOIN LATERAL "
                  "(SELECT id FROM items ORDER BY items.v %s q.v LIMIT %d) r" % (queries, self.operator, self.k))
        # The counter holds what the session has not yet reported, so only its growth counts.
        fetched = "SELECT idx_tup_fetch FROM pg_stat_xact_user_tables WHERE relname = 'items'"
        out = psql(self.database, "%s; %s; BEGIN; %s; %s; %s; COMMIT; EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON) %s"
                   % (self.settings(ef), search, fetched, search, fetched, search))
        lines = out.split("\n")
        plan = json.loads("\n".join(lines[4:]))[0]["Plan"]
        count = min(queries, len(self.dataset.query))
        return {"rechecks": round((int(lines[3]) - int(lines[1])) / count, 2),
                "page_touches": round((plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]) / count, 1)}

    def close(self):
        psql("postgres", "SET client_min_messages = warning; DROP DATABASE IF EXISTS %s" % self.database)


class LockWatch(threading.Thread):
    """Share of active backends that wait for a lock, sampled every 50 ms."""

    def __init__(self, database):
        super().__init__(daemon=True)
        self.database, self.done, self.samples, self.waits = database, threading.Event(), 0, 0
        self.start()

    def run(self):
        while not self.done.wait(0.05):
            active, waiting = psql(self.database,
                                   "SELECT count(*), count(*) FILTER (WHERE wait_event_type IN ('Lock', 'LWLock', 'BufferPin'))"
                                   " FROM pg_stat_activity WHERE state = 'active' AND pid <> pg_backend_pid()").split("|")
            self.samples += int(active)
            self.waits += int(waiting)

    def stop(self):
        self.done.set()
        self.join()
        return round(self.waits / self.samples, 4) if self.samples else 0


class Peer:
    """A library that keeps the index in a process's memory: hnswlib or faiss, see peers/peer.hpp."""

    is_server = False

    def __init__(self, name, package):
        self.name, self.package, self.ef_max = name, package, 1 << 30
        self.process = None

    def version(self):
        return subprocess.run(["dpkg-query", "-W", "-f=${Version}", self.package], stdout=subprocess.PIPE).stdout.decode()

    def load(self, dataset, options):
        self.dataset, self.k = dataset, options.k
        self.base_file, self.query_file = dataset.file(WORK), os.path.join(WORK, self.name + ".query")
        dataset.query.tofile(self.query_file)

    def build(self, options):
        self.close()
        # The libraries get from malloc what the servers get from the system's reserve.
        huge = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"} if options.huge_pages else {}
        memory = in_hand.take(options.in_hand)
        self.process = subprocess.Popen(
            [os.path.join(WORK, self.name + "_peer"), self.base_file, str(self.dataset.rows), str(self.dataset.dims),
             self.dataset.metric, str(options.m), str(options.ef_construction), str(options.threads), self.query_file],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1, env={**os.environ, **huge})
        return {**json.loads(self.process.stdout.readline()), "in_hand_bytes": memory}

    def search(self, ef, seconds, clients=1):
        answers = os.path.join(WORK, "answers." + self.name)
        self.process.stdin.write("search %d %d %g %s\n" % (self.k, ef, max(seconds, 0.001), answers))
        return json.loads(self.process.stdout.readline()), read_answers(answers)

    def recall(self, ef):
        return round(self.dataset.recall(self.search(ef, 0)[1], self.k), 4)

    def counters(self, ef):
        return {}

    def close(self):
        if self.process:
            self.process.stdin.close()
            self.process.wait()
            self.process = None


def available(peers):
    """phnsw and the peers that were asked for and are there."""
    systems = [Extension("phnsw", "phnsw", "phnsw", "phnsw.ef_search", 100000)]
    packages = {"hnswlib": "libhnswlib-dev", "faiss": "libfaiss-dev"}
    for peer in peers:
        if peer == "pgvector":
            # phnsw under its name (sql/vector) requires phnsw; pgvector requires nothing.
            if psql("postgres", "SELECT count(*) > 0 FROM pg_available_extension_versions WHERE name = 'vector' AND requires IS NULL") == "t":
                systems.append(Extension("pgvector", "vector", "hnsw", "hnsw.ef_search", 1000))
            else:
                print("run.sh: the server has no extension vector, pgvector is left out", file=sys.stderr, flush=True)
        elif peer not in packages:
            raise SystemExit("run.sh: no peer is called " + peer)
        elif os.path.exists(os.path.join(WORK, peer + "_peer")):
            systems.append(Peer(peer, packages[peer]))
    return systems
