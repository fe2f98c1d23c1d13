#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Prepares this machine for a source checkout: the system packages that are missing,
# and a virtual environment in .venv. Safe to repeat; does nothing when nothing is to do.
#
#   packaging/setup.sh run     what the daemon needs
#   packaging/setup.sh test    the same, and what the checks and tests need
#
# The environment is made by the distribution's own Python and sees its packages,
# because bcc exists only there: the package of that name on PyPI is another one.
set -euo pipefail

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
venv="$root/.venv"
python=/usr/bin/python3
oldest_python=3.11

packages_run=(ca-certificates iproute2 nftables python3 python3-bpfcc python3-systemd python3-venv)
# gcc: tests compile tiny programs; systemd: journald, run by itself; e2fsprogs: chattr;
# procps: the kill that the unit names.
packages_test=(e2fsprogs gcc libc6-dev procps systemd util-linux)

die() {
	printf 'setup: %s\n' "$*" >&2
	exit 1
}

missing_packages() {
	local package status
	for package in "$@"; do
		status="$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)"
		[[ $status == installed ]] || printf '%s\n' "$package"
	done
}

install_packages() {
	local missing
	command -v dpkg-query >/dev/null ||
		die "this is not Debian or Ubuntu; install by hand what stands for: $*"
	mapfile -t missing < <(missing_packages "$@")
	((${#missing[@]})) || return 0
	((EUID == 0)) || die "missing: ${missing[*]}
setup: only root can install them. Run this again as root, or first: apt-get install ${missing[*]}"
	printf 'setup: installing %s\n' "${missing[*]}"
	export DEBIAN_FRONTEND=noninteractive
	apt-get update -q </dev/null 9<&-
	apt-get install -q -y --no-install-recommends "${missing[@]}" </dev/null 9<&-
}

require_python() {
	"$python" -c "import sys; sys.exit(sys.version_info < (${oldest_python/./, }))" ||
		die "$("$python" --version) is too old: $oldest_python is the oldest that works"
}

# Everything that, when it changes, makes an existing environment wrong.
fingerprint() {
	{
		cat "$root/pyproject.toml" "${BASH_SOURCE[0]}"
		printf '%s\n' "$venv"
		readlink -f "$python"
	} | sha256sum | cut -d ' ' -f 1
}

is_current() {
	local stamp="$venv/.ready-$1"
	[[ -x $venv/bin/python && -f $stamp && $(<"$stamp") == "$2" ]]
}

make_environment() {
	local kind=$1 print=$2 extra=""
	# The stamps go first, so that an interrupted run is never taken for a finished one.
	rm -f "$venv"/.ready-*
	# --clear only for another Python: an environment in use should survive a change of settings.
	if [[ ! -x $venv/bin/pip || $(readlink -f "$venv/bin/python") != "$(readlink -f "$python")" ]]; then
		printf 'setup: making %s\n' "$venv"
		"$python" -m venv --system-site-packages --clear "$venv"
	fi
	[[ $kind == test ]] && extra="[dev]"
	printf 'setup: installing Python packages\n'
	"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-input \
		--editable "$root$extra" </dev/null
	printf '%s\n' "$print" >"$venv/.ready-run"
	[[ $kind == run ]] || printf '%s\n' "$print" >"$venv/.ready-test"
}

main() {
	local kind=${1:-} print
	case $kind in
	run) install_packages "${packages_run[@]}" ;;
	test) install_packages "${packages_run[@]}" "${packages_test[@]}" ;;
	*) die "say what for: run or test" ;;
	esac
	require_python
	print="$(fingerprint)"
	is_current "$kind" "$print" || make_environment "$kind" "$print"
}

# Two at a time would install into each other's environment.
exec 9<"$root"
flock 9
main "$@"
