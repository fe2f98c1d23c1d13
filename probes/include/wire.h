/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#ifndef WIRE_H
#define WIRE_H

/*
 * The wire format: every record a probe may send to userspace, and nothing else.
 *
 * Rules, enforced by tests/layout/test_wire_layout.py:
 *   - fixed-width __uN types only: no int, long, enum or pointer members;
 *   - natural alignment, no packed attribute, every hole spelled out as a pad member;
 *   - a record never changes in place: append a member, or add a kind.
 *
 * Some records end in a tail of variable length, whose parts are listed, in their order, by
 * length members. Strings in a tail have no terminating NUL.
 */

#include <linux/types.h>

#define WIRE_COMM_LEN 16
#define WIRE_PATH_LEN 1024	/* of the image's path and of the working directory, each */
#define WIRE_FILENAME_LEN 512	/* of what execve() was asked for */
#define WIRE_ARGV_LEN 4096	/* of all arguments with their NULs; the rest is cut, and said */
#define WIRE_DATA_LEN 1024	/* of one payload segment or DNS message */

enum wire_kind {
	WIRE_EXEC = 1,
	WIRE_FORK = 2,
	WIRE_EXIT = 3,
	WIRE_RENAME = 4,
	WIRE_CONNECT = 5,
	WIRE_PAYLOAD = 6,
	WIRE_DNS = 7,
	WIRE_FILE = 8,
	WIRE_KIND_COUNT = 9,
};

/* Members of wire_exec.flags. */
#define WIRE_EXEC_ARGV_CUT 1
#define WIRE_EXEC_PATH_CUT 2

/* Members of wire_connect.flags. */
#define WIRE_CONNECT_DENIED 1

/* Values of wire_payload.direction. */
#define WIRE_OUT 0
#define WIRE_IN 1

struct wire_header {
	__u64 at_ns;	     /* boot-time clock: suspend does not skew windows */
	__u64 started_ticks; /* start of the process, 1/100 s since boot; with pid, its name */
	__u32 pid;	     /* thread group id in the daemon's PID namespace; 0: outside of it */
	__u16 kind;	     /* enum wire_kind */
	__u16 size;	     /* of the whole record, header and tail included */
};

struct wire_exec {
	struct wire_header header;
	__u64 parent_started_ticks;
	__u64 inode;
	__u64 cgroup_id;
	__u32 parent_pid;
	__u32 device;	  /* kernel encoding: major << 20 | minor */
	__u32 link_count; /* 0: the image has no name in any directory */
	__u32 mode;
	__u32 image_uid;
	__u32 uid;
	__u32 gid;
	__u32 loginuid;
	__u32 mount_ns; /* namespaces by inode number */
	__u32 pid_ns;
	__u32 net_ns;
	__u32 flags;	 /* WIRE_EXEC_… */
	__u16 image_len; /* the tail: image, filename, cwd, argv */
	__u16 filename_len;
	__u16 cwd_len;
	__u16 argv_len; /* arguments, each ended by a NUL */
	char comm[WIRE_COMM_LEN];
};

struct wire_fork {
	struct wire_header header; /* of the child */
	__u64 parent_started_ticks;
	__u64 cgroup_id;
	__u32 parent_pid;
	__u32 uid;
	char comm[WIRE_COMM_LEN];
};

struct wire_exit {
	struct wire_header header;
	__u64 cpu_ns;	 /* of all threads, over the whole life */
	__u32 exit_code; /* as wait(2) gives it */
	__u32 pad;
};

struct wire_rename {
	struct wire_header header;
	char old_comm[WIRE_COMM_LEN];
	char comm[WIRE_COMM_LEN];
};

struct wire_connect {
	struct wire_header header;
	__u64 cookie;
	__u64 cgroup_id;
	__u8 address[16]; /* remote; IPv4 as ::ffff:a.b.c.d */
	__u32 uid;
	__u16 port;    /* remote, host byte order */
	__u8 protocol; /* IPPROTO_… */
	__u8 flags;    /* WIRE_CONNECT_… */
};

struct wire_payload { /* WIRE_PAYLOAD and WIRE_DNS */
	struct wire_header header;
	__u64 cookie;
	__u8 address[16]; /* of the remote end, whichever way the segment goes */
	__u32 sequence;	  /* TCP sequence number of the first byte; 0 for UDP */
	__u32 length;	  /* that the segment carried */
	__u16 port;	  /* of the remote end, host byte order */
	__u16 data_len;	  /* the tail: data */
	__u8 protocol;	  /* IPPROTO_… */
	__u8 direction;	  /* WIRE_OUT, WIRE_IN */
	__u16 pad;
};

struct wire_file {
	struct wire_header header;
	__u64 inode;
	__u32 device; /* kernel encoding */
	__u32 uid;
};

#endif /* WIRE_H */
