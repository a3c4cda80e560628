# Runs one shell script with the job's arguments as its positional parameters.
#
# The other side is jobinit, process 1 of the container. Descriptor 3 takes one newline when we
# have booted; the result it takes from ./result.json, ./result.out or the output itself.
# Descriptor 4 gives the job's environment once there is a job. By then ./main.sh and
# ./args.json are in place.
#
# The script is sourced, not executed: so its parameters never pass through exec, which limits
# their size and shows them to every process. $0 is what sourcing makes of BASH_SOURCE, so that
# `[[ $0 == "${BASH_SOURCE[0]}" ]]` is true as in a script that was started by itself.

# A parameter is a line like  name="$1"  name="${2}"  name="${3:-default}"  # comment
_executor_read_parameters() {
    local pattern='^([A-Za-z_][A-Za-z0-9_]*)="\$(([1-9])|\{([1-9][0-9]*)(:-.*)?\})"[[:blank:]]*(#.*)?$'
    local line position lines found=()
    mapfile -t lines <main.sh
    for line in "${lines[@]}"; do
        if [[ $line == [A-Za-z_]*'="$'* && $line =~ $pattern ]]; then
            position=${BASH_REMATCH[3]}${BASH_REMATCH[4]}
            # The arithmetic below would wrap around with more digits.
            ((${#position} < 5)) && : "${found[position]:=${BASH_REMATCH[1]}}"
        fi
    done
    _executor_names=()
    for ((position = 1; ; position++)); do
        [[ -n ${found[position]-} ]] || break
        _executor_names+=("${found[position]}")
    done
}

# The values come through a file because bash reads a pipe one byte at a time.
_executor_read_values() {
    local file=.parameters status
    "${BASH_SOURCE[0]%/*}/../jobinit" args "${_executor_names[@]}" >"$file"
    status=$?
    ((status == 0)) && mapfile -d '' -t _executor_values <"$file"
    rm -f "$file"
    return "$status"
}

# A name that bash cannot have, or does not let be set, is left out.
_executor_take_environment() {
    local record records
    mapfile -d '' -t records <&4
    for record in "${records[@]}"; do
        export -- "$record" 2>/dev/null
    done
}

printf '\n' >&3
exec 3>&-
_executor_take_environment
exec 4<&-

_executor_values=()
_executor_read_parameters
if ((${#_executor_names[@]})); then
    _executor_read_values || exit
fi
set -- "${_executor_values[@]}"

unset -f _executor_take_environment _executor_read_parameters _executor_read_values
unset _executor_names _executor_values
BASH_ARGV0=./main.sh
set -e
source ./main.sh
