// SPDX-License-Identifier: Apache-2.0
//
// Loads for the benchmark. Prints the nanoseconds that one step took.
//
// Usage: storms exec|connect|write N

#include <arpa/inet.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

static void do_exec(int n)
{
	char *argv[] = {"/bin/true", NULL};
	pid_t pid;

	(void)n;
	if (posix_spawn(&pid, argv[0], NULL, NULL, argv, environ))
		exit(2);
	waitpid(pid, NULL, 0);
}

static void do_connect(int n)
{
	struct sockaddr_in to = {.sin_family = AF_INET};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	to.sin_port = htons(1024 + n % 16); // a client of a few back ends
	to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (connect(fd, (struct sockaddr *)&to, sizeof(to)))
		exit(2);
	close(fd);
}

static void do_write(int n)
{
	static int fd = -1;

	if (fd < 0) {
		char name[] = "/tmp/firedamp-bench-XXXXXX";

		fd = mkstemp(name);
		unlink(name);
	}
	if (pwrite(fd, "x", 1, n % 65536) != 1)
		exit(2);
}

int main(int argc, char **argv)
{
	void (*step)(int) = argc < 3			  ? NULL
			    : !strcmp(argv[1], "exec")	  ? do_exec
			    : !strcmp(argv[1], "connect") ? do_connect
			    : !strcmp(argv[1], "write")	  ? do_write
							  : NULL;
	struct timespec from, to;
	int n;

	if (!step || (n = atoi(argv[2])) < 1)
		return 1;
	clock_gettime(CLOCK_MONOTONIC, &from);
	for (int i = 0; i < n; i++)
		step(i);
	clock_gettime(CLOCK_MONOTONIC, &to);
	printf("%.0f\n", ((to.tv_sec - from.tv_sec) * 1e9 + (to.tv_nsec - from.tv_nsec)) / n);
	return 0;
}
