// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// Who keeps the CPUs busy. Samples find the candidates at a cost that does not depend on how
// much switching goes on; the figures that are reported are the task's own times, read by the
// daemon for those few. (A sched_switch hook would count exactly, and cost each switch.)

#include "emit.h"

struct cpu_key {
	u64 started_ticks;
	u32 pid;
	u32 pad;
};

// Samples since the daemon last looked. LRU: short-lived processes may push out each other, and
// a process that stays busy comes back with its next sample.
BPF_TABLE("lru_hash", struct cpu_key, u64, samples, 8192);

int on_cpu_sample(struct bpf_perf_event_data *ctx)
{
	struct task_struct *leader;
	struct cpu_key key = {};
	u64 one = 1, *count;

	if (bpf_get_current_pid_tgid() == 0)
		return 0; // idle
	leader = leader_of((struct task_struct *)bpf_get_current_task());
	key.started_ticks = ticks_of(leader);
	key.pid = pid_of(leader);
	count = samples.lookup(&key);
	if (count)
		__sync_fetch_and_add(count, 1);
	else
		samples.update(&key, &one);
	return 0;
}
