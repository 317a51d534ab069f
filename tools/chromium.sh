#!/bin/sh
# Chromium for the browser tests, from the system's packages.
#
#   sh tools/chromium.sh
#
# Installs it as root, or by sudo where that asks for no password; otherwise says what will be skipped. It never asks,
# takes at most 3 * MOST_S seconds without a network, and ends well either way, for the other tests need no browser.

most_s=${MOST_S:-120}
export DEBIAN_FRONTEND=noninteractive

skip() {
	cat >&2 <<END
================================================================================
SKIPPED: the browser tests of the page, the service, the quiz and the reports.
No Chromium: $1.
Install chromium or google-chrome, and run make test again.
================================================================================
END
	exit 0
}

runs() {
	for name in chromium google-chrome; do
		command -v "$name" >/dev/null && timeout 30 "$name" --version </dev/null >/dev/null 2>&1 && return 0
	done
	return 1
}

apt() {
	$as_root timeout -k 5 "$most_s" apt-get -qq -y --no-install-recommends -o Acquire::Retries=0 \
		-o Acquire::http::Timeout=15 -o Acquire::https::Timeout=15 -o DPkg::Lock::Timeout=30 "$@" </dev/null >&2
}

# Without timeout, as on macOS, there is no apt-get either.
if command -v chromium >/dev/null || command -v google-chrome >/dev/null; then
	command -v timeout >/dev/null || exit 0
	runs && exit 0
	skip "the one on the PATH does not run"
fi
command -v apt-get >/dev/null || skip "there is none on the PATH, and no apt-get to install it"
if [ "$(id -u)" = 0 ]; then
	as_root=
elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
	as_root="sudo -n --preserve-env=DEBIAN_FRONTEND"
else
	skip "installing it needs root, and sudo would ask for a password"
fi
echo "installing chromium from the system's packages, for the browser tests (make test CHROMIUM= does not)" >&2
apt install chromium || { apt update && apt install chromium; } || skip "apt-get cannot install the package chromium"
runs || skip "what apt-get installed does not run"
