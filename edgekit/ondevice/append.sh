# append.sh ROOT ID PART SIZE < BYTES: more of a piece of parcel ID, of which SIZE bytes are here; 0 begins it anew.
root=$1
parts=$root/incoming/$2.parts
claim "$root"
mkdir -p "$parts" || exit 1
if [ "$4" = 0 ]; then
    : > "$parts/$3" || exit 1
fi
[ "$(wc -c < "$parts/$3" | tr -d ' ')" = "$4" ] || fail "another host sends the same files"
# What fills a disk does not stay on it. A link that is cut is an end of the input, and what came before it stays.
cat >> "$parts/$3" || {
    rm -rf "$parts"
    exit 1
}
