/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#ifndef EMIT_H
#define EMIT_H

/*
 * The rings, the drop counters, and who the current process is. Declarations only: bcc rewrites
 * map methods in the main text alone, so what calls one stands in emit.c and in the hooks.
 *
 * One ring for each kind of record that something else's flood could push out: a fork bomb
 * cannot displace an exec, a resolver's traffic cannot displace the first line of a miner.
 *
 * A submit that wakes the reader costs about fifty times one that does not, so telemetry is
 * left for the reader's next look (`sources.collect_ms`), and only what may lead to an action
 * at once wakes it; see ring_flags().
 */

#include <kernel.h>
#include "wire.h"
#include "compat.h"

#define READ(dst, src) read_kernel(&(dst), sizeof(dst), &(src))

#define RB_NO_WAKEUP 1
#define RB_FORCE_WAKEUP 2

/* Sizes in pages. An exec is 250 to 700 bytes as a rule, so 4 MiB hold some 8,000 of them. */
BPF_RINGBUF_OUTPUT(execs, 1024);
BPF_RINGBUF_OUTPUT(tasks, 256);	    /* forks, exits and renames: 10,000 and more */
BPF_RINGBUF_OUTPUT(connects, 2048); /* 88 bytes each: a burst of 80,000 */
BPF_RINGBUF_OUTPUT(payloads, 256);
BPF_RINGBUF_OUTPUT(dns, 128);
BPF_RINGBUF_OUTPUT(files, 32);

/*
 * A wake-up after so many records of a kind on one CPU, long before a ring is full, even where
 * none of them is urgent. Powers of two.
 */
#define EXECS_A_WAKE 256
#define TASKS_A_WAKE 1024
#define CONNECTS_A_WAKE 1024
#define PAYLOADS_A_WAKE 32
#define DNS_A_WAKE 64

/* Records made, lost ones included, by kind: made = read + dropped. */
BPF_PERCPU_ARRAY(made, u64, WIRE_KIND_COUNT);

/* Records lost because a ring was full, by kind. Mapped by the daemon: no call to read it. */
BPF_F_TABLE("array", u32, u64, dropped, WIRE_KIND_COUNT, BPF_F_MMAPABLE);

static __always_inline struct task_struct *leader_of(struct task_struct *task)
{
	struct task_struct *leader = NULL;

	READ(leader, task->group_leader);
	return leader;
}

static __always_inline u64 ticks_of(struct task_struct *leader)
{
	u64 started_ns = 0;

	READ(started_ns, leader->start_boottime);
	return started_ns / 10000000; /* USER_HZ is 100 on every architecture we support */
}

/* The process's number in the daemon's PID namespace; 0 where it has none there. */
static __always_inline u32 pid_of(struct task_struct *leader)
{
#ifdef DAEMON_PID_NS
	struct upid upid = {};
	struct pid *pid = NULL;
	u32 inum, deepest = 0;

	READ(pid, leader->thread_pid);
	READ(deepest, pid->level);
	for (u32 level = 1; level < 8; level++) {
		// A pid has one number a level and no more: behind it lies somebody else's.
		if (level > deepest)
			return 0;
		if (read_kernel(&upid, sizeof(upid),
				(char *)pid + OFFSET_pid_numbers + level * sizeof(upid)))
			return 0;
		inum = 0;
		READ(inum, upid.ns->ns.inum);
		if (inum == DAEMON_PID_NS)
			return upid.nr;
	}
	return 0;
#else
	u32 tgid = 0;

	READ(tgid, leader->tgid);
	return tgid;
#endif
}

static __always_inline void fill_header(struct wire_header *header, struct task_struct *leader,
					u16 kind, u16 size)
{
	header->at_ns = bpf_ktime_get_boot_ns();
	header->started_ticks = ticks_of(leader);
	header->pid = pid_of(leader);
	header->kind = kind;
	header->size = size;
}

#endif /* EMIT_H */
