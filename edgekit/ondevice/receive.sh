# receive.sh ROOT KIND ID < TAR: the archive as folder KIND/ID, whole and on the disk, or nothing of it.
root=$1
folder=$root/$2/$3
part=$root/incoming/$3.$$
claim "$root"
trap 'rm -rf "$part"' EXIT
trap 'exit 1' HUP INT TERM
mkdir -p "$root/$2" "$root/incoming" "$part" || exit 1
tar -xf - -C "$part" || fail "the archive cannot be unpacked"
whole "$part" "$3" || fail "what arrived is not what was sent (sha256)"
flush_tree "$part"
discard "$folder" || exit 1
mv -T "$part" "$folder" || exit 1
flush "$root/$2"
