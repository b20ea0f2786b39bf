/*
 * memory_shim.c
 *    Preloaded into a server by tests (MemoryShim.pm): an allocation fails,
 *    memory is slow, or ends where nobody may go on.
 *
 * The file that PHNSW_MEMORY_SHIM names holds 8-byte integers, most of which the test writes: see Control.
 * Counted are calls of malloc() and its like, mmap() and pthread_create() by phnsw.so and the C++ library,
 * which is what the core allocates; if wanted, PostgreSQL's as well.  Slow memory is dear memory to the core
 * (arena.cpp): mprotect() comes before each piece that it clears, and takes that much longer, and each look
 * at a thread's clock finds as much more processor time used.  Fenced is what PostgreSQL's main thread
 * allocates in large pieces: who reads or writes behind one gets a signal.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t n, size_t size);
extern void *__libc_realloc(void *old, size_t size);
extern void *__libc_memalign(size_t alignment, size_t size);
extern void __libc_free(void *memory);

typedef struct Control
{
	_Atomic int64_t pid;		/* the process that it is about */
	_Atomic int64_t everyone;	/* PostgreSQL's allocations count, too */
	_Atomic int64_t left;		/* so many succeed before one fails; negative: none fails */
	_Atomic int64_t failed;		/* here: how many have failed */
	_Atomic int64_t slow_us;	/* 0: memory is as fast as it is */
	_Atomic int64_t slowed;		/* here: how many pieces were slow */
	_Atomic int64_t fence;		/* bytes from which on PostgreSQL's allocations are fenced; 0: none is */
	_Atomic int64_t fenced;		/* here: how many were */
} Control;

static Control *control;

static int
is_core(const void *caller)
{
	Dl_info		info;

	return dladdr(caller, &info) != 0 &&
		(strstr(info.dli_fname, "/phnsw.so") != NULL || strstr(info.dli_fname, "/libstdc++") != NULL);
}

static int
is_server(const void *caller)
{
	Dl_info		info;

	return dladdr(caller, &info) != 0 && strstr(info.dli_fname, "postgres") != NULL &&
		strstr(info.dli_fname, ".so") == NULL;
}

static int
is_watched(void)
{
	return control != NULL && atomic_load(&control->pid) == getpid();
}

static int
fails(const void *caller)
{
	if (!is_watched() || atomic_load(&control->left) < 0 ||
		!(is_core(caller) || (atomic_load(&control->everyone) && is_server(caller))))
		return 0;
	if (atomic_fetch_sub(&control->left, 1) != 0)
		return 0;
	atomic_fetch_add(&control->failed, 1);
	errno = ENOMEM;
	return 1;
}

#define FENCES 64
#define PAGE   4096

/* Ends of pieces, before which they lie, and behind which there is a page without access. */
static struct
{
	char	   *end;
	size_t		bytes;			/* asked for */
	size_t		mapped;			/* before the end */
}			fences[FENCES];
static _Atomic int n_fences;

static int
fence_of(const void *memory)
{
	for (int i = 0; atomic_load(&n_fences) > 0 && i < FENCES; i++)
	{
		if (fences[i].end != NULL && (const char *) memory < fences[i].end &&
			(const char *) memory >= fences[i].end - fences[i].mapped)
			return i;
	}
	return -1;
}

/* NULL: it is to be an ordinary one. */
static void *
fenced(size_t size, const void *caller)
{
	size_t		bytes = (size + 15) / 16 * 16;
	size_t		mapped = (bytes + PAGE - 1) / PAGE * PAGE;
	char	   *start;

	if (!is_watched() || atomic_load(&control->fence) <= 0 || size < (size_t) atomic_load(&control->fence) ||
		!is_server(caller))
		return NULL;
	for (int i = 0; i < FENCES; i++)
	{
		if (fences[i].end != NULL)
			continue;
		start = (char *) syscall(SYS_mmap, NULL, mapped + PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
								 0);
		if (start == (char *) MAP_FAILED)
			return NULL;
		syscall(SYS_mprotect, start + mapped, PAGE, PROT_NONE);
		fences[i].end = start + mapped;
		fences[i].bytes = size;
		fences[i].mapped = mapped;
		atomic_fetch_add(&n_fences, 1);
		atomic_fetch_add(&control->fenced, 1);
		return start + mapped - bytes;
	}
	return NULL;
}

