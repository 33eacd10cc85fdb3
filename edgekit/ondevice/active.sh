# active.sh ROOT NAME: the versions of model NAME that are active and that were before; empty if there is none.
model=$1/models/$2
current=$(readlink "$model/current")
previous=$(readlink "$model/previous")
[ -d "$model/current" ] || current=
answer current "${current#versions/}"
answer previous "${previous#versions/}"
