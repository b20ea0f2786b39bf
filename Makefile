# phnsw: PGXS build of the module, its SQL and its tests.  `make help` lists the targets.
EXTENSION = phnsw
MODULE_big = phnsw
PHNSW_VERSION = 0.1.0

# Optional: pieces that do not exist in this checkout are left out, so that every commit builds.
CORE_SOURCES = $(wildcard $(addprefix src/core/,$(shell sed -e 's/\#.*//' src/core/SOURCES)))
PG_SOURCES = $(sort $(wildcard src/pg/*.c src/pg/*/*.c))
OBJS = $(PG_SOURCES:.c=.o) $(CORE_SOURCES:.cpp=.o)

INSTALL_SQL = sql/install/phnsw--$(PHNSW_VERSION).sql
SQL_PARTS = $(sort $(wildcard sql/install/[0-9][0-9]_*.sql))
DATA = $(wildcard sql/install/phnsw--*--*.sql)
DATA_built = $(INSTALL_SQL)

REGRESS = $(patsubst sql/%.sql,%,$(sort $(wildcard sql/*.sql)))
REGRESS_OPTS = --inputdir=$(srcdir) --load-extension=phnsw
ISOLATION = $(patsubst test/isolation/specs/%.spec,%,$(sort $(wildcard test/isolation/specs/*.spec)))
ISOLATION_OPTS = --inputdir=$(srcdir)/test/isolation --load-extension=phnsw
TAP_TESTS = 1
PROVE_TESTS = $(sort $(wildcard test/t/*.pl))
EXTRA_CLEAN = $(INSTALL_SQL) $(OBJS:.o=.d)

# make WERROR= for a compiler that sees more than those we have tried.
WERROR ?= -Werror
WARNINGS = -Wall -Wextra $(WERROR)
CORE_WARNINGS = $(WARNINGS) -Wpedantic -Wshadow -Wconversion -Wsign-conversion -Wold-style-cast -Wnon-virtual-dtor \
	-Wimplicit-fallthrough

PG_CPPFLAGS = -Isrc/core -Isrc/pg -MMD -MP -DPHNSW_VERSION='"$(PHNSW_VERSION)"'
PG_CFLAGS = $(WARNINGS) -Wno-unused-parameter -Wno-sign-compare -Wno-missing-field-initializers
PG_CXXFLAGS = -std=c++20 -fopenmp -fvisibility=hidden -fvisibility-inlines-hidden -fno-gnu-unique -fno-math-errno \
	-fno-trapping-math $(CORE_WARNINGS)
SHLIB_LINK = -lstdc++ -fopenmp -Wl,--version-script=src/pg/exports.map

PG_CONFIG ?= pg_config
PGXS := $(shell $(PG_CONFIG) --pgxs)
override with_llvm := no
include $(PGXS)

# The core is compiled with the C++ flags of its own: the shims' warnings are C's.
src/core/%.o: override CPPFLAGS := -Isrc/core -MMD -MP -D_GNU_SOURCE
src/core/%_avx2.o: override CXXFLAGS += -mavx2 -mfma -mf16c
src/core/%_avxvnni.o: override CXXFLAGS += -mavx2 -mfma -mf16c -mavxvnni
src/core/%_avx512.o: override CXXFLAGS += -mavx512f -mavx512bw -mavx512vl -mavx512dq -mavx512vnni -mfma
src/core/build/%.o src/core/merge/%.o src/core/kernel/%.o src/core/codec/%.o: override CXXFLAGS += -O3

$(OBJS): Makefile
-include $(OBJS:.o=.d)

$(INSTALL_SQL): $(SQL_PARTS)
	cat $^ > $@

# pgvector's names, for those who ask for them: sql/vector/README.md.  Never over pgvector itself, whose control file has the same name.
EXTENSION_FOLDER = $(DESTDIR)$(datadir)/extension
VECTOR_CONTROL = $(EXTENSION_FOLDER)/vector.control
VECTOR_FILES = sql/vector/vector.control $(wildcard sql/vector/vector--*.sql)
vector_is_ours = if test -e '$(VECTOR_CONTROL)' && ! grep -q "^requires = 'phnsw'" '$(VECTOR_CONTROL)'; then \
	echo "$(VECTOR_CONTROL) is pgvector's, not phnsw's: nothing was changed" >&2; exit 1; fi

.PHONY: help check demo core unit sanitize install-vector uninstall-vector
install-vector:
	@$(vector_is_ours)
	$(MKDIR_P) '$(EXTENSION_FOLDER)'
	$(INSTALL_DATA) $(addprefix $(srcdir)/,$(VECTOR_FILES)) '$(EXTENSION_FOLDER)/'
uninstall-vector:
	@$(vector_is_ours)
	rm -f $(addprefix '$(EXTENSION_FOLDER)'/,$(notdir $(VECTOR_FILES)))

help:
	@echo 'make, make install      the extension'
	@echo 'make install-vector     pgvector'\''s names for it, where pgvector is not: sql/vector/README.md; uninstall-vector'
	@echo 'make installcheck       regression, isolation and TAP tests against an installed extension'
	@echo 'make unit               unit tests of the core (CMake)'
	@echo 'make sanitize           the same under address, undefined and thread sanitizers (slow)'
	@echo 'make check, make demo   everything, on a fresh machine: test/check.sh, bench/demo.sh'
check:
	test/check.sh
demo:
	bench/demo.sh
unit:
	cmake -S . -B build/unit -DCMAKE_BUILD_TYPE=RelWithDebInfo && cmake --build build/unit -j2 && ctest --test-dir build/unit --output-on-failure
sanitize:
	test/tools/sanitize.sh
