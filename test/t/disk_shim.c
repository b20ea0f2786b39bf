/*
 * disk_shim.c
 *    Preloaded into a server by 041_cold_asks.pl: writes down what is asked of the disk ahead, and what is read.
 *
 * To the file that PHNSW_DISK_LOG names, a line for each call about whole pages of 8 kB: the
 * process, "ask" or "read", the file's inode, the block.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define PAGE 8192

static void
note(const char *what, int fd, off_t offset, off_t bytes)
{
	static int	log = -1;
	int			saved = errno;
	struct stat file;

	if (log < 0 && getenv("PHNSW_DISK_LOG") != NULL)
		log = open(getenv("PHNSW_DISK_LOG"), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
	if (log >= 0 && bytes % PAGE == 0 && offset % PAGE == 0 && fstat(fd, &file) == 0 && S_ISREG(file.st_mode))
	{
		for (off_t at = offset; at < offset + bytes; at += PAGE)
		{
			char		line[80];
			int			n = snprintf(line, sizeof(line), "%d %s %lu %ld\n", getpid(), what, (unsigned long) file.st_ino,
									 (long) (at / PAGE));

			if (write(log, line, (size_t) n) != n)
				abort();
		}
	}
	errno = saved;
}

ssize_t
pread(int fd, void *buffer, size_t bytes, off_t offset)
{
	static ssize_t (*next) (int, void *, size_t, off_t);

	if (next == NULL)
		*(void **) &next = dlsym(RTLD_NEXT, "pread");
	note("read", fd, offset, (off_t) bytes);
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
	if (advice == POSIX_FADV_WILLNEED)
		note("ask", fd, offset, bytes);
	return next(fd, offset, bytes, advice);
}

int
posix_fadvise64(int fd, off64_t offset, off64_t bytes, int advice)
{
	return posix_fadvise(fd, offset, bytes, advice);
}
