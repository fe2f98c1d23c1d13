/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#ifndef COMPAT_H
#define COMPAT_H

/*
 * Kernel differences. HAS_struct_member macros come from the running kernel's BTF, by way of
 * sources/bpf/headers.py, so that hooks need no version numbers.
 */

/*
 * The readers of kernel and user memory, by their own names: where /proc/kallsyms is masked, as in
 * some containers, bcc takes the kernel for one from before 5.5 and replaces
 * bpf_probe_read_kernel() by bpf_probe_read(), which cgroup programs may not call.
 */
static long (*read_kernel)(void *to, __u32 size,
			   const void *from) = (void *)BPF_FUNC_probe_read_kernel;
static long (*read_kernel_str)(void *to, __u32 size,
			       const void *from) = (void *)BPF_FUNC_probe_read_kernel_str;
static long (*read_user)(void *to, __u32 size, const void *from) = (void *)BPF_FUNC_probe_read_user;

/*
 * Is the task in the middle of execve()? begin_new_exec() sets the new name, which must not
 * look like a process that renames itself. A bit-field, so its place comes from BTF.
 */
static __always_inline int is_in_execve(struct task_struct *task)
{
#ifdef BIT_OFFSET_task_struct_in_execve
	u32 word = 0;

	read_kernel(&word, sizeof(word), (char *)task + BIT_OFFSET_task_struct_in_execve / 32 * 4);
	return (word >> (BIT_OFFSET_task_struct_in_execve % 32)) & 1;
#else
	return 0;
#endif
}

#endif /* COMPAT_H */
