// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// What every hook uses and bcc would not rewrite in a header; comes first in the main text.

#include "emit.h"

static __always_inline void count_drop(u32 kind)
{
	u64 *count = dropped.lookup(&kind);

	if (count)
		__sync_fetch_and_add(count, 1);
}

// Count a record, and say how it is to be submitted.
static __always_inline u64 ring_flags(u32 kind, u64 records_a_wake, int urgent)
{
	u64 *count = made.lookup(&kind);

	if (!count)
		return RB_FORCE_WAKEUP;
	*count += 1;
	return urgent || (*count & (records_a_wake - 1)) == 0 ? RB_FORCE_WAKEUP : RB_NO_WAKEUP;
}
