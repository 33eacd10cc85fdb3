# lease.sh ROOT VERB …: who may use this device. Two entries are kept: `use`, of what measures or installs now, and
# `lock`, of a person; each ends by itself.
#
# The whole state is the target of one link, lease/N with the highest N. `ln -s` makes N+1, whole, or finds it there: then
# somebody else was first, and all is looked at again. So there is nothing to hold while it is changed, and nothing that a
# crash can leave. N only grows, also over what is given back: the token of an entry is the N that brought it in.
#
# The clock is the device's own, in seconds since it started (/proc/uptime); with another boot_id nothing holds any more.
# Where /proc is missing it is `date`; should that go back, an entry is over rather than without an end.
# An entry holds from its last renewal for its span. Its `process` is the command that the holder runs here: while that is
# gone, half a ttl is left to the holder to renew, whatever span there was.
root=$1 verb=$2 proc=/proc
folder=$root/lease
shift 2

tick() {
    if { read -r now _ < "$proc/uptime" && read -r boot < "$proc/sys/kernel/random/boot_id"; } 2>/dev/null; then
        now=${now%%.*}
    else
        now=$(date +%s) boot=date
    fi
}

# started PID: when that process was started, in ticks; "yes" where only its being there can be known; empty if it is gone.
started() {
    if { read -r stat < "$proc/$1/stat"; } 2>/dev/null; then
        set -- ${stat##*) }
        [ "$1" = Z ] || echo "${20}"
    elif [ "$boot" = date ] && kill -0 "$1" 2>/dev/null; then
        echo yes
    fi
}

# running "PID:START"
running() {
    [ "$1" != - ] && [ "$(started "${1%%:*}")" = "${1#*:}" ]
}

# newest: the highest number of a link, as `top`; 0 if there is none.
newest() {
    top=0
    for link in "$folder"/*; do
        at=${link##*/}
        case $at in 0* | *[!0-9]* | ????????????*) continue ;; esac
        [ "$at" -le "$top" ] || top=$at
    done
}

# judge ENTRY: its fields, and as `entry` what of it holds now: "-" where nothing does.
judge() {
    entry=- id= who=
    [ "$1" != - ] || return 0
    IFS=,
    set -- $1
    IFS=$usual
    [ "$#" -eq 10 ] || fail "the state of the lease in $folder cannot be read"
    token=$1 id=$2 who=$3 pid=$4 reason=$5 since=$6 ttl=$7 from=$8 span=$9 process=${10}
    if [ "$process" != - ] && [ "$((from + span))" -gt "$((now + ttl / 2))" ] && ! running "$process"; then
        span=$((now + ttl / 2 - from)) shortened=yes
    fi
    if [ "$now" -ge "$from" ] && [ "$now" -le "$((from + span))" ]; then
        entry=$token,$id,$who,$pid,$reason,$since,$ttl,$from,$span,$process
    fi
}

# look: the state as n, `lock` and `use`; the fields are those of `use`, also where its time is over.
look() {
    usual=$IFS n=0 lock=- use=- id= who= lock_who= shortened=no
    tick
    newest
    [ "$top" -gt 0 ] || return 0
    state=$(readlink "$folder/$top") || return 1
    n=$top
    set -f
    set -- $state
    set +f
    [ "$#" -eq 4 ] && [ "$1" = 1 ] || fail "the state of the lease in $folder is not one that this edgekit reads"
    [ "$2" = "$boot" ] || return 0
    judge "$3"
    lock=$entry lock_who=$who
    judge "$4"
    use=$entry
}

# keep LOCK USE: makes that the state. 1 if somebody was first since `look`, 2 if it cannot be written; `said` is why.
# The last few states stay: who is slow, and makes one that has been, sees that it is not the newest. They make the room.
keep() {
    for link in "$folder"/*; do
        at=${link##*/}
        case $at in 0* | *[!0-9]* | ????????????*) continue ;; esac
        [ "$at" -ge "$((n - 3))" ] || rm -f "$link" 2>/dev/null # busybox complains if another was quicker
    done
    if ! said=$(ln -sn "1 $boot $1 $2" "$folder/$((n + 1))" 2>&1); then
        [ -L "$folder/$((n + 1))" ] && return 1
        return 2
    fi
    newest
    [ "$top" -eq "$((n + 1))" ]
}

