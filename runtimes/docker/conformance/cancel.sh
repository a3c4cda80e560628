# image: {image:bash}
trap 'echo cleaned up >&2; exit 1' INT
echo begun >&2
sleep 60 &
wait
