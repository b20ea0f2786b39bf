# shellcheck shell=bash
# setup.sh: what bench/demo.sh, bench/run.sh and test/check.sh share.  Sourced, never run.
#
# Gives a script that starts on a bare Debian 12, as root or as an ordinary user:
#
#   phnsw_packages PKG...      installs what is missing; nothing happens when all is there
#   phnsw_workplace            $WORK, a temporary folder that vanishes with the script, however that ends
#   phnsw_stage                $WORK/src, a copy of the source tree without build outputs
#   phnsw_private_postgres     $WORK/pg, PostgreSQL to install into, and PG_CONFIG, PG_BIN; the system's folders stay as they are
#   PG_PACKAGES                Debian's packages of the server, none when the caller's environment names another one
#   as_server CMD...           runs as the user that may run a server: postgres when we are root, ourselves otherwise
#   phnsw_server_start NAME [SETTING...], phnsw_server_stop
#                              a throw-away cluster in $WORK/NAME that listens on a Unix socket in $WORK only, so that it
#                              meets no other server; exports PGHOST, PGPORT, PGUSER, PGDATABASE
#
# A script's function phnsw_at_exit is called when its server has stopped, however the script ends.
#
# The server is Debian's PostgreSQL $PG_MAJOR, or the one that PG_CONFIG in the environment belongs to: any, installed with its
# headers and PGXS.  PG_ROOT names a copy of Debian's below another folder than /usr.
#
# The caller sets ROOT (top of the checkout) first and uses `set -euo pipefail`.
# shellcheck disable=SC2034,SC2153,SC2164

PG_MAJOR=${PG_MAJOR:-15}
PG_PACKAGES=("postgresql-$PG_MAJOR" "postgresql-server-dev-$PG_MAJOR")
[[ -z ${PG_CONFIG:-} ]] || PG_PACKAGES=()
export LC_ALL=C.UTF-8
# What the caller's clients are set to is another server.
unset PGHOST PGHOSTADDR PGPORT PGUSER PGPASSWORD PGPASSFILE PGDATABASE PGSERVICE PGOPTIONS PGDATA PGSSLMODE PGCLIENTENCODING

die() {
	printf '%s: %s\n' "${0##*/}" "$*" >&2
	exit 1
}

