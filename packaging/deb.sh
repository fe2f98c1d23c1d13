#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Builds the Debian package: packaging/deb.sh [DIRECTORY] puts it there, else into dist.
#
# Straight with dpkg-deb, since there is nothing to compile. What the distribution lacks is
# fetched here, when the package is built, so that its installation needs no network.
set -euo pipefail
umask 022

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
out="$(realpath -m "${1:-$root/dist}")"
debian="$root/packaging/debian"
python="$root/.venv/bin/python"
private=usr/lib/firedamp

tree="$(mktemp -d)"
trap 'rm -rf "$tree"' EXIT
# mktemp gives 0700, and the top of the tree becomes / in the package.
chmod 755 "$tree"

SOURCE_DATE_EPOCH="${SOURCE_DATE_EPOCH:-$(dpkg-parsechangelog -l "$debian/changelog" -S Timestamp 2>/dev/null ||
	stat -c %Y "$debian/changelog")}"
export SOURCE_DATE_EPOCH

put() { # MODE FILE DESTINATION
	install -D -m "$1" "$2" "$tree/$3"
}

packed() { # FILE DESTINATION
	mkdir -p "$tree/$(dirname "$2")"
	gzip -9n <"$1" >"$tree/$2"
}

bundle() {
	"$python" -m pip install --quiet --disable-pip-version-check --no-input --no-deps \
		--no-compile --only-binary :all: --target "$tree/$private" \
		--requirement "$debian/bundled.txt"
	rm -rf "${tree:?}/$private/bin"
	# Nothing in there is run as a program.
	find "$tree/$private" -name '*.py' -exec sed -i '1{/^#!/d}' {} +
	find "$tree/$private" -name '*.so*' -type f -exec strip --strip-unneeded {} +
	# Who installed it, and from where, is the builder's business.
	find "$tree/$private" -path '*.dist-info/*' \
		\( -name RECORD -o -name INSTALLER -o -name REQUESTED -o -name direct_url.json \) -delete
}

ours() {
	local page
	tar -C "$root/daemon" --exclude=__pycache__ -c firedamp | tar -C "$tree/$private" -x --no-same-owner
	mkdir -p "$tree/usr/share/firedamp"
	tar -C "$root" -c probes policies | tar -C "$tree/usr/share/firedamp" -x --no-same-owner
	put 755 "$debian/firedamp" usr/bin/firedamp
	put 644 "$root/packaging/systemd/firedamp.service" lib/systemd/system/firedamp.service
	put 644 "$root/packaging/firedamp.yaml" etc/firedamp/firedamp.yaml
	mkdir -p "$tree"/etc/firedamp/{conf.d,filters,indicators,policies}
	for page in "$root"/packaging/man/*.[1-8]; do
		packed "$page" "usr/share/man/man${page##*.}/${page##*/}.gz"
	done
}

documents() {
	local doc=usr/share/doc/firedamp
	put 644 "$debian/copyright" "$doc/copyright"
	put 644 "$root/LICENSES/BSD-2-Clause.txt" "$doc/BSD-2-Clause.txt"
	put 644 "$root/SECURITY.md" "$doc/SECURITY.md"
	packed "$debian/changelog" "$doc/changelog.gz"
	packed "$root/CHANGELOG.md" "$doc/CHANGELOG.md.gz"
}

# The compiled parts of the bundle are for one minor version of Python.
python_range() {
	"$python" -c 'import sys; a, b = sys.version_info[:2]
print(f"python3 (>= {a}.{b}), python3 (<< {a}.{b + 1})")'
}

metadata() {
	local script size
	size="$(du -sk --apparent-size "$tree" | cut -f 1)"
	mkdir "$tree/DEBIAN"
	sed -e "s/@VERSION@/$version/" -e "s/@ARCHITECTURE@/$architecture/" \
		-e "s/@SIZE@/$size/" -e "s/@PYTHON@/$(python_range)/" \
		"$debian/control.in" >"$tree/DEBIAN/control"
	(cd "$tree" && find etc -type f -printf '/%p\n' | sort) >"$tree/DEBIAN/conffiles"
	(cd "$tree" && find . -path ./DEBIAN -prune -o -path ./etc -prune -o -type f -printf '%P\0' |
		sort -z | xargs -0 md5sum) >"$tree/DEBIAN/md5sums"
	for script in postinst prerm postrm; do
		put 755 "$debian/$script" "DEBIAN/$script"
	done
}

version="$("$python" -I -c 'import firedamp; print(firedamp.__version__)')"
architecture="$(dpkg --print-architecture)"
bundle
ours
documents
chmod -R u+rwX,go=rX "$tree"
metadata
find "$tree" -newermt "@$SOURCE_DATE_EPOCH" -exec touch -hcd "@$SOURCE_DATE_EPOCH" {} +
mkdir -p "$out"
dpkg-deb --root-owner-group --build "$tree" "$out/firedamp_${version}_$architecture.deb"
