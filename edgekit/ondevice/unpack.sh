# unpack.sh ROOT NAME ID < ARCHIVE: the gzipped tar becomes the folder site/NAME; what was there is replaced.
root=$1
part=$root/incoming/$3.$$
claim "$root"
trap 'rm -rf "$part" "$part.gz"' EXIT
trap 'exit 1' HUP INT TERM
mkdir -p "$root/site" "$root/incoming" "$part" || exit 1
cat > "$part.gz" || exit 1
[ "$(hash_of "$part.gz")" = "$3" ] || fail "what arrived is not what was sent (sha256)"
gzip -dc < "$part.gz" | tar -xf - -C "$part" || fail "the archive cannot be unpacked"
printf '%s\n' "$3" > "$part/.id" || exit 1
sync
discard "$root/site/$2" || exit 1
mv -T "$part" "$root/site/$2" || exit 1
flush "$root/site"
