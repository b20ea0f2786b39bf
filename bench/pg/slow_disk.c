/*
 * slow_disk.c
 *    A disk that takes a fixed time for each page and any number of requests at
 *    once, in front of a disk of unknown speed.
 *
 * LD_PRELOADed into a server by the cold part of bench/run.sh, where a drop of the operating system's cache says
 * little: the host of a virtual machine has the file in memory.  Reads of whole 8 kB pages with pread() take
 * SLOW_DISK_US microseconds, the first time that this process reads the page.  posix_fadvise(POSIX_FADV_WILLNEED)
 * starts that time without waiting for its end, as read-ahead does.  Everything else passes through.
 *
 * State is per process and per page (device's inode, block); when the table of 2^20 pages is full, all pages are fast.
 * No threads read files in a server, so there are no locks.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define PAGE 8192
#define SLOTS (1u << 21)
#define PAGES_MAX (1u << 20)

typedef struct request
{
	uint64_t	page;			/* 0: free */
	uint64_t	ready_ns;
} request;

static request *requests;
static uint32_t pages;

static uint64_t
now_ns(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (uint64_t) time.tv_sec * 1000000000 + (uint64_t) time.tv_nsec;
}

static uint64_t
disk_ns(void)
{
	static uint64_t ns;
	const char *text;

	if (ns == 0 && (text = getenv("SLOW_DISK_US")) != NULL)
		ns = strtoull(text, NULL, 10) * 1000;
	return ns;
}

/* When the page is there; a page that nobody has asked for yet is asked for now. */
static uint64_t
ready_at(int fd, uint64_t block)
{
	struct stat file;
	uint64_t	page;
	uint32_t	slot;

	if (fstat(fd, &file) != 0 || !S_ISREG(file.st_mode))
		return 0;
	if (requests == NULL)
	{
		requests = mmap(NULL, SLOTS * sizeof(request), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (requests == MAP_FAILED)
			abort();
	}
	page = ((uint64_t) file.st_ino << 32) + block + 1;
	slot = (uint32_t) ((page * UINT64_C(0x9E3779B97F4A7C15)) >> 43);
	while (requests[slot].page != 0 && requests[slot].page != page)
		slot = (slot + 1) % SLOTS;
	if (requests[slot].page == 0)
	{
		if (pages == PAGES_MAX)
			return 0;
		pages++;
		requests[slot].page = page;
		requests[slot].ready_ns = now_ns() + disk_ns();
	}
	return requests[slot].ready_ns;
}

static void
wait_for(int fd, uint64_t block)
{
	uint64_t	ready = ready_at(fd, block);
	struct timespec until = {(time_t) (ready / 1000000000), (long) (ready % 1000000000)};

	if (ready > now_ns())
		while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL) != 0)
			continue;
}

ssize_t
pread(int fd, void *buffer, size_t bytes, off_t offset)
{
	static ssize_t (*next) (int, void *, size_t, off_t);

	if (next == NULL)
		*(void **) &next = dlsym(RTLD_NEXT, "pread");
	if (disk_ns() > 0 && bytes == PAGE && offset % PAGE == 0)
		wait_for(fd, (uint64_t) offset / PAGE);
	return next(fd, buffer, bytes, offset);
}

ssize_t
pread64(int fd, void *buffer, size_t bytes, off64_t offset)
{
	return pread(fd, buffer, bytes, offset);
}

int
posix_fadvise(int fd, off_t offset, off_t bytes, int advice)
{
	static int	(*next) (int, off_t, off_t, int);

	if (next == NULL)
		*(void **) &next = dlsym(RTLD_NEXT, "posix_fadvise");
	if (disk_ns() > 0 && advice == POSIX_FADV_WILLNEED)
		for (off_t at = offset; at < offset + bytes; at += PAGE)
			ready_at(fd, (uint64_t) at / PAGE);
	return next(fd, offset, bytes, advice);
}

int
posix_fadvise64(int fd, off64_t offset, off64_t bytes, int advice)
{
	return posix_fadvise(fd, offset, bytes, advice);
}
