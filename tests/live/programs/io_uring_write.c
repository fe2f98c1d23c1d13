// SPDX-License-Identifier: Apache-2.0
//
// Appends a line to a file by io_uring alone: no write system call is made.

#include <fcntl.h>
#include <linux/io_uring.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	static const char line[] = "by io_uring\n";
	struct io_uring_params params = {0};
	int ring = syscall(SYS_io_uring_setup, 1, &params);
	int file = open(argv[argc - 1], O_WRONLY | O_APPEND);

	if (ring < 0 || file < 0)
		return 77;

	size_t size = params.sq_off.array + params.sq_entries * sizeof(unsigned int);
	char *queue =
		mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, ring, IORING_OFF_SQ_RING);
	struct io_uring_sqe *entry =
		mmap(NULL, params.sq_entries * sizeof(*entry), PROT_READ | PROT_WRITE, MAP_SHARED,
		     ring, IORING_OFF_SQES);

	if (queue == MAP_FAILED || entry == MAP_FAILED)
		return 1;

	memset(entry, 0, sizeof(*entry));
	entry->opcode = IORING_OP_WRITE;
	entry->fd = file;
	entry->addr = (unsigned long)line;
	entry->len = sizeof(line) - 1;
	entry->off = -1;
	((unsigned int *)(queue + params.sq_off.array))[0] = 0;
	__atomic_store_n((unsigned int *)(queue + params.sq_off.tail), 1, __ATOMIC_RELEASE);

	if (syscall(SYS_io_uring_enter, ring, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0) != 1)
		return 1;

	puts("done");
	fflush(stdout);
	getchar();
	return 0;
}
