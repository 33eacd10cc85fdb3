# collect.sh ROOT: removes what measuring left, and what broken transfers did. Versions and runtimes stay.
root=$1
[ -f "$root/.edgekit" ] || exit 0
rm -rf "$root/bench" "$root/incoming" "$root/agent"
