# Sessions: psql sessions that work side by side for a while, and what they compare (024, 031, 039, 041).

package Sessions;

use strict;
use warnings;

use Exporter 'import';
use IPC::Run;
use PostgreSQL::Test::Utils ();
use Test::More;

our @EXPORT = qw(session complaints end_sessions whole_index compare_rows recall_of_own);

my $scripts = 0;

# A session that runs the script $sql in its own time, up to its first error.
# Nobody feeds it or listens, so all goes through files.
sub session
{
	my ($node, $name, $sql) = @_;
	my $file = PostgreSQL::Test::Utils::tempdir() . '/session' . ++$scripts;

	PostgreSQL::Test::Utils::append_to_file("$file.sql", $sql);
	return {
		name => $name,
		file => $file,
		run => IPC::Run::start([ 'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('postgres') . " application_name='$name'", '-f', "$file.sql" ],
			'<', '/dev/null', '>', "$file.out", '2>', "$file.err")
	};
}

# What it has said to complain.
sub complaints
{
	my ($session) = @_;

	return PostgreSQL::Test::Utils::slurp_file("$session->{file}.err");
}

# Nobody has met an error before the server stopped, and who compares has found no difference.
sub end_sessions
{
	my ($what, @sessions) = @_;

	foreach my $session (@sessions)
	{
		$session->{run}->finish;
		unlike(complaints($session), qr/ERROR|PANIC/, "$what, $session->{name}: no error");
		next if $session->{name} !~ /^reader/;
		is(PostgreSQL::Test::Utils::slurp_file("$session->{file}.out") =~ s/^[\d\s]*$//mgr, '', "$what, $session->{name}: no difference");
	}
	return;
}

# Settings with which an ordered scan is an index scan and returns all rows.
sub whole_index
{
	return 'SET enable_seqscan = off; SET enable_sort = off; SET phnsw.iterative_scan = relaxed_order;';
}

# In one snapshot: rows that a search returns are rows of the table, and each comes once; all rows by index are all rows
# of the table.  $columns tell a row from its other versions; the first is its number.
sub compare_rows
{
	my ($table, $columns, $operator, $near, $from) = @_;
	my ($id) = split /,/, $columns;
	my $same = join ' AND ', map { "t.$_ = few.$_" } split(/, */, $columns), 'v';

	return whole_index() . qq{
		BEGIN ISOLATION LEVEL REPEATABLE READ;
		CREATE TEMP TABLE few AS SELECT $columns, v FROM $table ORDER BY v $operator $near LIMIT 60;
		CREATE TEMP TABLE everything AS SELECT $columns FROM $table ORDER BY v $operator $from;
		SET LOCAL enable_indexscan = off; SET LOCAL enable_seqscan = on;
		SELECT 'a row that is not there' FROM few WHERE NOT EXISTS (SELECT FROM $table t WHERE $same);
		SELECT 'a row that comes twice' FROM everything GROUP BY $id HAVING count(*) > 1;
		SELECT 'a row that is missing' FROM (SELECT $columns FROM $table EXCEPT SELECT $columns FROM everything) x;
		SELECT 'rows that are missing' FROM $table HAVING count(*) <> (SELECT count(*) FROM everything);
		ROLLBACK;
	};
}

# Of the ten nearest of 30 rows of the table, what part a search finds; $ef: how well it looks.
sub recall_of_own
{
	my ($node, $table, $operator, $ef) = @_;

	return $node->safe_psql('postgres', qq{
		CREATE TEMP TABLE q AS SELECT v FROM $table ORDER BY md5(id::text) LIMIT 30;
		SET enable_indexscan = off;
		CREATE TEMP TABLE exact AS SELECT q.v, (SELECT max(d) FROM (SELECT t.v $operator q.v AS d FROM $table t ORDER BY d LIMIT 10) s) AS d FROM q;
		RESET enable_indexscan;
		SET enable_seqscan = off;
		SET phnsw.ef_search = $ef;
		SELECT count(*) / 300.0 FROM exact e, LATERAL (SELECT t.v $operator e.v AS d FROM $table t ORDER BY t.v $operator e.v LIMIT 10) s WHERE s.d <= e.d});
}

1;
