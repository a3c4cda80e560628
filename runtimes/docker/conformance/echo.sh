# image: {image:bash}
jq -c .value
