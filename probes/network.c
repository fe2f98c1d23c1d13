// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// Network probes: who connects where, the first bytes that are said and heard, and DNS.
//
// cgroup hooks at the root of cgroup v2 rather than system calls: they see the kernel's own
// copy of the address, on every way to connect (io_uring and TCP Fast Open too), and the
// socket's cookie, by which packets find their owner later.

#include "emit.h"

#define AF_INET 2
#define AF_INET6 10
#define PROTO_TCP 6
#define PROTO_UDP 17
#define DNS_PORT 53
#define LOOKED_AT 4	// segments a direction in which a protocol may begin
#define COPIED 16	// segments a direction that are copied once one has begun

struct owner {
	u64 started_ticks;
	u64 cgroup_id;
	u32 pid;
	u8 looked_at[2]; // by direction
	u8 copied[2];
	u8 is_interesting;
	u8 pad[7];
};

// By socket cookie. Whoever opens more sockets than this loses the oldest of the host's, and so
// it is sized for a busy proxy: 64 Ki × 40 bytes.
BPF_TABLE("lru_hash", u64, struct owner, owners, 65536);

struct destination {
	u64 cookie;
	u8 address[16];
	u32 port;
	u32 pad;
};

// Unconnected datagram sockets are told of once for each address, not for each datagram.
BPF_TABLE("lru_hash", struct destination, u8, destinations, 16384);

struct asked {
	u64 started_ticks;
	u32 pid;
	u32 port; // and protocol << 16
	u8 address[16];
};

// When a process was last told to have asked for an address and port. A client of a busy back end
// connects thousands of times a second: once a second says as much, and leaves room for others.
BPF_TABLE("lru_hash", struct asked, u64, lately, 16384);

#define TOLD_ONCE_NS 1000000000ULL

struct payload_buffer {
	struct wire_payload fixed;
	char data[WIRE_DATA_LEN];
};

BPF_PERCPU_ARRAY(payload_buffers, struct payload_buffer, 1);

static __always_inline void map_ipv4(u8 *address, u32 ipv4)
{
	__builtin_memset(address, 0, 10);
	address[10] = 0xff;
	address[11] = 0xff;
	__builtin_memcpy(address + 12, &ipv4, 4);
}

static __always_inline void map_ipv6(u8 *address, u32 a, u32 b, u32 c, u32 d)
{
	u32 words[4] = {a, b, c, d};

	__builtin_memcpy(address, words, 16);
}

static __always_inline int tell_connect(struct bpf_sock_addr *ctx, u8 *address)
{
	struct task_struct *leader = leader_of((struct task_struct *)bpf_get_current_task());
	u64 cookie = bpf_get_socket_cookie(ctx);
	struct wire_connect *record;
	struct owner owner = {};
	struct asked asked = {};
	u64 flags, now_ns, *told_ns;

	owner.started_ticks = ticks_of(leader);
	owner.cgroup_id = bpf_get_current_cgroup_id();
	owner.pid = pid_of(leader);
	owners.update(&cookie, &owner);

	asked.started_ticks = owner.started_ticks;
	asked.pid = owner.pid;
	asked.port = (u16)ctx->user_port | ctx->protocol << 16;
	__builtin_memcpy(asked.address, address, 16);
	now_ns = bpf_ktime_get_boot_ns();
	told_ns = lately.lookup(&asked);
	if (told_ns && now_ns - *told_ns < TOLD_ONCE_NS)
		return 1;
	lately.update(&asked, &now_ns);

	flags = ring_flags(WIRE_CONNECT, CONNECTS_A_WAKE, 0);
	record = connects.ringbuf_reserve(sizeof(*record));
	if (!record) {
		count_drop(WIRE_CONNECT);
		return 1;
	}
	fill_header(&record->header, leader, WIRE_CONNECT, sizeof(*record));
	record->cookie = cookie;
	record->cgroup_id = owner.cgroup_id;
	__builtin_memcpy(record->address, address, 16);
	record->uid = bpf_get_current_uid_gid();
	record->port = bpf_ntohs(ctx->user_port);
	record->protocol = ctx->protocol;
	record->flags = 0;
	connects.ringbuf_submit(record, flags);
	return 1;
}

static __always_inline int tell_datagram(struct bpf_sock_addr *ctx, u8 *address)
{
	struct destination destination = {};
	u8 one = 1;

	destination.cookie = bpf_get_socket_cookie(ctx);
	__builtin_memcpy(destination.address, address, 16);
	destination.port = ctx->user_port;
	if (destinations.lookup(&destination))
		return 1;
	destinations.update(&destination, &one);
	return tell_connect(ctx, address);
}

