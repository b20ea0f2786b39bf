"""Data sets by name, with exact ground truth.

    words20k           the shipped sample: 19,000 x 100, cosine
    glove100           340,479 x 100, cosine; from npm, see data/get.sh
    fashion784         69,000 x 784, L2; from npm
    glosses512         116,784 x 512, cosine: sentences, by a sentence encoder; both from npm, made in a quarter of an hour
    synth:N:D[:SEED]   clustered, 24 intrinsic dimensions, normalised, L2
    noise:N:D[:SEED]   isotropic, L2: the worst case of every graph
    file:BASE.fvecs,QUERY.fvecs[,TRUTH.ivecs]          L2
    file:NAME.hdf5     in the form of ann-benchmarks (needs h5py); L2, or angular as it says

Queries are held out, never rows of the table.  Ground truth is computed once per data set, number of rows and metric, in
blocks of a float32 matrix product whose best 2k are ranked again in float64, and cached in bench/cache.  A TRUTH.ivecs (row
numbers of the nearest, as in SIFT1M) is taken instead when it has a row for each query and enough neighbours, and the table has
all rows of BASE.
"""
import copy
import functools
import hashlib
import os
import subprocess
import sys

import numpy

HERE = os.path.dirname(os.path.abspath(__file__))
TRUTH = 100  # neighbours of the ground truth, unless more are asked for
QUERIES = 1000
NPM_METRICS = {"glove100": "cosine", "fashion784": "l2", "glosses512": "cosine"}  # what data/get.sh fetches


