# probe.sh ROOT KIND ID PYTHON: is the folder KIND/ID there and whole, and what would it take to bring it?
# Answers: there; room (df's own line); part SIZE SHA256 NAME for each piece that arrived before; held SHA256 PATH for each
# file that is here already, by the word of the manifest beside it; python, if it runs, where there is such a file.
root=$1
near=$root
while [ ! -d "$near" ]; do
    near=$(dirname "$near")
done
room=$(df -Pk "$near")
answer room "${room##*"$newline"}"
if whole "$root/$2/$3" "$3"; then
    answer there yes
    exit 0
fi
answer there no
cd "$root" 2>/dev/null || exit 0
# What a cut link had brought this far may still be on its way to the disk: no piece is told of while it grows.
sizes=
[ ! -d "incoming/$3.parts" ] || sizes=$(wc -c "incoming/$3.parts"/* 2>/dev/null)
while [ -n "$sizes" ]; do
    sleep 1
    before=$sizes
    sizes=$(wc -c "incoming/$3.parts"/* 2>/dev/null)
    [ "$sizes" != "$before" ] || break
done
for part in "incoming/$3.parts"/*; do
    [ -f "$part" ] && answer part "$(($(wc -c < "$part"))) $(hash_of "$part") ${part##*/}"
done
python=unasked
for list in bench/*/.manifest models/*/versions/*/.manifest; do
    [ -f "$list" ] || continue
    if [ $python = unasked ]; then
        python=asked
        "$4" -I -S -c '' 2>/dev/null && answer python yes
    fi
    while IFS=' ' read -r sum path; do
        answer held "$sum ${list%.manifest}$path"
    done < "$list"
done
exit 0
