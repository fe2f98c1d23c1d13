// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// Changes of watched files that fanotify does not tell of, or only when the file is closed: a
// store through a shared mapping, and attributes set by ioctl (chattr). The hooks are on the
// inode, so that neither the path nor the mount namespace nor the system call matters.

#include "emit.h"

struct inode_key {
	u64 inode;
	u32 device;
	u32 pad;
};

// The watched files and directories, kept by the daemon. 5,000 accounts with eight files each.
BPF_HASH(watched, struct inode_key, u8, 65536);

#define IS_KERNEL_THREAD 0x00200000 // PF_KTHREAD, linux/sched.h

// A bit for each watched inode number, by its low 16 bits: nearly every inode that becomes dirty on
// a busy disk is turned away by one look here, before its device is known.
BPF_ARRAY(watched_bits, u64, 1024);

static __always_inline int may_be_watched(u64 inode)
{
	u32 index = (inode >> 6) & 1023;
	u64 *bits = watched_bits.lookup(&index);

	return bits && (*bits >> (inode & 63)) & 1;
}

static __always_inline int tell_dirty(struct inode *inode)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();
	struct super_block *sb = NULL;
	struct inode_key key = {};
	struct wire_file *record;
	u32 task_flags = 0;
	u64 flags;

	READ(key.inode, inode->i_ino);
	if (!may_be_watched(key.inode))
		return 0;
	READ(sb, inode->i_sb);
	READ(key.device, sb->s_dev);
	if (!watched.lookup(&key))
		return 0;
	// Writeback dirties the inode once more when it finds places for the blocks: seconds after
	// the write, and in the name of a kernel thread. Whoever wrote was told of then.
	READ(task_flags, task->flags);
	if (task_flags & IS_KERNEL_THREAD)
		return 0;
	flags = ring_flags(WIRE_FILE, 1, 1);
	record = files.ringbuf_reserve(sizeof(*record));
	if (!record) {
		count_drop(WIRE_FILE);
		return 0;
	}
	fill_header(&record->header, leader_of(task), WIRE_FILE, sizeof(*record));
	record->inode = key.inode;
	record->device = key.device;
	record->uid = bpf_get_current_uid_gid();
	files.ringbuf_submit(record, flags);
	return 0;
}

// Any file system that uses the generic writeback; in the context of the task that writes.
// void (struct inode *inode, int flags)
int on_inode_dirty(struct bpf_raw_tracepoint_args *ctx)
{
	if (!(ctx->args[1] & 7)) // I_DIRTY_SYNC | I_DIRTY_DATASYNC | I_DIRTY_PAGES
		return 0;
	return tell_dirty((struct inode *)ctx->args[0]);
}

// ext4 marks through a function of its own what writeback_mark_inode_dirty does not see:
// directories, extended attributes, chattr.
// void (struct inode *inode, unsigned long ip)
int on_ext4_inode_dirty(struct bpf_raw_tracepoint_args *ctx)
{
	return tell_dirty((struct inode *)ctx->args[0]);
}
