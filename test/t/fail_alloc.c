/*
 * fail_alloc.c
 *    Preloaded into a server by 029_no_memory.pl: one allocation of the library's core fails, the n-th that one process asks for.
 *
 * The file that PHNSW_FAIL_FILE names holds three 8-byte integers, which the test writes: the process, how many allocations
 * still succeed before the one that fails, and how many have failed since (which is written here).  What PostgreSQL itself allocates
 * is left alone: only calls from phnsw.so and from the C++ library count, of malloc() and its like, mmap() and pthread_create().
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t n, size_t size);
extern void *__libc_memalign(size_t alignment, size_t size);

typedef struct Control
{
	_Atomic int64_t pid;
	_Atomic int64_t left;
	_Atomic int64_t failed;
} Control;

static Control *control;

static int
fails(const void *caller)
{
	Dl_info		info;

	if (control == NULL || atomic_load(&control->pid) != getpid() || dladdr(caller, &info) == 0 ||
		(strstr(info.dli_fname, "/phnsw.so") == NULL && strstr(info.dli_fname, "/libstdc++") == NULL))
		return 0;
	if (atomic_fetch_sub(&control->left, 1) != 0)
		return 0;
	atomic_fetch_add(&control->failed, 1);
	errno = ENOMEM;
	return 1;
}

void *
malloc(size_t size)
{
	return fails(__builtin_return_address(0)) ? NULL : __libc_malloc(size);
}

void *
calloc(size_t n, size_t size)
{
	return fails(__builtin_return_address(0)) ? NULL : __libc_calloc(n, size);
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

__attribute__((constructor)) static void
map_control(void)
{
	const char *name = getenv("PHNSW_FAIL_FILE");
	int			fd = name == NULL ? -1 : open(name, O_RDWR);
	void	   *map;

	if (fd < 0)
		return;
	map = mmap(NULL, sizeof(Control), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	if (map != MAP_FAILED)
		control = map;
}
