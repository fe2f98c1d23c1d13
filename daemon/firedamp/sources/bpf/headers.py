# SPDX-License-Identifier: Apache-2.0
"""Writes the small header tree against which bcc compiles our probes.

Only the structures and members that the probes read, at the offsets that the running kernel's
BTF gives: no kernel headers, no bpftool, 0.05 s. A member that a kernel lacks is left out, and
its HAS_struct_member macro with it. bcc's own bundled bpf.h stays in use for helper numbers.
"""

import os
import re
from pathlib import Path

from firedamp.sources.bpf.btf import ENUM, INT, PTR, STRUCT, Btf, Member

BTF_FILE = Path("/sys/kernel/btf/vmlinux")

WANTED: dict[str, tuple[str, ...]] = {
    # Structures embedded by value come before those that embed them.
    "qstr": ("name", "len"),
    "path": ("mnt", "dentry"),
    "ns_common": ("inum",),
    "mnt_namespace": ("ns",),
    "net": ("ns",),
    "pid_namespace": ("ns",),
    "nsproxy": ("mnt_ns", "net_ns"),
    "upid": ("nr", "ns"),
    "pid": ("level", "numbers"),
    "cred": ("uid", "gid"),
    "super_block": ("s_dev", "s_magic"),
    "inode": ("i_ino", "i_nlink", "i_mode", "i_sb", "i_uid"),
    "dentry": ("d_parent", "d_name", "d_inode"),
    "vfsmount": ("mnt_root",),
    "mount": ("mnt_parent", "mnt_mountpoint", "mnt"),
    "file": ("f_path", "f_inode"),
    "fs_struct": ("pwd",),
    "mm_struct": ("arg_start", "arg_end"),
    "linux_binprm": ("filename", "interp", "file"),
    "signal_struct": ("live", "sum_sched_runtime"),
    "sched_entity": ("sum_exec_runtime",),
    "task_struct": (
        "flags",
        "pid",
        "tgid",
        "real_parent",
        "group_leader",
        "thread_pid",
        "mm",
        "fs",
        "nsproxy",
        "cred",
        "signal",
        "se",
        "start_boottime",
        "loginuid",
        "exit_code",
        "comm",
        "in_execve",
    ),
    "sock_common": (
        "skc_dport",
        "skc_family",
        "skc_daddr",
        "skc_v6_daddr",
        "skc_cookie",
    ),
    "sock": ("__sk_common", "sk_protocol"),
}
_TYPES = """#pragma once
typedef unsigned char __u8; typedef signed char __s8;
typedef unsigned short __u16; typedef short __s16;
typedef unsigned int __u32; typedef int __s32;
typedef unsigned long long __u64; typedef long long __s64;
typedef __u8 u8; typedef __s8 s8; typedef __u16 u16; typedef __s16 s16;
typedef __u32 u32; typedef __s32 s32; typedef __u64 u64; typedef __s64 s64;
typedef __u16 __be16, __le16, __sum16; typedef __u32 __be32, __le32, __wsum;
typedef __u64 __be64, __le64;
typedef unsigned long size_t, uintptr_t; typedef long ssize_t; typedef int pid_t;
typedef _Bool bool; typedef unsigned short sa_family_t;
enum { false = 0, true = 1 };
#define __aligned_u64 __u64 __attribute__((aligned(8)))
#define __bitwise
"""
_REGISTERS = """#include <linux/types.h>
struct pt_regs { unsigned long r15, r14, r13, r12, bp, bx, r11, r10, r9, r8, ax, cx, dx, si, di,
	orig_ax, ip, cs, flags, sp, ss; };
struct bpf_perf_event_data { struct pt_regs regs; __u64 sample_period; __u64 addr; };
"""
_KCONFIG = """#pragma once
#define NULL ((void *)0)
#define __user
#define PAGE_SIZE 4096
#define __always_inline inline __attribute__((always_inline))
#define CONFIG_64BIT 1
#define CONFIG_X86_64 1
#define CONFIG_BPF_SYSCALL 1
"""
_EMPTY = (
    "linux/bpf_common.h",
    "uapi/linux/bpf.h",
    "uapi/linux/if_ether.h",
    "uapi/linux/if_packet.h",
    "linux/log2.h",
    "uapi/linux/ptrace.h",
)


def write_tree(root: Path) -> None:
    """Write the tree below `root`, for BCC_KERNEL_SOURCE.

    Raises:
        OSError: the kernel offers no BTF, or `root` cannot be written.
    """
    files = dict.fromkeys(_EMPTY, "")
    files |= {
        "linux/types.h": _TYPES,
        "asm/page.h": _REGISTERS,
        "kernel.h": "#pragma once\n" + structures(Btf(BTF_FILE.read_bytes())),
        "linux/kconfig.h": _KCONFIG,
        "linux/version.h": _version_header(os.uname().release),
    }
    for name, text in files.items():
        path = root / "include" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def structures(btf: Btf) -> str:
    """The wanted structures as C, each member at its place in this kernel."""
    out: list[str] = []
    known: set[str] = set()
    for name, fields in WANTED.items():
        type_id = btf.struct(name)
        if type_id is None:
            out.append(f"struct {name};")
            continue
        members = {m.name: m for m in btf.members(type_id) if m.name in fields}
        out += _macros(name, members)
        out += _declaration(btf, name, type_id, [members[f] for f in fields if f in members], known)
        known.add(name)
    return "\n".join(out) + "\n"


def _macros(struct_name: str, members: dict[str, Member]) -> list[str]:
    lines = []
    for member in members.values():
        symbol = f"{struct_name}_{member.name}"
        lines.append(f"#define HAS_{symbol} 1")
        if member.bit_size:
            lines.append(f"#define BIT_OFFSET_{symbol} {member.bit_offset}")
        else:
            lines.append(f"#define OFFSET_{symbol} {member.bit_offset // 8}")
    return lines


def _declaration(
    btf: Btf, name: str, type_id: int, members: list[Member], known: set[str]
) -> list[str]:
    lines = [f"struct {name} {{ union {{ char __size[{btf.raw(type_id).size}];"]
    for member in members:
        if member.bit_size:
            continue
        offset = member.bit_offset // 8
        pad = f"char __pad_{member.name}[{offset}]; " if offset else ""
        text = _member(btf, member, known)
        lines.append(f"struct {{ {pad}{text}; }} __attribute__((packed));")
    lines.append("}; };")
    return lines


def _member(btf: Btf, member: Member, known: set[str]) -> str:
    target = btf.pointed_struct(member.type_id)
    if target:
        return f"struct {target} *{member.name}"
    type_id = btf.strip(member.type_id)
    raw = btf.raw(type_id)
    name = btf.name(raw.name_offset) if raw.name_offset else ""
    if raw.kind == STRUCT and name in known:
        return f"struct {name} {member.name}"
    size = btf.size(type_id)
    if raw.kind in (INT, ENUM) or (raw.kind == STRUCT and size in (4, 8)):
        return f"__u{size * 8} {member.name}"  # kuid_t, atomic_t, …: a number in a struct
    if raw.kind == PTR:
        return f"void *{member.name}"
    return f"char {member.name}[{size}]"


def _version_header(release: str) -> str:
    numbers = [int(n) for n in re.findall(r"\d+", release)[:3]] + [0, 0, 0]
    code = (numbers[0] << 16) + (numbers[1] << 8) + min(numbers[2], 255)
    return (
        f"#define LINUX_VERSION_CODE {code}\n"
        "#define KERNEL_VERSION(a,b,c) (((a) << 16) + ((b) << 8) + (c))\n"
    )
