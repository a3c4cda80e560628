# image: {image:bash}
jq -r .text >&2
exit 7
