# image: {image:bash}
before=$(ls ./shared | jq -Rsc 'split("\n")[:-1]')
printf written > ./shared/note
jq -nc --argjson before "$before" --arg after "$(cat /shared/note)" '{$before, $after}'
