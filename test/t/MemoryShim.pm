# MemoryShim: a server whose allocations fail or are fenced, or whose memory
# is slow, when a test says so (memory_shim.c).

package MemoryShim;

use strict;
use warnings;

use Exporter 'import';
use File::Basename;
use PhnswTest;
use PostgreSQL::Test::Utils;

our @EXPORT = qw(shim_available shim_node shim shim_failed shim_slowed shim_fenced);

my $dir = PostgreSQL::Test::Utils::tempdir();
my $control = "$dir/control";

sub shim_available
{
	return $^O eq 'linux' && system('cc --version >/dev/null 2>&1') == 0;
}

# What $make returns, which starts a server.
sub shim_node
{
	my ($make) = @_;

	append_to_file($control, pack('q8', (0) x 8));
	system_or_bail('cc', '-shared', '-fPIC', '-O2', '-o', "$dir/memory_shim.so", dirname(__FILE__) . '/memory_shim.c', '-ldl');
	local $ENV{PHNSW_MEMORY_SHIM} = $control;
	local $ENV{LD_PRELOAD} = "$dir/memory_shim.so";
	return $make->();
}

# From now on, in that process: `left` allocations succeed, then one fails (`everyone`:
# PostgreSQL's count as well); pieces of memory take `slow_us` longer; PostgreSQL's pieces of so
# many bytes and more have a `fence`.  Process 0: nothing more happens.
sub shim
{
	my ($pid, %how) = @_;

	open my $file, '+<', $control or die "$control: $!";
	syswrite $file, pack('q8', $pid, $how{everyone} // 0, $how{left} // -1, 0, $how{slow_us} // 0, 0, $how{fence} // 0, 0);
	close $file;
	return;
}

# Since then.
sub shim_failed { return (unpack 'q8', slurp_file($control))[3] }
sub shim_slowed { return (unpack 'q8', slurp_file($control))[5] }
sub shim_fenced { return (unpack 'q8', slurp_file($control))[7] }

1;
