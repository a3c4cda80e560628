# image: {image:bash}
text=$(cat)
printf '%s' "$text" | jq -r .text >&2
printf '%s' "$text" | jq .text
