# receive.sh ROOT KIND ID PYTHON < TAR: the folder KIND/ID, whole and on the disk, or nothing of it.
# The archive has the manifest and the small files. Its .plan says how the others come to be, from pieces that `append` has
# taken in and from files that are here: lines `piece NAME` and `base PATH`, then what is made of them:
#   join PATH            the pieces, one after the other
#   patch PATH           .patch.py applies them to the base
#   build RECIPE PATH    blocks of the base and of the pieces, in the order of RECIPE: lines `base|sent FIRST COUNT`
root=$1
folder=$root/$2/$3
part=$root/incoming/$3.$$
parts=$root/incoming/$3.parts

# pieces TARGET: those of the plan, as one file.
pieces() {
    # Their names hold neither spaces nor globs.
    # shellcheck disable=SC2086
    case $pieces in
        *' '*' '*) (cd "$parts" && cat $pieces) > "$1" ;;
        *) mv "$parts/${pieces# }" "$1" ;;
    esac
}

blocks() {
    while IFS=' ' read -r from first count; do
        case $from in
            base) from=$root/$base ;;
            sent) from=$part/.sent ;;
            *) return 1 ;;
        esac
        dd if="$from" bs=65536 skip="$first" count="$count" 2>/dev/null || return 1
    done
}

make() {
    pieces=
    base=
    while IFS=' ' read -r verb rest; do
        target=$part/$rest
        case $verb in
            piece) pieces="$pieces $rest" && continue ;;
            base) base=$rest && continue ;;
            build) target=$part/${rest#* } ;;
        esac
        mkdir -p "$(dirname "$target")" || return 1
        case $verb in
            join) pieces "$target" ;;
            patch) pieces "$part/.sent" && "$1" -B "$part/.patch.py" "$root/$base" "$part/.sent" "$target" ;;
            build) pieces "$part/.sent" && blocks < "$part/${rest%% *}" > "$target" ;;
            *) return 1 ;;
        esac || return 1
        pieces=
    done < "$part/.plan"
    rm -f "$part/.plan" "$part/.patch.py" "$part/.sent" "$part"/.recipe*
}

claim "$root"
trap 'rm -rf "$part"' EXIT
trap 'exit 1' HUP INT TERM
mkdir -p "$root/$2" "$root/incoming" "$part" || exit 1
tar -xf - -C "$part" || fail "the archive cannot be unpacked"
make "$4" || fail "what was sent cannot be put together"
flush_tree "$part" & # the disk writes while the processor reads
if ! whole "$part" "$3"; then
    wait
    rm -rf "$parts"
    fail "what arrived is not what was sent (sha256)"
fi
wait
discard "$folder" || exit 1
mv -T "$part" "$folder" || exit 1
flush "$root/$2"
rm -rf "$parts"