void *
malloc(size_t size)
{
	void	   *memory;

	if (fails(__builtin_return_address(0)))
		return NULL;
	memory = fenced(size, __builtin_return_address(0));
	return memory != NULL ? memory : __libc_malloc(size);
}

void *
calloc(size_t n, size_t size)
{
	return fails(__builtin_return_address(0)) ? NULL : __libc_calloc(n, size);
}

void
free(void *memory)
{
	int			i = fence_of(memory);

	if (i < 0)
	{
		__libc_free(memory);
		return;
	}
	syscall(SYS_munmap, fences[i].end - fences[i].mapped, fences[i].mapped + PAGE);
	fences[i].end = NULL;
	atomic_fetch_sub(&n_fences, 1);
}

void *
realloc(void *old, size_t size)
{
	int			i = fence_of(old);
	size_t		before;
	void	   *memory;

	if (fails(__builtin_return_address(0)))
		return NULL;
	memory = fenced(size, __builtin_return_address(0));
	if (memory == NULL && i < 0)
		return __libc_realloc(old, size);
	if (memory == NULL)
		memory = __libc_malloc(size);
	if (memory == NULL || old == NULL)
		return memory;
	before = i >= 0 ? fences[i].bytes : malloc_usable_size(old);
	memcpy(memory, old, before < size ? before : size);
	free(old);
	return memory;
}

void *
aligned_alloc(size_t alignment, size_t size)
{
	return fails(__builtin_return_address(0)) ? NULL : __libc_memalign(alignment, size);
}

void *
mmap(void *address, size_t bytes, int protection, int flags, int fd, off_t offset)
{
	if (fails(__builtin_return_address(0)))
		return MAP_FAILED;
	return (void *) syscall(SYS_mmap, address, bytes, protection, flags, fd, offset);
}

int
pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*start) (void *), void *arg)
{
	int			(*next) (pthread_t *, const pthread_attr_t *, void *(*) (void *), void *);

	if (fails(__builtin_return_address(0)))
		return EAGAIN;
	*(void **) &next = dlsym(RTLD_NEXT, "pthread_create");
	return next(thread, attributes, start, arg);
}

int
mprotect(void *address, size_t bytes, int protection)
{
	if (is_watched() && atomic_load(&control->slow_us) > 0 && is_core(__builtin_return_address(0)))
	{
		atomic_fetch_add(&control->slowed, 1);
		usleep(atomic_load(&control->slow_us));
	}
	return syscall(SYS_mprotect, address, bytes, protection);
}

int
clock_gettime(clockid_t clock, struct timespec *now)
{
	static _Atomic int64_t looks;
	int			(*next) (clockid_t, struct timespec *);

	*(void **) &next = dlsym(RTLD_NEXT, "clock_gettime");
	if (next(clock, now) != 0)
		return -1;
	if (clock == CLOCK_THREAD_CPUTIME_ID && is_watched() && atomic_load(&control->slow_us) > 0)
	{
		int64_t		ns = now->tv_nsec + atomic_fetch_add(&looks, 1) * atomic_load(&control->slow_us) * 1000;

		now->tv_sec += ns / 1000000000;
		now->tv_nsec = ns % 1000000000;
	}
	return 0;
}

__attribute__((constructor)) static void
map_control(void)
{
	const char *name = getenv("PHNSW_MEMORY_SHIM");
	int			fd = name == NULL ? -1 : open(name, O_RDWR);
	void	   *map;

	if (fd < 0)
		return;
	map = mmap(NULL, sizeof(Control), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	if (map != MAP_FAILED)
		control = map;
}