class Dataset:
    """name, metric ("l2", "ip", "cosine"), base and query (float32 matrices), truth (float64: distances of the nearest; computed
    when somebody asks)."""

    def __init__(self, name, metric, base, query, rows, cache, depth=TRUTH, nearest=None, choice=b""):
        self.name = name
        self.metric = metric
        self.cache, self.depth = cache, max(depth, TRUTH)
        self.base = numpy.ascontiguousarray(base[:rows] if rows else base, dtype=numpy.float32)
        self.path = None
        self.choice = choice
        # A copy: a view would keep the matrix that the base may be a part of.
        self.query = numpy.array(query, dtype=numpy.float32)
        self.rows, self.dims = self.base.shape
        if nearest is not None and self.rows == len(base) and nearest.shape[1] >= depth:
            nearest = nearest[: len(self.query)]
            self.truth = numpy.array([numpy.sort(self.distances(q, ids)) for q, ids in enumerate(nearest)])

    @functools.cached_property
    def truth(self):
        return self._cached_truth(self.cache)

    def file(self, folder):
        """A file of the rows.  From now on they are read from there: memory holds them once, and can let go of them."""
        if self.path is None:
            self.path = os.path.join(folder, "base.f32")
            self.base.tofile(self.path)
            self.base = numpy.memmap(self.path, dtype=numpy.float32, mode="r", shape=(self.rows, self.dims))
        return self.path

    def prefix(self, rows):
        """The data set with only the first rows."""
        return self if rows == self.rows else Dataset(self.name, self.metric, self.base, self.query, rows, self.cache, self.depth)

    def only(self, kept, queries=None):
        """The same rows and ids, the truth of those that are kept (a mask); with only the first queries."""
        query = self.query[:queries]
        view = copy.copy(self)
        view.query = query
        choice = numpy.packbits(kept).tobytes()
        view.truth = Dataset(self.name, self.metric, self.base[kept], query, None, self.cache, self.depth, choice=choice).truth
        return view

    def distances(self, q, ids):
        """Exact distances of query q to the rows with these ids, in float64."""
        a = self.query[q].astype(numpy.float64)
        b = self.base[ids].astype(numpy.float64)
        if self.metric == "l2":
            return numpy.sqrt(((b - a) ** 2).sum(axis=1))
        if self.metric == "ip":
            return -(b @ a)
        norms = numpy.linalg.norm(b, axis=1) * numpy.linalg.norm(a)
        return 1 - (b @ a) / numpy.where(norms > 0, norms, 1)

    def recall(self, answers, k=10):
        """Share of answers (a list of id arrays) that are no farther than the k-th exact one."""
        k = min(k, self.truth.shape[1])
        right = 0
        for q, ids in enumerate(answers):
            limit = self.truth[q, k - 1]
            right += min(k, int((self.distances(q, ids[:k]) <= limit + 1e-9 * abs(limit) + 1e-12).sum()))
        return right / (k * len(answers))

    def _cached_truth(self, cache):
        # A sample of the rows does not tell one choice of them from another: nine of ten cycles of vacuum share theirs.
        sample = self.base[:: max(1, self.rows // 1000)].tobytes()
        digest = hashlib.sha256(self.query.tobytes() + sample + self.choice).hexdigest()[:16]
        depth = "" if self.depth == TRUTH else "-%d" % self.depth
        path = os.path.join(cache, "truth-%s-%d-%d-%s%s.npy" % (self.metric, self.rows, self.dims, digest, depth))
        if os.path.exists(path):
            return numpy.load(path)
        print("computing exact neighbours of %d queries among %d rows" % (len(self.query), self.rows), file=sys.stderr)
        truth = self._truth()
        numpy.save(path + ".new.npy", truth)
        os.rename(path + ".new.npy", path)
        return truth

    def _truth(self):
        k = min(self.depth, self.rows)
        wanted = min(self.rows, 2 * k)
        best = numpy.empty((len(self.query), 0), dtype=numpy.float32)
        ids = numpy.empty((len(self.query), 0), dtype=numpy.int64)
        for start in range(0, self.rows, 50000):
            block = self.base[start : start + 50000]
            score = -(self.query @ block.T)
            if self.metric == "l2":
                score = 2 * score + (block**2).sum(axis=1)
            elif self.metric == "cosine":
                norms = numpy.linalg.norm(block, axis=1)
                score = numpy.where(norms > 0, score / numpy.where(norms > 0, norms, 1), numpy.inf)
            best = numpy.concatenate([best, score], axis=1)
            ids = numpy.concatenate([ids, numpy.broadcast_to(numpy.arange(start, start + len(block)), score.shape)], axis=1)
            if best.shape[1] > wanted:
                keep = numpy.argpartition(best, wanted - 1, axis=1)[:, :wanted]
                best = numpy.take_along_axis(best, keep, axis=1)
                ids = numpy.take_along_axis(ids, keep, axis=1)
        return numpy.array([numpy.sort(self.distances(q, ids[q]))[:k] for q in range(len(self.query))])


def synth(rows, dims, seed):
    """A mixture of 200 clusters, each a random 24-dimensional affine image of a normal distribution plus noise."""
    clusters, inner = 200, 24
    rng = numpy.random.default_rng(seed)
    centres = rng.standard_normal((clusters, dims), dtype=numpy.float32) * numpy.float32(0.9)
    maps = rng.standard_normal((clusters, inner, dims), dtype=numpy.float32) * numpy.float32(0.28)
    total = rows + QUERIES
    out = numpy.empty((total, dims), dtype=numpy.float32)
    cluster = rng.integers(0, clusters, total)
    for start in range(0, total, 100000):
        part = slice(start, min(total, start + 100000))
        members = cluster[part]
        block = rng.standard_normal((len(members), dims), dtype=numpy.float32) * numpy.float32(0.25)
        latent = rng.standard_normal((len(members), inner), dtype=numpy.float32)
        for c in numpy.unique(members):
            mine = members == c
            block[mine] += centres[c] + latent[mine] @ maps[c]
        out[part] = block / numpy.linalg.norm(block, axis=1, keepdims=True)
    return out[:rows], out[rows:]


def noise(rows, dims, seed):
    rng = numpy.random.default_rng(seed)
    out = rng.standard_normal((rows + QUERIES, dims), dtype=numpy.float32)
    return out[:rows], out[rows:]


def words20k():
    sys.path.insert(0, os.path.join(HERE, "data"))
    import words20k as sample

    rows = numpy.frombuffer(sample.halves(), dtype="<f2").reshape(-1, sample.DIMS).astype(numpy.float32)
    held_out = numpy.arange(1, len(rows) + 1) % sample.HELD_OUT == 0
    return rows[~held_out], rows[held_out]


def ivecs(path):
    content = numpy.fromfile(path, dtype=numpy.int32)
    if len(content) == 0 or content[0] <= 0 or len(content) % (content[0] + 1) != 0:
        raise SystemExit("run.sh: %s is not a file of vectors of one length" % path)
    return content.reshape(-1, content[0] + 1)[:, 1:]


def fvecs(path):
    return numpy.ascontiguousarray(ivecs(path)).view(numpy.float32)


def from_file(text):
    """(metric, base, query, row numbers of the nearest or None)"""
    paths = text.split(",")
    if paths[0].endswith(".hdf5") and len(paths) == 1:
        import h5py

        with h5py.File(paths[0]) as file:
            metric = {"angular": "cosine", "euclidean": "l2"}[file.attrs["distance"]]
            return metric, file["train"][:], file["test"][:], None
    if len(paths) not in (2, 3):
        raise SystemExit("run.sh: file: wants BASE.fvecs,QUERY.fvecs[,TRUTH.ivecs] or NAME.hdf5")
    base, query = fvecs(paths[0]), fvecs(paths[1])
    nearest = ivecs(paths[2]) if len(paths) == 3 else None
    if nearest is not None and (len(nearest) != len(query) or nearest.min() < 0 or nearest.max() >= len(base)):
        raise SystemExit("run.sh: %s does not name rows of %s for each query" % (paths[2], paths[0]))
    return "l2", base, query, nearest


def load(name, rows, metric, queries, cache, depth=TRUTH):
    """The data set of this name with the truth of depth neighbours; rows, metric, queries: None for the data set's own."""
    os.makedirs(cache, exist_ok=True)
    kind, _, rest = name.partition(":")
    nearest = None
    if kind == "words20k":
        default, (base, query) = "cosine", words20k()
    elif kind in NPM_METRICS:
        paths = [os.path.join(cache, "%s.%s.npy" % (kind, part)) for part in ("base", "query")]
        if not all(os.path.exists(path) for path in paths):
            subprocess.run([os.path.join(HERE, "data", "get.sh"), kind, cache], check=True)
        default, (base, query) = NPM_METRICS[kind], map(numpy.load, paths)
    elif kind in ("synth", "noise"):
        numbers = [int(x) for x in rest.split(":")] + [1]
        default, (base, query) = "l2", {"synth": synth, "noise": noise}[kind](*numbers[:3])
    elif kind == "file":
        default, base, query, nearest = from_file(rest)
    else:
        raise SystemExit("run.sh: no data set is called %s" % name)
    if metric not in (None, default):
        nearest = None
    dataset = Dataset(name, metric or default, base, query[:queries] if queries else query[:QUERIES], rows, cache, depth, nearest)
    _ = dataset.truth  # computed now, not beside a measurement
    return dataset
