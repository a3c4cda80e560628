[[ $0 == "${BASH_SOURCE[0]}" ]] && echo "started by itself"
a_command_nobody_has
echo "not reached"
