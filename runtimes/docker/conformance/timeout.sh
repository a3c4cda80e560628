# image: {image:bash}
echo begun >&2
sleep 60
