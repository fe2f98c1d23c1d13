# SPDX-License-Identifier: Apache-2.0
#
# What a dropper does, without harm: it writes only below the demo's own directory, which stands
# for the host, and the "miner" that it settles is a Python script that wastes a little time.
# Each step waits for its cue, and ends with the demo if none comes.

# 1. Three ways to come back: a cron line, an SSH key, a library preloaded into everything.
read -r _ <cues/persist || exit
echo "* * * * * root $PWD/dropper.sh" >>root/etc/crontab
echo "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA intruder" >>root/root/.ssh/authorized_keys
echo "$PWD/.x/libhide.so" >>root/etc/ld.so.preload

# 2. A miner in a hidden directory.
read -r _ <cues/settle || exit
mkdir .x
cp "$INTERPRETER" .x/worker
cp miner.py .x/config
sh watchdog.sh
