// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// Process life-cycle probes. A hook copies facts; it never decides.
//
// All are raw tracepoints: they need neither tracefs nor BTF, are there on every kernel since
// 4.17, and their arguments are kernel memory, so that a second thread cannot rewrite them
// under us as it can a system call's.

#include "emit.h"

#define PATH_MASK (WIRE_PATH_LEN - 1)
#define TAIL_MASK 8191
#define MAX_DEPTH 32		// of a path, mount points included; a deeper one is cut and said
#define TMPFS_MAGIC 0x01021994

// Twice what is used: the verifier sees a masked offset plus a bounded length, not their sum.
struct path_buffer {
	char data[2 * WIRE_PATH_LEN];
};

struct exec_buffer {
	struct wire_exec fixed;
	char tail[TAIL_MASK + 1 + WIRE_ARGV_LEN];
	struct path_buffer path;
};

// A record is too large for the stack, and one of variable length cannot be reserved in a ring.
BPF_PERCPU_ARRAY(exec_buffers, struct exec_buffer, 1);

struct walk {
	u32 used; // bytes of text, which ends at WIRE_PATH_LEN
	u32 is_cut;
	u32 is_hidden; // a component's name begins with a dot
};

// Write a path's text backwards from WIRE_PATH_LEN, from the last name to the root of its mount
// namespace. An unlinked file keeps its last name; a file that was never linked (memfd) is its
// own parent and gives that name alone.
//
// Each round ends with `used` masked, by an instruction that the compiler cannot see through:
// it makes the verifier's view of all rounds the same, so that it need not follow each of the
// 3^32 ways through them.
static __always_inline struct walk walk_path(struct path_buffer *buffer, struct path *path)
{
	struct walk walk = {.is_cut = 1};
	struct dentry *dentry = NULL;
	struct vfsmount *vfsmount = NULL;
	struct mount *mount;
	u32 used = 0, hidden = 0;

	READ(dentry, path->dentry);
	READ(vfsmount, path->mnt);
	mount = (struct mount *)((char *)vfsmount - OFFSET_mount_mnt);

	for (int depth = 0; depth < MAX_DEPTH; depth++) {
		struct dentry *parent = NULL, *root = NULL;
		struct mount *above = NULL;
		struct qstr name = {};
		u32 len, start;

		READ(parent, dentry->d_parent);
		READ(root, vfsmount->mnt_root);
		if (dentry == root) {
			READ(above, mount->mnt_parent);
			if (above == mount) {
				walk.is_cut = 0;
				break;
			}
			READ(dentry, mount->mnt_mountpoint);
			mount = above;
			vfsmount = (struct vfsmount *)((char *)mount + OFFSET_mount_mnt);
			continue;
		}
		READ(name, dentry->d_name);
		len = name.len & 255;
		if (used + len + 1 > PATH_MASK)
			break;
		used += len + 1;
		asm volatile("%0 &= 1023" : "+r"(used));
		start = WIRE_PATH_LEN - used;
		buffer->data[start & PATH_MASK] = '/';
		read_kernel(&buffer->data[(start + 1) & PATH_MASK], len, name.name);
		// 1 where the name's first character is a dot, without a branch
		hidden |= ((u32)(buffer->data[(start + 1) & PATH_MASK] ^ '.') - 1) >> 31;
		if (dentry == parent) {
			walk.is_cut = 0;
			break;
		}
		dentry = parent;
	}
	walk.used = used;
	walk.is_hidden = hidden;
	return walk;
}

// Append the walked text to the tail; returns its length.
static __always_inline u32 append_path(struct exec_buffer *buffer, u32 at, u32 used)
{
	u32 start = WIRE_PATH_LEN - used;

	used &= PATH_MASK;
	if (read_kernel(&buffer->tail[at & TAIL_MASK], used, &buffer->path.data[start & PATH_MASK]))
		return 0;
	return used;
}

static __always_inline int starts_with_tmp(struct path_buffer *buffer, u32 start)
{
	char head[8] = {};

	read_kernel(head, sizeof(head), &buffer->data[start & PATH_MASK]);
	return (head[1] == 't' && head[2] == 'm' && head[3] == 'p' && head[4] == '/') ||
	       (head[1] == 'v' && head[5] == 't' && head[6] == 'm' && head[7] == 'p') ||
	       (head[1] == 'd' && head[2] == 'e' && head[3] == 'v' && head[4] == '/');
}