phnsw_packages() {
	local package missing=() sudo=()

	command -v dpkg-query >/dev/null || die "needs Debian 12 (or a system with dpkg and apt)"
	for package; do
		# shellcheck disable=SC2016 # ${...} is dpkg's
		[[ $(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null) == installed ]] || missing+=("$package")
	done
	((${#missing[@]})) || return 0

	if ((EUID != 0)); then
		if ! command -v sudo >/dev/null; then
			die "Debian packages are missing, and there is no sudo.  As root: apt-get install ${missing[*]}"
		fi
		sudo=(sudo)
		[[ -t 0 ]] || sudo=(sudo -n)
		"${sudo[@]}" true || die "Debian packages are missing, and sudo says no.  As root: apt-get install ${missing[*]}"
	fi
	echo "Installing Debian packages: ${missing[*]}"

	# Debian creates and starts a cluster when it installs a server; nobody asked for one here.
	local conf=/etc/postgresql-common/createcluster.d/phnsw-temporary.conf
	if [[ ${missing[*]} == *"postgresql-$PG_MAJOR"* ]]; then
		"${sudo[@]}" mkdir -p "${conf%/*}"
		echo 'create_main_cluster = false' | "${sudo[@]}" tee "$conf" >/dev/null
	fi
	local apt=("${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0)
	local log rc=0
	log=$(mktemp)
	{ "${apt[@]}" update && "${apt[@]}" install -y --no-install-recommends "${missing[@]}"; } >"$log" 2>&1 || rc=$?
	"${sudo[@]}" rm -f "$conf"
	((rc == 0)) || tail -n 30 "$log" >&2
	rm -f "$log"
	((rc == 0)) || die "apt-get failed: is the network there?"
}

phnsw_workplace() {
	# Not TMPDIR: that may be a folder which user postgres cannot enter, or too long for a socket's path.
	WORK=$(mktemp -d /tmp/phnsw.XXXXXX)
	chmod 755 "$WORK"
	SERVER_USER=$(id -un)
	if ((EUID == 0)); then
		SERVER_USER=postgres
		id postgres >/dev/null 2>&1 || die "there is no user postgres"
	fi
	SERVER_DATA=
	trap phnsw_cleanup EXIT
	trap 'exit 130' INT
	trap 'exit 143' TERM HUP
}

phnsw_cleanup() {
	local rc=$?

	trap - EXIT
	phnsw_server_stop || true
	! declare -F phnsw_at_exit >/dev/null || phnsw_at_exit
	# Servers of tests that were stopped by a time limit.
	find "$WORK" -name postmaster.pid -type f -exec head -n 1 {} \; 2>/dev/null | while read -r pid; do
		[[ ! $(readlink "/proc/$pid/exe" 2>/dev/null) == "$WORK"/* ]] || kill -QUIT "$pid"
	done
	cd /
	rm -rf "$WORK" || { sleep 1; rm -rf "$WORK"; }
	exit "$rc"
}

as_server() {
	if [[ $SERVER_USER == "$(id -un)" ]]; then
		"$@"
	else
		runuser -u "$SERVER_USER" -- env HOME="$WORK" "$@"
	fi
}

phnsw_stage() {
	mkdir "$WORK/src"
	# What git ignores (objects, data sets) is not wanted; a copy without git has the same list in .gitignore.
	tar -C "$ROOT" -cf - --exclude=./.git --exclude=./build --exclude=./bench/cache --exclude=./tmp_check \
		--exclude='*.o' --exclude='*.d' --exclude='*.so' --exclude='*.bc' --exclude=__pycache__ . |
		tar -C "$WORK/src" -xf - --no-same-owner
	chmod -R u+rwX,go+rX "$WORK/src"
}

# PostgreSQL finds its files relative to its programs, so a copy of the programs beside links to the rest is a complete
# installation: an extension installed there needs no rights on the system's folders and disappears with $WORK.
phnsw_private_postgres() {
	local from=${PG_CONFIG:-${PG_ROOT:-/usr}/lib/postgresql/$PG_MAJOR/bin/pg_config} root=$WORK/pg bin folder

	[[ -x $from ]] || die "there is no $from"
	bin=$("$from" --bindir)
	[[ -x $bin/postgres ]] || die "there is no $bin/postgres"
	[[ -f $("$from" --pgxs) ]] || die "there is no $("$from" --pgxs)"
	for folder in "$bin" "$("$from" --pkglibdir)" "$("$from" --sharedir)" "$("$from" --includedir-server)"; do
		mkdir -p "$root${folder%/*}"
		if [[ $folder == "$bin" ]]; then
			cp -rL "$folder" "$root$folder"
		else
			cp -rs "$folder" "$root$folder"
		fi
	done
	PG_BIN=$root$bin
	PG_CONFIG=$PG_BIN/pg_config
	export PG_CONFIG
	PATH=$PG_BIN:$PATH
}

# Builds and installs the staged tree; what the compiler says appears when it fails.
phnsw_build_install() {
	local log=$WORK/build.log

	if ! make -C "$WORK/src" -j"$(nproc)" PG_CONFIG="$PG_CONFIG" >"$log" 2>&1 ||
		! make -C "$WORK/src" PG_CONFIG="$PG_CONFIG" install >>"$log" 2>&1; then
		grep -E -A8 'error|warning|Error' "$log" | head -n 60 >&2 || tail -n 30 "$log" >&2
		return 1
	fi
}

phnsw_server_start() {
	local setting

	SERVER_DATA=$WORK/$1
	shift
	install -d -o "$SERVER_USER" -m 700 "$SERVER_DATA"
	install -d -o "$SERVER_USER" -m 755 "$WORK/socket"
	cd "$WORK"
	as_server "$PG_BIN/initdb" -D "$SERVER_DATA" -U postgres -A trust -E UTF8 --locale=C.UTF-8 --no-sync \
		>"$WORK/initdb.log" 2>&1 || { cat "$WORK/initdb.log" >&2; die "initdb failed"; }
	for setting in "listen_addresses = ''" "unix_socket_directories = '$WORK/socket'" "port = 54320" "$@"; do
		echo "$setting"
	done | as_server tee -a "$SERVER_DATA/postgresql.conf" >/dev/null
	as_server "$PG_BIN/pg_ctl" -D "$SERVER_DATA" -l "$SERVER_DATA/server.log" -w -t 60 -s start ||
		{ tail -n 30 "$SERVER_DATA/server.log" >&2; die "the server does not start"; }
	export PGHOST=$WORK/socket PGPORT=54320 PGUSER=postgres PGDATABASE=postgres
}

phnsw_server_stop() {
	[[ -n $SERVER_DATA && -f $SERVER_DATA/postmaster.pid ]] || return 0
	cd /
	as_server "$PG_BIN/pg_ctl" -D "$SERVER_DATA" -m fast -w -t 30 -s stop >/dev/null 2>&1 ||
		as_server "$PG_BIN/pg_ctl" -D "$SERVER_DATA" -m immediate -w -t 30 -s stop >/dev/null 2>&1
}
