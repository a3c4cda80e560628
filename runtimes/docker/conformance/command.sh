# image: {image:bash}
# command: ["two words", "", "$HOME"]
printf '%s|' "$@"