// sched_process_exec rather than the execve syscalls: it fires once for an image that really
// replaced another, after the point of no return.
// void (struct task_struct *p, pid_t old_pid, struct linux_binprm *bprm)
int on_exec(struct bpf_raw_tracepoint_args *ctx)
{
	struct task_struct *task = (struct task_struct *)ctx->args[0];
	struct linux_binprm *bprm = (struct linux_binprm *)ctx->args[2];
	struct task_struct *leader, *parent = NULL;
	const struct cred *cred = NULL;
	struct nsproxy *nsproxy = NULL;
	struct fs_struct *fs = NULL;
	struct super_block *sb = NULL;
	struct mm_struct *mm = NULL;
	struct inode *inode = NULL;
	struct file *file = NULL;
	struct mnt_namespace *mount_ns = NULL;
	struct pid *pid = NULL;
	struct net *net = NULL;
	struct exec_buffer *buffer;
	struct wire_exec *record;
	struct walk walk;
	const char *filename = NULL;
	u64 arg_start = 0, arg_end = 0, magic = 0, flags;
	u32 zero = 0, at = 0, argv_len, urgent, size;
	u16 mode = 0;
	long len;

	buffer = exec_buffers.lookup(&zero);
	if (!buffer)
		return 0;
	record = &buffer->fixed;
	leader = leader_of(task);
	READ(parent, task->real_parent); // the thread that forked, so go on
	parent = leader_of(parent);	 // to the process it belongs to
	READ(file, bprm->file);
	READ(inode, file->f_inode);
	READ(sb, inode->i_sb);

	record->parent_started_ticks = ticks_of(parent);
	record->parent_pid = pid_of(parent);
	record->cgroup_id = bpf_get_current_cgroup_id();
	READ(record->inode, inode->i_ino);
	READ(record->device, sb->s_dev);
	READ(magic, sb->s_magic);
	READ(record->link_count, inode->i_nlink);
	READ(mode, inode->i_mode);
	record->mode = mode;
	READ(record->image_uid, inode->i_uid);
	READ(cred, task->cred);
	READ(record->uid, cred->uid);
	READ(record->gid, cred->gid);
#ifdef HAS_task_struct_loginuid
	READ(record->loginuid, task->loginuid);
#else
	record->loginuid = 0xffffffff;
#endif
	READ(nsproxy, task->nsproxy);
	READ(mount_ns, nsproxy->mnt_ns);
	READ(record->mount_ns, mount_ns->ns.inum);
	READ(net, nsproxy->net_ns);
	READ(record->net_ns, net->ns.inum);
	READ(pid, leader->thread_pid);
	record->pid_ns = 0;
	if (pid) { // its own namespace is that of its deepest number
		struct upid upid = {};
		u32 level = 0;

		READ(level, pid->level);
		read_kernel(&upid, sizeof(upid),
			    (char *)pid + OFFSET_pid_numbers + (level & 31) * sizeof(upid));
		READ(record->pid_ns, upid.ns->ns.inum);
	}
	bpf_get_current_comm(record->comm, sizeof(record->comm));
	record->flags = 0;

	walk = walk_path(&buffer->path, &file->f_path);
	record->image_len = append_path(buffer, at, walk.used);
	at += record->image_len;
	if (walk.is_cut)
		record->flags |= WIRE_EXEC_PATH_CUT;
	// What runs from memory, from a place where anybody may write, or from a hidden one may
	// have to be stopped before it gets far.
	urgent = walk.is_hidden || record->link_count == 0 || magic == TMPFS_MAGIC ||
		 starts_with_tmp(&buffer->path, WIRE_PATH_LEN - walk.used) ||
		 record->comm[0] == '[' || (record->comm[0] == 'k' && record->parent_pid != 2);

	READ(filename, bprm->filename);
	len = read_kernel_str(&buffer->tail[at & TAIL_MASK], WIRE_FILENAME_LEN, filename);
	record->filename_len = len > 0 && len <= WIRE_FILENAME_LEN ? len - 1 : 0;
	at += record->filename_len;

	READ(fs, task->fs);
	walk = walk_path(&buffer->path, &fs->pwd);
	record->cwd_len = append_path(buffer, at, walk.used);
	at += record->cwd_len;

	READ(mm, task->mm);
	READ(arg_start, mm->arg_start);
	READ(arg_end, mm->arg_end);
	argv_len = arg_end - arg_start;
	if (arg_end - arg_start > WIRE_ARGV_LEN) {
		argv_len = WIRE_ARGV_LEN;
		record->flags |= WIRE_EXEC_ARGV_CUT;
	}
	if (argv_len > WIRE_ARGV_LEN ||
	    read_user(&buffer->tail[at & TAIL_MASK], argv_len, (void *)arg_start))
		argv_len = 0;
	record->argv_len = argv_len;
	at += argv_len;

	size = sizeof(*record) + (at & TAIL_MASK);
	fill_header(&record->header, leader, WIRE_EXEC, size);
	flags = ring_flags(WIRE_EXEC, EXECS_A_WAKE, urgent);
	if (execs.ringbuf_output(buffer, size, flags))
		count_drop(WIRE_EXEC);
	return 0;
}

