# purge.sh ROOT: removes all that edgekit has on this device; its mark goes last, so that a broken purge can be run again.
[ -e "$1" ] || exit 0
[ -f "$1/.edgekit" ] || fail "$1 is not edgekit's: it is left as it is"
ls -A "$1" | while IFS= read -r entry; do
    [ "$entry" = .edgekit ] || rm -rf "${1:?}/$entry" || exit 1
done || exit 1
rm -f "$1/.edgekit" && rmdir "$1" || fail "$1 cannot be removed"
