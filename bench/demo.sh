#!/bin/bash
# demo.sh: builds phnsw, indexes 19,000 real word embeddings in a throw-away PostgreSQL and asks for neighbours.
#
# One command on Debian 12, as root or as an ordinary user.  Installs Debian packages when they are missing; everything
# else lives in a temporary folder that is gone at the end.
set -euo pipefail
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=../test/tools/setup.sh
. "$ROOT/test/tools/setup.sh"

phnsw_packages "${PG_PACKAGES[@]}" gcc g++ make libc6-dev python3-minimal python3
phnsw_workplace
phnsw_stage
phnsw_private_postgres

echo "Building phnsw ..."
phnsw_build_install || die "the build failed"

echo "Starting a throw-away PostgreSQL ..."
phnsw_server_start data "shared_buffers = '256MB'" "maintenance_work_mem = '256MB'" "max_wal_size = '2GB'" \
	"log_min_messages = fatal"
sql() {
	psql -X -q -v ON_ERROR_STOP=1 "$@"
}

sql <<'SQL'
CREATE EXTENSION phnsw;
CREATE TABLE words (id int, word text, embedding vector(100));
CREATE TABLE queries (LIKE words);
SQL
python3 "$WORK/src/bench/data/words20k.py" table | sql -c "COPY words FROM STDIN"
python3 "$WORK/src/bench/data/words20k.py" queries | sql -c "COPY queries FROM STDIN"
echo "COPYed $(sql -Atc 'SELECT count(*) FROM words') words; $(sql -Atc 'SELECT count(*) FROM queries') more are held out as queries."
echo
echo "CREATE INDEX words_embedding ON words USING phnsw (embedding vector_cosine_ops);"

# Each timing is taken inside the server by one client; \gset carries it to the lines that the script prints.
sql -At <<'SQL'
VACUUM ANALYZE words;
SELECT clock_timestamp() AS started \gset
CREATE INDEX words_embedding ON words USING phnsw (embedding vector_cosine_ops);
SELECT 'build: ' || round(extract(epoch FROM clock_timestamp() - :'started'), 2) || ' s';
SELECT 'index: ' || round(pg_relation_size('words_embedding') / 1048576.0, 1) || ' MB (table: '
       || round(pg_table_size('words') / 1048576.0, 1) || ' MB)';
SQL

echo
echo "The plan of a query, and ten neighbours of several words:"
sql -At <<'SQL'
EXPLAIN (COSTS OFF) SELECT word FROM words ORDER BY embedding <=> (SELECT embedding FROM words WHERE word = 'king') LIMIT 10;
SQL
sql -P footer=off <<'SQL'
SELECT w.word, string_agg(n.word, ', ' ORDER BY n.distance) AS "nearest neighbours (cosine distance)"
FROM words w
CROSS JOIN LATERAL (SELECT word, embedding <=> w.embedding AS distance FROM words
                    ORDER BY embedding <=> w.embedding LIMIT 11) n
WHERE w.word IN ('king', 'paris', 'coffee', 'violin', 'tuesday', 'river') AND n.word <> w.word
GROUP BY w.id, w.word ORDER BY w.id;
SQL

# Recall counts an answer as right when it is no farther than the tenth exact one, so that ties do no harm.
sql -At <<'SQL'
CREATE TEMP TABLE found (id int, distance float8, ms float8);
CREATE TEMP TABLE exact (id int, distance float8);
CREATE FUNCTION pg_temp.search() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    q record;
    started timestamptz;
    elapsed float8;
    answer float8[];
BEGIN
    FOR q IN SELECT * FROM queries LOOP
        started := clock_timestamp();
        answer := ARRAY(SELECT embedding <=> q.embedding FROM words ORDER BY embedding <=> q.embedding LIMIT 10);
        elapsed := extract(epoch FROM clock_timestamp() - started) * 1000;
        INSERT INTO found SELECT q.id, d, elapsed FROM unnest(answer) d;
    END LOOP;
END $$;
SELECT pg_temp.search() \g /dev/null
TRUNCATE found;
SELECT pg_temp.search() \g /dev/null
SET enable_indexscan = off;
INSERT INTO exact
SELECT q.id, (SELECT max(d) FROM (SELECT embedding <=> q.embedding AS d FROM words ORDER BY d LIMIT 10) nearest)
FROM queries q;
SELECT 'recall@10: ' || round(avg((f.distance <= e.distance)::int), 4) || ' (1000 held-out queries against exact search)'
FROM found f JOIN exact e USING (id);
SELECT 'p50: ' || round(percentile_cont(0.5) WITHIN GROUP (ORDER BY ms)::numeric, 3) || ' ms (p99: '
       || round(percentile_cont(0.99) WITHIN GROUP (ORDER BY ms)::numeric, 3) || ' ms)' FROM found;
SQL
echo
echo "Done; the cluster and all files of the demo are removed."
