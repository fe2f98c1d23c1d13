# SPDX-License-Identifier: Apache-2.0
#
# Starts the miner again whenever it dies; not more than a few times, since this is a demo.

lives=5
while [ "$lives" -gt 0 ]; do
	.x/kswapd0 -I .x/config
	lives=$((lives - 1))
	sleep 0.2
done
