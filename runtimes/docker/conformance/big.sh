# image: {image:bash}
jq .text
