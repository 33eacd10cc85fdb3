# tool.sh ROOT NAME NEW CANDIDATE...: where the program NAME is, what its file begins with, and how fast each core may be.
# A candidate is a path, a word that the PATH knows, or `@brought`: what the host has put into tools/. The first that is
# there is taken. NEW is the folder of tools/ that it was put into just now, if it was; others of that name go.
root=$1
name=$2
new=$3
shift 3
if [ -n "$new" ]; then
    chmod 755 "$root/tools/$new/$name" || exit 1
    for other in "$root"/tools/*; do
        [ "$other" = "$root/tools/$new" ] || [ ! -f "$other/$name" ] || discard "$other"
    done
fi

# place CANDIDATE: its path, nothing if it is not there.
place() {
    case $1 in
        @brought) set -- "$root"/tools/*/"$name" ;;
        */*) ;;
        *) set -- "$(PATH="$PATH:/usr/sbin:/sbin:/usr/src/tensorrt/bin:/system/bin" && command -v "$1")" ;;
    esac
    [ ! -f "$1" ] || printf '%s\n' "$1"
}

for candidate; do
    path=$(place "$candidate")
    [ -n "$path" ] || continue
    answer path "$path"
    [ ! -x "$path" ] || answer runs yes
    answer header "$(dd if="$path" bs=20 count=1 2>/dev/null | od -An -v -tx1 | tr -d ' \n')"
    answer sum "$(hash_of "$path")"
    break
done
! command -v taskset >/dev/null 2>&1 || answer taskset yes
for limit in /sys/devices/system/cpu/cpu[0-9]*/cpufreq/cpuinfo_max_freq; do
    [ ! -r "$limit" ] || answer core "${limit#/sys/devices/system/cpu/cpu} $(cat "$limit")"
done
