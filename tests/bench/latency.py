# SPDX-License-Identifier: Apache-2.0
"""From a miner's login to its death: how long the daemon takes, end to end.

Each miner is a process of its own that notes the time, says its login to a stub pool, and waits.
The policy kills and does nothing else, so that one address serves for all of them.

Usage: python -m tests.bench.latency [MINERS]    (root)
"""

import statistics
import subprocess
import sys
import time
from pathlib import Path

from firedamp.demo.cell import Deaths
from firedamp.demo.network import POOL
from firedamp.demo.stage import Stage

MINER = """
#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
int main(int argc, char **argv)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(3333) };
	struct timespec now;
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	inet_pton(AF_INET, argv[1], &to.sin_addr);
	if (connect(fd, (struct sockaddr *)&to, sizeof(to)))
		return 1;
	getchar();
	clock_gettime(CLOCK_BOOTTIME, &now);
	printf("%lld\\n", now.tv_sec * 1000000000LL + now.tv_nsec);
	fflush(stdout);
	send(fd, argv[2], strlen(argv[2]), 0);
	sleep(20);
	return 0;
}
"""
LOGIN = (
    '{"id":1,"jsonrpc":"2.0","method":"login","params":{"login":"4'
    + "A" * 94
    + '","pass":"x","agent":"XMRig/6.21.0","algo":["rx/0"]}}\n'
)
POLICY = """
title: Killed for the benchmark
id: 6c1f2d0a-7f0b-4d3c-9a58-2f6b8d3e4c11
status: stable
level: critical
logsource: {product: linux, category: mining_protocol}
detection:
  login: {Protocol: stratum-monero, Method: login}
  condition: login
firedamp:
  response: [kill]
  every: 0s
  tests:
    - name: a login
      events: [{category: mining_protocol, Protocol: stratum-monero, Method: login}]
      expect: {alert: true, response: [kill]}
    - name: no login
      events: [{category: mining_protocol, Protocol: json-rpc, Method: login}]
      expect: {alert: false}
"""


def main() -> int:
    """Print the median and the tail."""
    miners = int(sys.argv[1]) if len(sys.argv) > 1 else 50
    with Stage("firedamp-latency") as stage:
        policies = stage.directory / "policies"
        policies.mkdir()
        (policies / "kill.yml").write_text(POLICY)
        binary = stage.directory / "miner"
        source = stage.directory / "miner.c"
        source.write_text(MINER)
        subprocess.run(["cc", "-O2", "-o", binary, source], check=True)
        watcher = stage.watcher(
            mode="enforce",
            policies={"directories": [str(policies)]},
            response={"breaker": {"max_kills": 100_000}},
        )
        watcher.start()
        times = sorted(_one(stage, binary) for _ in range(miners))
    print(
        f"login to death, {miners} miners: p50 {statistics.median(times):.2f} ms, "
        f"p90 {times[int(len(times) * 0.9)]:.2f} ms, worst {times[-1]:.2f} ms; "
        "target p50 1 ms, p99 5 ms"
    )
    return 0


def _one(stage: Stage, binary: Path) -> float:
    """Milliseconds that one miner lived after it began to say its login."""
    miner = stage.server.run(
        subprocess.Popen,
        stage.cell.command(str(binary), POOL, LOGIN),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    time.sleep(0.05)
    with Deaths(frozenset({miner.pid})) as deaths:
        out, _ = miner.communicate(b"\n", timeout=20)
        deaths.wait(frozenset({miner.pid}), 20)
        return (deaths.at_ns[miner.pid] - int(out)) / 1e6


if __name__ == "__main__":
    sys.exit(main())
