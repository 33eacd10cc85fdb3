# receive.sh ROOT ID PART THERE < BYTES: more of a piece of parcel ID, of which THERE bytes are here; 0 begins it anew.
# receive.sh ROOT ID PART THERE SIZE KIND PYTHON PLAN MANIFEST [TAKE] < BYTES: the last of them, of SIZE bytes when it is here.
# Of all pieces the folder KIND/ID is made, whole and on the disk, or nothing of it. Where PART is empty they are here already,
# and with an empty PLAN too it is what is sent. PART is a whole file if there is a TAKE, a program of PYTHON's that takes it in.
# The lines of the plan are `piece NAME` and `base PATH`, then what is made of them:
#   unpack               the pieces are a tar: the small files, and whatever these need:
#   join PATH            the pieces, one after the other
#   patch SENT PATH      .patch.py applies SENT to the base, and says the sha256 of what it made
#   build RECIPE SENT PATH  blocks of the base and of SENT, in the order of RECIPE: lines `base|sent FIRST COUNT`
root=$1
folder=$root/${6-}/$2
part=$root/incoming/$2.$$
parts=$root/incoming/$2.parts

# take PART THERE PYTHON TAKE: what is sent, after what is here of the piece. Python says its sha256, if it runs.
take() {
    sum=
    [ -d "$parts" ] || mkdir -p "$parts" || exit 1
    if [ "$2" = 0 ]; then
        : > "$parts/$1" || exit 1
    elif [ "$(($(wc -c < "$parts/$1")))" != "$2" ]; then
        fail "another host sends the same files"
    fi
    # What fills a disk does not stay on it. A link that is cut is an end of the input, and what came before it stays.
    [ -n "$4" ] && sum=$("$3" -I -S -c "$4" "$parts/$1" 2>/dev/null) || cat >> "$parts/$1" || {
        rm -rf "$parts"
        exit 1
    }
}

# joined TARGET: the pieces that were named are one file, which takes no copy where there is one. Their names hold neither
# spaces nor globs.
joined() {
    # shellcheck disable=SC2086
    case $pieces in
        *' '*' '*) (cd "$parts" && exec cat $pieces) > "$1" ;;
        *) mv "$parts/${pieces# }" "$1" ;;
    esac
}

# blocks SENT: what the recipe says.
blocks() {
    while IFS=' ' read -r from first count; do
        case $from in
            base) from=$root/$base ;;
            sent) from=$part/$1 ;;
            *) return 1 ;;
        esac
        dd if="$from" bs=65536 skip="$first" count="$count" 2>/dev/null || return 1
    done
}

# make PYTHON PLAN PART SUM: what the plan says, where the sum of a piece is known already.
make() {
    pieces=
    base=
    sums=
    unpacked=
    while IFS=' ' read -r verb rest; do
        case $verb in
            '') continue ;;
            piece) pieces="$pieces $rest" && continue ;;
            base) base=$rest && continue ;;
            unpack)
                joined "$part/.sent" && tar -xf "$part/.sent" -C "$part" || return 1
                pieces=
                unpacked=yes
                continue
                ;;
            build) recipe=${rest%% *} rest=${rest#* } ;;
        esac
        case $verb in
            build | patch) sent=${rest%% *} rest=${rest#* } ;;
        esac
        target=$part/$rest
        [ -d "${target%/*}" ] || mkdir -p "${target%/*}" || return 1
        case $verb in
            join)
                joined "$target" || return 1
                [ "$pieces" != " $3" ] || sums=$sums$4\ $rest$newline
                ;;
            build) blocks "$sent" < "$part/$recipe" > "$target" || return 1 ;;
            patch)
                sum=$("$1" -I -S -B "$part/.patch.py" "$root/$base" "$part/$sent" "$target") || return 1
                sums=$sums$sum\ $rest$newline
                ;;
            *) return 1 ;;
        esac
        pieces=
    done << END
$2
END
}

claim "$root"
sum=
[ -z "$3" ] || take "$3" "$4" "${7-}" "${10-}"
[ $# -gt 4 ] || exit 0
[ -z "$3" ] || [ "$(($(wc -c < "$parts/$3")))" = "$5" ] || fail "less arrived than was sent"
plan=$8
[ -n "$3$8" ] || plan=$(cat)
trap 'rm -rf "$part"' EXIT
trap 'exit 1' HUP INT TERM
mkdir -p "$root/$6" "$root/incoming" "$part" || exit 1
make "$7" "$plan" "$3" "$sum" || fail "what was sent cannot be put together"
[ -f "$part/.manifest" ] || printf '%s' "$9" > "$part/.manifest" || exit 1
[ -z "$unpacked" ] || rm -f "$part/.patch.py" "$part"/.sent* "$part"/.recipe*
flush_tree "$part" & # the disk writes while the processor reads
if ! whole "$part" "$2" "$sums"; then
    wait
    rm -rf "$parts"
    fail "what arrived is not what was sent (sha256)"
fi
wait
discard "$folder" || exit 1
mv -T "$part" "$folder" || exit 1
trap - EXIT
flush "$root/$6"
rm -rf "$parts"
