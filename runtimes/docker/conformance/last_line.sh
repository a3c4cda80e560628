# image: {image:bash}
echo working
echo '{"rows": 3}'
echo
