# drop.sh ROOT ID…: removes these candidates.
root=$1
shift
for id; do
    case $id in '' | *[!0-9a-f]*) fail "no candidate: $id" ;; esac
    discard "$root/bench/$id"
done
