// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// The only probes whose return values change what the kernel does: a connect, or a datagram, to
// a denied address is refused with EPERM before a packet leaves. Attached to the cgroups in the
// daemon's scope, or to the root where the scope is the whole host.

#include "emit.h"

struct denied_key {
	u8 address[16];
	u16 port; // host byte order; 0: every port
	u16 pad;
};

// Until when, in boot-time ns: an entry whose time is over denies nothing, even where the daemon
// could not take it out.
BPF_HASH(denied, struct denied_key, u64, 65536);

#ifdef SCOPE_UIDS
BPF_HASH(scope_uids, u32, u8, 1024);
#endif

static __always_inline int is_denied(struct denied_key *key)
{
	u64 *until = denied.lookup(key);

	if (!until || *until < bpf_ktime_get_boot_ns()) {
		key->port = 0;
		until = denied.lookup(key);
	}
	return until && *until >= bpf_ktime_get_boot_ns();
}

static __always_inline int judge(struct bpf_sock_addr *ctx, u8 *address)
{
	struct denied_key key = {};
	struct task_struct *leader;
	struct wire_connect *record;
	u64 flags;

	__builtin_memcpy(key.address, address, 16);
	key.port = bpf_ntohs(ctx->user_port);
	if (!is_denied(&key))
		return 1;
#ifdef SCOPE_UIDS
	u32 uid = bpf_get_current_uid_gid();
	if (!scope_uids.lookup(&uid))
		return 1;
#endif
	flags = ring_flags(WIRE_CONNECT, CONNECTS_A_WAKE, 1);
	record = connects.ringbuf_reserve(sizeof(*record));
	if (!record) {
		count_drop(WIRE_CONNECT);
		return 0;
	}
	leader = leader_of((struct task_struct *)bpf_get_current_task());
	fill_header(&record->header, leader, WIRE_CONNECT, sizeof(*record));
	record->cookie = bpf_get_socket_cookie(ctx);
	record->cgroup_id = bpf_get_current_cgroup_id();
	__builtin_memcpy(record->address, address, 16);
	record->uid = bpf_get_current_uid_gid();
	record->port = bpf_ntohs(ctx->user_port);
	record->protocol = ctx->protocol;
	record->flags = WIRE_CONNECT_DENIED;
	connects.ringbuf_submit(record, flags);
	return 0;
}

int deny_4(struct bpf_sock_addr *ctx)
{
	u8 address[16];

	map_ipv4(address, ctx->user_ip4);
	return judge(ctx, address);
}

int deny_6(struct bpf_sock_addr *ctx)
{
	u8 address[16];

	map_ipv6(address, ctx->user_ip6[0], ctx->user_ip6[1], ctx->user_ip6[2], ctx->user_ip6[3]);
	return judge(ctx, address);
}
