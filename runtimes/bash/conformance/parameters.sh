# The first three come in another order, one line is indented, and 4 is missing before 5.
third="${3:-a default}"   # a comment
first="$1"
second="${2}"
 indented="$1"
fifth="$5"
show() {
    printf '[%s]' "$@"
    echo
}
show "$#" "$first" "$second" "$third" "$indented" "$fifth"
