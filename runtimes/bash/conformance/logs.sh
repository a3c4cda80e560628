for number in 1 2 3; do
    echo "out $number"
    echo "err $number" >&2
done
echo done
