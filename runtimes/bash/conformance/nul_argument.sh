text="$1"
echo "not reached"
