# What every script here begins with. POSIX sh: dash, busybox and toybox run it; the programs it calls are in all three.
# The host runs a script as `sh -c TEXT NAME ARGUMENTS`; it answers in lines "@key value", and says why it failed on stderr.
set -u
umask 022
LC_ALL=C
export LC_ALL
newline='
'

fail() {
    printf '%s\n' "$*" >&2
    exit 1
}

answer() {
    printf '@%s %s\n' "$1" "$2"
}

# flush PATH...: these files, or these folders' lists of names, are on the disk afterwards. An old `sync` flushes everything.
flush() {
    sync "$@" 2>/dev/null || sync
}

flush_tree() {
    find "$1" -exec sync {} + 2>/dev/null || sync
}

# hash_of PATH: its sha256. OpenSSL uses what the processor has for it, four times as fast as the sha256sum of old systems.
hash_of() {
    hash=$(openssl dgst -sha256 -r < "$1" 2>/dev/null) || hash=$(sha256sum < "$1")
    printf '%s\n' "${hash%% *}"
}

# short_hash_of PATH: the same of a small file, sooner: OpenSSL takes longer to start.
short_hash_of() {
    hash=$(sha256sum < "$1")
    printf '%s\n' "${hash%% *}"
}

# whole FOLDER ID [SUMS]: the manifest is the one named, every file in it has its sha256, and nothing else is in the folder
# but what this device built of it, in .built. A line "sha256 path" of SUMS was taken of that file just now.
whole() {
    [ -f "$1/.manifest" ] && [ "$(short_hash_of "$1/.manifest")" = "$2" ] || return 1
    count=1
    while IFS=' ' read -r sum path; do
        [ -f "$1/$path" ] && [ ! -L "$1/$path" ] || return 1
        case "$newline${3-}" in
            *"$newline$sum $path$newline"*) ;;
            *) [ "$(hash_of "$1/$path")" = "$sum" ] || return 1 ;;
        esac
        count=$((count + 1))
    done < "$1/.manifest"
    [ "$(find "$1" -path "$1/.built" -prune -o ! -type d -print | wc -l)" -eq "$count" ]
}

# claim ROOT: the folder is edgekit's, so that all of it may be removed one day. What was there before is not.
claim() {
    [ -f "$1/.edgekit" ] && return
    [ ! -d "$1" ] || [ -z "$(ls -A "$1" 2>/dev/null)" ] || [ -f "$1/.edgekit" ] || fail "$1 is not empty and not edgekit's: give the device another root"
    mkdir -p "$1" && : > "$1/.edgekit" && flush "$1/.edgekit" "$1" || fail "$1 cannot be made"
}

# discard PATH: gone at once, its name first.
discard() {
    [ -e "$1" ] || return 0
    mkdir -p "$root/incoming"
    mv -f "$1" "$root/incoming/gone.$$" && rm -rf "$root/incoming/gone.$$"
}
