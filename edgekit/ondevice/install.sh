# install.sh ROOT NAME SOURCE ID ARTIFACT KEEP [ENGINE]: the whole folder SOURCE becomes a version of model NAME, and the active one.
# It goes through incoming/: checked, flushed, renamed to versions/NUMBER-ARTIFACT; then the link `current` is swapped.
# Whoever looks, after a power cut too, sees the old version or the new one. KEEP versions beside the active one are kept.
# ENGINE, below ROOT, was built of it here: it is .built/model.engine of the version before that is active.
# With an empty SOURCE only a version that is there already is made active; the answer is empty if there is none.
root=$1
model=$root/models/$2
versions=$model/versions
part=$root/incoming/$4.$$

# point LINK TARGET: the link is swapped in one step.
point() {
    rm -f "$model/.$1" && ln -s "$2" "$model/.$1" && mv -fT "$model/.$1" "$model/$1" || fail "$1 cannot be swapped"
    flush "$model"
}

# The newest version that holds this artifact, whole.
held() {
    for candidate in $(ls "$versions" | sort -r); do
        case $candidate in
            *-"$5") whole "$versions/$candidate" "$4" && printf '%s\n' "$candidate" && return ;;
        esac
    done
}

# attach ENGINE: a second name of the engine, which outlives the first; a copy where a file has one name only.
attach() {
    built=$versions/$version/.built
    cmp -s "$1" "$built/model.engine" && return
    mkdir -p "$built" || return 1
    ln -f "$1" "$built/.part" 2>/dev/null || cp "$1" "$built/.part" || return 1
    flush "$built/.part"
    mv -f "$built/.part" "$built/model.engine" || return 1
    flush "$built"
    flush "$versions/$version"
}

claim "$root"
trap 'rm -rf "$part"' EXIT
trap 'exit 1' HUP INT TERM
mkdir -p "$versions" "$root/incoming" || exit 1
version=$(held "$@")
if [ -z "$version$3" ]; then
    answer current ""
    exit 0
fi
if [ -z "$version" ]; then
    last=$(ls "$versions" | sed -n 's/^0*\([0-9]*\)-.*/\1/p' | sort -n | tail -n 1)
    version=$(printf '%06d-%s' $((${last:-0} + 1)) "$5")
    mv -T "$root/$3" "$part" || exit 1
    whole "$part" "$4" || fail "what is there is not what was sent (sha256)"
    flush_tree "$part"
    mv -T "$part" "$versions/$version" || exit 1
    flush "$versions"
    flush "$model"
    flush "$root/models"
fi
[ -z "${7-}" ] || attach "$root/$7" || fail "the engine cannot be put beside the model"
active=$(readlink "$model/current")
if [ "$active" != "versions/$version" ]; then
    [ -z "$active" ] || point previous "$active"
    point current "versions/$version"
fi
previous=$(readlink "$model/previous")

kept=0
for candidate in $(ls "$versions" | sort -r); do
    [ "$candidate" != "$version" ] || continue
    kept=$((kept + 1))
    [ "$kept" -le "$6" ] || [ "versions/$candidate" = "$previous" ] || discard "$versions/$candidate"
done
answer current "${version}"
answer previous "${previous#versions/}"
