# probe.sh ROOT FOLDER ID: is FOLDER (below ROOT) there and whole, and what room has the disk? The room is df's own line.
if whole "$1/$2" "$3"; then answer there yes; else answer there no; fi
near=$1
while [ ! -d "$near" ]; do
    near=$(dirname "$near")
done
answer room "$(df -Pk "$near" | tail -n 1)"
