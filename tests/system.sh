#!/bin/sh
# Makes sure that the programs the tests run are there. Installs them when root on Debian; names them otherwise.
set -u
missing=""
[ -x /usr/sbin/sshd ] || missing="$missing openssh-server"
command -v ssh-keygen >/dev/null 2>&1 || missing="$missing openssh-client"
command -v busybox >/dev/null 2>&1 || missing="$missing busybox"
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
