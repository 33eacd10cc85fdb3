# engine.sh ROOT PLACE KEY [KEEP]: the engine KEY of this device's TensorRT (its PLACE), or where to build it.
#   engines/PLACE/KEY.engine     the engines that were used last
#   engines/PLACE/timing.cache   what the builder has timed: like layers are not timed again
# It is built in incoming/, with a copy of the cache. With KEEP what was built there takes its place, whole or not at all,
# and KEEP engines stay; those of a TensorRT that is no longer there go.
root=$1
place=$root/engines/$2
engine=$place/$3.engine
part=$root/incoming/$3.engine
claim "$root"
mkdir -p "$place" "$root/incoming" || exit 1
if [ -n "${4-}" ]; then
    [ -s "$part" ] || fail "trtexec wrote no engine"
    flush "$part"
    mv -f "$part" "$engine" || exit 1
    [ ! -s "$part.cache" ] || mv -f "$part.cache" "$place/timing.cache"
    flush "$place"
    for other in "$root"/engines/*; do
        [ "$other" = "$place" ] || discard "$other"
    done
    count=0
    for name in $(ls -t "$place"); do # the names are hexadecimal
        case $name in *.engine) count=$((count + 1)) ;; esac
        [ "$count" -le "$4" ] || rm -f "$place/$name"
    done
fi
if [ -s "$engine" ]; then
    touch "$engine"
    answer engine "engines/$2/$3.engine"
    answer header "$(dd if="$engine" bs=28 count=1 2>/dev/null | od -An -v -tx1 | tr -d ' \n')"
    answer size "$(wc -c < "$engine")"
else
    rm -f "$part" "$part.cache"
    [ ! -s "$place/timing.cache" ] || cp "$place/timing.cache" "$part.cache" || exit 1
    answer engine ""
fi