int on_connect4(struct bpf_sock_addr *ctx)
{
	u8 address[16];

	map_ipv4(address, ctx->user_ip4);
	return tell_connect(ctx, address);
}

int on_connect6(struct bpf_sock_addr *ctx)
{
	u8 address[16];

	map_ipv6(address, ctx->user_ip6[0], ctx->user_ip6[1], ctx->user_ip6[2], ctx->user_ip6[3]);
	return tell_connect(ctx, address);
}

int on_sendmsg4(struct bpf_sock_addr *ctx)
{
	u8 address[16];

	map_ipv4(address, ctx->user_ip4);
	return tell_datagram(ctx, address);
}

int on_sendmsg6(struct bpf_sock_addr *ctx)
{
	u8 address[16];

	map_ipv6(address, ctx->user_ip6[0], ctx->user_ip6[1], ctx->user_ip6[2], ctx->user_ip6[3]);
	return tell_datagram(ctx, address);
}

// Where there is no cgroup v2: the moment a TCP socket leaves CLOSE for SYN_SENT, still in the
// task that connects. Sees no UDP, and gives packets no owner.
// void (const struct sock *sk, const int oldstate, const int newstate)
int on_sock_state(struct bpf_raw_tracepoint_args *ctx)
{
	struct sock *sk = (struct sock *)ctx->args[0];
	struct wire_connect *record;
	u16 family = 0, port = 0;
	u32 ipv4 = 0;
	u64 flags;

	if (ctx->args[2] != 2) // TCP_SYN_SENT
		return 0;
	READ(family, sk->__sk_common.skc_family);
	if (family != AF_INET && family != AF_INET6)
		return 0;
	flags = ring_flags(WIRE_CONNECT, CONNECTS_A_WAKE, 0);
	record = connects.ringbuf_reserve(sizeof(*record));
	if (!record) {
		count_drop(WIRE_CONNECT);
		return 0;
	}
	fill_header(&record->header, leader_of((struct task_struct *)bpf_get_current_task()),
		    WIRE_CONNECT, sizeof(*record));
	record->cookie = 0;
	READ(record->cookie, sk->__sk_common.skc_cookie);
	record->cgroup_id = bpf_get_current_cgroup_id();
	if (family == AF_INET) {
		READ(ipv4, sk->__sk_common.skc_daddr);
		map_ipv4(record->address, ipv4);
	} else {
		READ(record->address, sk->__sk_common.skc_v6_daddr);
	}
	READ(port, sk->__sk_common.skc_dport);
	record->uid = bpf_get_current_uid_gid();
	record->port = bpf_ntohs(port);
	record->protocol = PROTO_TCP;
	record->flags = 0;
	connects.ringbuf_submit(record, flags);
	return 0;
}

struct segment {
	u32 data_at; // offset of the payload in the packet
	u32 length;  // of the payload
	u32 sequence;
	u16 remote_port;
	u8 protocol;
	u8 address[16];
};

// Find the payload; 0 where there is none, or the packet is neither TCP nor UDP. The headers lie
// in order from the network layer on: a cgroup skb program sees no link layer.
static __always_inline int find_payload(struct __sk_buff *skb, u32 direction, struct segment *out)
{
	u8 version = 0, protocol = 0, doff = 0;
	u32 at, ipv4 = 0, remote_at;

	if (bpf_skb_load_bytes(skb, 0, &version, 1))
		return 0;
	if (version >> 4 == 4) {
		at = (version & 15) * 4;
		bpf_skb_load_bytes(skb, 9, &protocol, 1);
		bpf_skb_load_bytes(skb, direction == WIRE_OUT ? 16 : 12, &ipv4, 4);
		map_ipv4(out->address, ipv4);
	} else {
		at = 40; // extension headers are not walked: TCP and UDP carry none as a rule
		bpf_skb_load_bytes(skb, 6, &protocol, 1);
		bpf_skb_load_bytes(skb, direction == WIRE_OUT ? 24 : 8, out->address, 16);
	}
	remote_at = direction == WIRE_OUT ? 2 : 0;
	out->protocol = protocol;
	out->sequence = 0;
	if (bpf_skb_load_bytes(skb, at + remote_at, &out->remote_port, 2))
		return 0;
	out->remote_port = bpf_ntohs(out->remote_port);
	if (protocol == PROTO_TCP) {
		bpf_skb_load_bytes(skb, at + 12, &doff, 1);
		bpf_skb_load_bytes(skb, at + 4, &out->sequence, 4);
		out->sequence = bpf_ntohl(out->sequence);
		out->data_at = at + (doff >> 4) * 4;
	} else if (protocol == PROTO_UDP) {
		out->data_at = at + 8;
	} else {
		return 0;
	}
	if (skb->len <= out->data_at)
		return 0;
	out->length = skb->len - out->data_at;
	return 1;
}