// void (struct task_struct *parent, struct task_struct *child)
int on_fork(struct bpf_raw_tracepoint_args *ctx)
{
	struct task_struct *parent = (struct task_struct *)ctx->args[0];
	struct task_struct *child = (struct task_struct *)ctx->args[1];
	const struct cred *cred = NULL;
	struct wire_fork *record;
	u32 pid = 0, tgid = 0;
	u64 flags;

	READ(pid, child->pid);
	READ(tgid, child->tgid);
	if (pid != tgid)
		return 0; // a thread
	flags = ring_flags(WIRE_FORK, TASKS_A_WAKE, 0);
	record = tasks.ringbuf_reserve(sizeof(*record));
	if (!record) {
		count_drop(WIRE_FORK);
		return 0;
	}
	parent = leader_of(parent);
	fill_header(&record->header, child, WIRE_FORK, sizeof(*record));
	record->parent_started_ticks = ticks_of(parent);
	record->parent_pid = pid_of(parent);
	record->cgroup_id = bpf_get_current_cgroup_id();
	READ(cred, child->cred);
	READ(record->uid, cred->uid);
	read_kernel(record->comm, sizeof(record->comm), child->comm);
	tasks.ringbuf_submit(record, flags);
	return 0;
}

// Fires for each thread; only the last one to go (signal->live is then 0) ends the process.
// void (struct task_struct *p, …)
int on_exit(struct bpf_raw_tracepoint_args *ctx)
{
	struct task_struct *task = (struct task_struct *)ctx->args[0];
	struct signal_struct *signal = NULL;
	struct wire_exit *record;
	u64 runtime = 0, flags;
	u32 live = 0;

	READ(signal, task->signal);
	READ(live, signal->live);
	if (live)
		return 0;
	flags = ring_flags(WIRE_EXIT, TASKS_A_WAKE, 0);
	record = tasks.ringbuf_reserve(sizeof(*record));
	if (!record) {
		count_drop(WIRE_EXIT);
		return 0;
	}
	fill_header(&record->header, leader_of(task), WIRE_EXIT, sizeof(*record));
	READ(record->cpu_ns, signal->sum_sched_runtime);
	READ(runtime, task->se.sum_exec_runtime);
	record->cpu_ns += runtime;
	READ(record->exit_code, task->exit_code);
	record->pad = 0;
	tasks.ringbuf_submit(record, flags);
	return 0;
}

// A process that takes another name without an exec: prctl(PR_SET_NAME) or a write to
// /proc/self/comm. Only the main thread's name is the process's.
// void (struct task_struct *task, const char *comm)
int on_rename(struct bpf_raw_tracepoint_args *ctx)
{
	struct task_struct *task = (struct task_struct *)ctx->args[0];
	const char *comm = (const char *)ctx->args[1];
	struct wire_rename *record;
	u32 pid = 0, tgid = 0;
	char first = 0;
	u64 flags;

	READ(pid, task->pid);
	READ(tgid, task->tgid);
	if (pid != tgid || is_in_execve(task))
		return 0;
	READ(first, comm[0]);
	flags = ring_flags(WIRE_RENAME, TASKS_A_WAKE, first == 'k' || first == '[');
	record = tasks.ringbuf_reserve(sizeof(*record));
	if (!record) {
		count_drop(WIRE_RENAME);
		return 0;
	}
	fill_header(&record->header, task, WIRE_RENAME, sizeof(*record));
	read_kernel(record->old_comm, sizeof(record->old_comm), task->comm);
	read_kernel_str(record->comm, sizeof(record->comm), comm);
	tasks.ringbuf_submit(record, flags);
	return 0;
}