# kept LOCK USE: as `keep`, and fails where it cannot be written.
kept() {
    keep "$@"
    case $? in
        0) return 0 ;;
        1) return 1 ;;
        *) fail "the lease cannot be written: $said" ;;
    esac
}

# tell STATE: the answer, and who holds the device.
tell() {
    answer state "$1"
    answer now "$now"
    answer lock "$lock"
    answer use "$use"
}

# occupied BY: somebody's entry is in the way; that the command is gone is written down, so that the time runs out.
occupied() {
    if [ "$shortened" = yes ]; then
        keep "$lock" "$use"
        [ "$?" -ne 1 ] || return 1
    fi
    answer by "$1"
    tell held
}

# ours ID: the entry is still that of its holder, also where its time is over and nobody came since.
ours() {
    [ -n "$id" ] && [ "$id" = "$1" ] && { [ "$lock" = - ] || [ "$lock_who" = "$who" ]; }
}

claimed() {
    claim "$root"
    mkdir -p "$folder" || exit 1
}

# take ID WHO PID REASON TTL DEAD: for measuring. DEAD is the id of an entry whose holder is known to be gone, or "-".
take() {
    claimed
    look || return 1
    if [ "$use" != - ] && [ "$id" != "$1" ] && { [ "$id" != "$6" ] || running "$process"; }; then
        occupied use
        return
    fi
    if [ "$lock" != - ] && [ "$lock_who" != "$2" ]; then
        occupied lock
        return
    fi
    use=$((n + 1)),$1,$2,$3,$4,$now,$5,$now,$5,-
    kept "$lock" "$use" || return 1
    tell taken
}

# lock ID WHO PID REASON TTL: for a person, whatever that one runs; taken anew it is longer or shorter.
lock() {
    claimed
    look || return 1
    if [ "$lock" != - ] && [ "$lock_who" != "$2" ]; then
        occupied lock
        return
    fi
    if [ "$use" != - ] && [ "$who" != "$2" ]; then
        occupied use
        return
    fi
    lock=$((n + 1)),$1,$2,$3,$4,$now,$5,$now,$5,-
    kept "$lock" "$use" || return 1
    tell taken
}

# renew ID
renew() {
    look || return 1
    if ! ours "$1"; then
        tell lost
        return
    fi
    use=$token,$id,$who,$pid,$reason,$since,$ttl,$now,$ttl,-
    kept "$lock" "$use" || return 1
    tell taken
}

# cover ID PID TIMEOUT: the process PID, which becomes a command of the holder's, may run; the entry holds while it does.
# On a disk that is full it runs in the time that is left: it may be the one that makes room.
cover() {
    look || return 1
    if ! ours "$1"; then
        printf 'lease %s is lost\n' "$1" >&2
        exit 93
    fi
    keep "$lock" "$token,$id,$who,$pid,$reason,$since,$ttl,$now,$(($3 + ttl)),$2:$(started "$2")"
    case $? in
        0) ;;
        1) return 1 ;;
        *) [ "$use" != - ] || fail "the lease cannot be written: $said" ;;
    esac
}

# release ID
release() {
    look || return 1
    if [ -n "$id" ] && [ "$id" = "$1" ]; then
        kept "$lock" - || return 1
    fi
}

# unlock WHO FORCE: without force a person's own lock only; with it whatever there is. The answer is what there was.
unlock() {
    look || return 1
    if [ "$2" = force ] && [ "$lock$use" != -- ]; then
        kept - - || return 1
        tell freed
    elif [ "$lock" != - ] && [ "$lock_who" = "$1" ]; then
        kept - "$use" || return 1
        tell freed
    elif [ "$lock$use" = -- ]; then
        tell free
    else
        if [ "$lock" = - ]; then answer by use; else answer by lock; fi
        tell held
    fi
}

tries=0
until "$verb" "$@"; do
    tries=$((tries + 1))
    [ "$tries" -lt 1000 ] || fail "the lease in $folder is changed by too many at once"
done