// Does the text begin like a protocol we parse: JSON (white space before it allowed), or an HTTP
// request that posts?
static __always_inline int looks_interesting(struct __sk_buff *skb, struct segment *segment)
{
	char head[8] = {};

	if (segment->length < 8) {
		bpf_skb_load_bytes(skb, segment->data_at, head, 1);
		return head[0] == '{' || head[0] == '[';
	}
	if (bpf_skb_load_bytes(skb, segment->data_at, head, sizeof(head)))
		return 0;
	if (head[0] == 'P' && head[1] == 'O' && head[2] == 'S' && head[3] == 'T')
		return 1;
#pragma unroll
	for (int i = 0; i < 8; i++) {
		if (head[i] == '{' || head[i] == '[')
			return 1;
		if (head[i] != ' ' && head[i] != '\t' && head[i] != '\r' && head[i] != '\n')
			return 0;
	}
	return 1; // nothing but white space yet
}

static __always_inline u32 fill_payload(struct payload_buffer *buffer, struct __sk_buff *skb,
					struct segment *segment, struct owner *owner, u64 cookie,
					u32 direction, u16 kind)
{
	struct wire_payload *record = &buffer->fixed;
	u32 len = segment->length;

	if (len > WIRE_DATA_LEN)
		len = WIRE_DATA_LEN;
	if (len == 0)
		return 0;
	if (bpf_skb_load_bytes(skb, segment->data_at, buffer->data, len))
		return 0;
	record->header.at_ns = bpf_ktime_get_boot_ns();
	record->header.started_ticks = owner ? owner->started_ticks : 0;
	record->header.pid = owner ? owner->pid : 0;
	record->header.kind = kind;
	record->header.size = sizeof(*record) + len;
	record->cookie = cookie;
	__builtin_memcpy(record->address, segment->address, 16);
	record->sequence = segment->sequence;
	record->length = segment->length;
	record->port = segment->remote_port;
	record->data_len = len;
	record->protocol = segment->protocol;
	record->direction = direction;
	record->pad = 0;
	return sizeof(*record) + len;
}

static __always_inline int look_at(struct __sk_buff *skb, u32 direction)
{
	u64 cookie = bpf_get_socket_cookie(skb), flags;
	struct owner *owner = owners.lookup(&cookie);
	struct payload_buffer *buffer;
	struct segment segment = {};
	u32 zero = 0, size, urgent;

	if (owner && owner->looked_at[direction] >= LOOKED_AT && !owner->is_interesting)
		return 1;
	if (owner && owner->copied[direction] >= COPIED)
		return 1;
	if (!find_payload(skb, direction, &segment))
		return 1;
	buffer = payload_buffers.lookup(&zero);
	if (!buffer)
		return 1;
	if (segment.protocol == PROTO_UDP) {
		if (segment.remote_port != DNS_PORT)
			return 1;
		size = fill_payload(buffer, skb, &segment, owner, cookie, direction, WIRE_DNS);
		if (size == 0 || size > sizeof(*buffer))
			return 1;
		flags = ring_flags(WIRE_DNS, DNS_A_WAKE, 0);
		if (dns.ringbuf_output(buffer, size, flags))
			count_drop(WIRE_DNS);
		return 1;
	}
	if (!owner)
		return 1;
	owner->looked_at[direction]++;
	urgent = 0;
	if (!owner->is_interesting) {
		if (!looks_interesting(skb, &segment))
			return 1;
		owner->is_interesting = 1;
		urgent = 1;
	}
	// The client's first words are what may have to be answered at once.
	urgent |= direction == WIRE_OUT && owner->copied[WIRE_OUT] < 2;
	owner->copied[direction]++;
	size = fill_payload(buffer, skb, &segment, owner, cookie, direction, WIRE_PAYLOAD);
	if (size == 0 || size > sizeof(*buffer))
		return 1;
	flags = ring_flags(WIRE_PAYLOAD, PAYLOADS_A_WAKE, urgent);
	if (payloads.ringbuf_output(buffer, size, flags))
		count_drop(WIRE_PAYLOAD);
	return 1;
}

int on_egress(struct __sk_buff *skb)
{
	return look_at(skb, WIRE_OUT);
}

int on_ingress(struct __sk_buff *skb)
{
	return look_at(skb, WIRE_IN);
}
