text="$1"
echo "begin"
echo "$text" >&2
(exit 7)
echo "not reached"
