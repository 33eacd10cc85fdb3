#!/bin/sh
# Makes sure that the programs the tests run are there; with the word `slow`, those of the slow tests as well.
# Installs them when root on Debian; names them otherwise.
set -u
missing=""
need() {
    command -v "$1" >/dev/null 2>&1 || [ -x "/usr/sbin/$1" ] || missing="$missing $2"
}
need sshd openssh-server
need ssh openssh-client
need busybox busybox
need toybox toybox
need dropbear dropbear-bin
need adb adb
need ip iproute2
need iptables iptables
# The report is looked at in a browser. Elsewhere than on Debian the package may be no program, and the test skips.
grep -qs '^ID=debian' /etc/os-release && need chromium chromium
if [ "${1:-}" = slow ]; then
    need qemu-aarch64-static qemu-user-static
    need mmdebstrap mmdebstrap
    need arch-test arch-test
    need qemu-system-aarch64 qemu-system-arm
    need qemu-img qemu-utils
    need mke2fs e2fsprogs
    need cpio cpio
    need unshare util-linux
fi
[ -z "$missing" ] && exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    echo "installing for the tests:$missing"
    export DEBIAN_FRONTEND=noninteractive
    apt-get -o DPkg::Lock::Timeout=300 -qq update >/dev/null
    # $missing is words on purpose.
    # shellcheck disable=SC2086
    apt-get -o DPkg::Lock::Timeout=300 -qq install -y --no-install-recommends $missing >/dev/null && exit 0
fi
echo "tests: these programs are missing:$missing. Install them (on Debian: apt-get install$missing) and run again." >&2
exit 1
